// Package durable is the file system as the mail server needs it: everything below one root, and
// nothing acknowledged before it is on the disk.
//
// A change is durable in two steps. The content of a file is durable after File.Sync. Its name (made by
// OpenFile, Link, Rename or Mkdir, or taken away by Remove) is durable after FS.SyncDir of the directory
// that holds the name. WriteFile and MkdirAll do all their steps themselves.
//
// FS is an interface so that tests can make every single step fail; *Root is the real one.
package durable

import (
	"io"
	"io/fs"
	"syscall"
)

// File is an open file. *os.File satisfies it.
type File interface {
	io.Reader
	io.Writer
	io.WriterAt
	io.Seeker
	io.Closer
	// Conn reaches the descriptor, for locks.
	syscall.Conn
	Stat() (fs.FileInfo, error)
	// Sync returns when the content is on the disk. After it failed once, the content must be taken for
	// lost: the kernel may have dropped the pages it could not write, and a second Sync would succeed.
	Sync() error
}

// Dir is an open directory. What it does needs no further descriptor, and goes on in the same directory after a rename.
type Dir interface {
	// Link gives an open file the name base in the directory: one that FS.Unnamed made, or one that has a name. It fails
	// with fs.ErrExist when the directory has the name.
	Link(f File, base string) error
	// Remove takes the name of a file away.
	Remove(base string) error
	// Sync is FS.SyncDir.
	Sync() error
	// Device tells file systems apart: no file of one can get a name in another.
	Device() (uint64, error)
	io.Closer
}

// FS is a tree of files. Names are relative and slash-separated, as fs.ValidPath wants them, except that they need
// not be UTF-8; no name, ".." or symbolic link leads out of the tree. Errors are those of package os: *fs.PathError and
// *os.LinkError, to be told apart by errors.Is(err, fs.ErrNotExist) and the like.
type FS interface {
	// OpenFile is os.OpenFile. The caller closes the file. With syscall.O_DSYNC in flag, a write to existing
	// blocks of the file returns when they are on the disk.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// Unnamed opens a new file for writing that has no name yet, on the file system of the directory dir. If it is
	// closed before LinkFile gave it one, it is gone. Where the system cannot do this, the error is
	// errors.ErrUnsupported.
	Unnamed(dir string, perm fs.FileMode) (File, error)
	// LinkFile gives an open file that Unnamed made its name, or one more. It fails with fs.ErrExist when newname
	// exists, and with fs.ErrNotExist when its directory is missing or reached only through a symbolic link.
	LinkFile(f File, newname string) error
	// OpenDir opens a directory; the caller closes it. It fails with fs.ErrNotExist when the directory is missing or
	// reached only through a symbolic link.
	OpenDir(name string) (Dir, error)
	// Mkdir makes one directory. It is durable after SyncDir of its parent.
	Mkdir(name string, perm fs.FileMode) error
	// MkdirAll makes the directory and the missing ones above it, durably. An existing directory is no error.
	MkdirAll(name string, perm fs.FileMode) error
	// Link gives the file oldname a second name. It fails with fs.ErrExist when newname exists.
	Link(oldname, newname string) error
	// Rename moves a file or directory; a file at newname is replaced in one step.
	Rename(oldname, newname string) error
	// Remove deletes a file or an empty directory.
	Remove(name string) error
	// RemoveAll deletes a tree. A missing one is no error.
	RemoveAll(name string) error
	// Lstat describes name itself: of a symbolic link, the link.
	Lstat(name string) (fs.FileInfo, error)
	// ReadDir lists a directory in no particular order. Entries know their type without a further call;
	// use Lstat rather than their Info.
	ReadDir(name string) ([]fs.DirEntry, error)
	// ReadNames lists only the names, in no particular order; it is the faster one.
	ReadNames(name string) ([]string, error)
	// SyncDir returns when all names in the directory are on the disk as they were at the time of the call.
	// Calls for one directory share the work when they come together.
	SyncDir(name string) error
	// SyncAll returns when everything on the file system that holds the root is on the disk, contents and
	// names, as it was at the time of the call.
	SyncAll() error
}
