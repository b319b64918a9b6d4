// Package durable is the file system as the mail server needs it: one directory tree in which a
// change can be made durable, so that it survives a power cut.
//
// Start with FS. Open returns the real one, a *Root. WriteFile replaces a small file durably.
// JSONFile keeps settings that programs and people edit. Log makes many small changes durable with
// few syncs. Lock and TryLock lock the tree between processes. Package mailstore and everything
// else that stores data write through this package.
//
// A change is durable in two steps. The content of a file is durable after File.Sync. A name is
// durable after FS.SyncDir of the directory that holds it; this applies to names made or removed by
// OpenFile, Link, Rename, Mkdir and Remove. WriteFile and MkdirAll do all steps themselves.
//
// A caller must acknowledge a change only after its last step. After a failed sync the data must
// count as lost, even if a second sync succeeds.
//
// FS is an interface so that tests can make every single step fail, see package mailtest.
package durable

import (
	"io"
	"io/fs"
	"syscall"
)

// File is an open file. *os.File implements it.
type File interface {
	io.Reader
	io.Writer
	io.WriterAt
	io.Seeker
	io.Closer
	// Conn gives access to the descriptor, for locks.
	syscall.Conn
	Stat() (fs.FileInfo, error)
	// Sync returns when the content is on the disk. After an error the content must count as lost:
	// the kernel may have dropped the pages that it could not write, and a second Sync would
	// succeed.
	Sync() error
}

// Dir is an open directory. Its methods need no further descriptor, and use the same directory
// after a rename.
type Dir interface {
	// Link gives an open file the name base in the directory. f comes from FS.Unnamed or has a name
	// already. Link fails with fs.ErrExist if base exists.
	Link(f File, base string) error
	// Remove removes a file's name.
	Remove(base string) error
	// Sync is FS.SyncDir.
	Sync() error
	// Device identifies the file system. A file can have names on one file system only.
	Device() (uint64, error)
	io.Closer
}

// FS is a tree of files. Names are relative and slash-separated as in fs.ValidPath, but need not be
// UTF-8. No name, ".." or symbolic link leads out of the tree. Errors are *fs.PathError and
// *os.LinkError as in package os; test them with errors.Is(err, fs.ErrNotExist) and the like.
type FS interface {
	// OpenFile is os.OpenFile. The caller closes the file. With syscall.O_DSYNC in flag, a write to
	// existing blocks returns when they are on the disk.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// Unnamed opens a new file without a name for writing, on the file system of the directory dir.
	// The file is gone if it is closed before LinkFile. The error is errors.ErrUnsupported if the
	// file system cannot do this.
	Unnamed(dir string, perm fs.FileMode) (File, error)
	// LinkFile gives an open file from Unnamed its first or a further name. It fails with
	// fs.ErrExist if newname exists. It fails with fs.ErrNotExist if the directory is missing or
	// reached only through a symbolic link.
	LinkFile(f File, newname string) error
	// OpenDir opens a directory; the caller closes it. It fails with fs.ErrNotExist if the
	// directory is missing or reached only through a symbolic link.
	OpenDir(name string) (Dir, error)
	// Mkdir makes one directory. It is durable after SyncDir of its parent.
	Mkdir(name string, perm fs.FileMode) error
	// MkdirAll makes the directory and its missing parents, durably. An existing directory is no
	// error.
	MkdirAll(name string, perm fs.FileMode) error
	// Link gives the file oldname a second name. It fails with fs.ErrExist if newname exists.
	Link(oldname, newname string) error
	// Rename moves a file or directory. A file at newname is replaced atomically.
	Rename(oldname, newname string) error
	// Remove deletes a file or an empty directory.
	Remove(name string) error
	// RemoveAll deletes a tree. A missing one is no error.
	RemoveAll(name string) error
	// Lstat describes name itself, even if it is a symbolic link.
	Lstat(name string) (fs.FileInfo, error)
	// ReadDir lists a directory in no particular order. The entries' Type needs no further call.
	// Use Lstat instead of their Info.
	ReadDir(name string) ([]fs.DirEntry, error)
	// ReadNames lists only the names, in no particular order. It is faster than ReadDir.
	ReadNames(name string) ([]string, error)
	// SyncDir returns when all names in the directory, as they were at the time of the call, are on
	// the disk. Concurrent calls for one directory share a sync.
	SyncDir(name string) error
	// SyncAll returns when all contents and names on the file system of the root, as they were at
	// the time of the call, are on the disk.
	SyncAll() error
}
