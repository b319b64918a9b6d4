// Package simulate contains only tests. They run the whole server in virtual time, on a disk and a
// network in memory. One seed decides the actions of clients and administrators and the faults. The
// tests compare the results with the server's promises. etc/docs/storage.md tells how to run them.
package simulate
