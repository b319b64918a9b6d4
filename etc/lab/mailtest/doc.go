// Package mailtest holds test doubles and helpers that several packages share. No product code
// imports it.
//
// PowerFS is a file system in memory that loses unsynced data in a power cut. FailFS makes any step
// of a real file system fail. RunDialogues runs protocol dialogues from data files. DNS and Slapd
// are servers for tests. Linear detects parsers that need quadratic time.
package mailtest
