// Package mailtest holds what the tests of several packages share: protocol
// dialogues kept as data files, and a file system that can be made to fail at
// any step. No product code imports it.
package mailtest
