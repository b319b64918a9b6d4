// Package simulate holds no product code. Its test runs the whole server in virtual time over a disk and a network that
// exist only in memory, lets one seed decide what clients, administrators and accidents do, and holds what it finds against
// what was promised. etc/docs/storage.md says how to run it.
package simulate
