package mailtest

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"pillarbox/mailstore/durable"
)

// Op is one operation on a FailFS.
type Op struct {
	// Kind is "open" (for reading), "create", "read", "write", "sync", "close", "opendir", "mkdir",
	// "mkdirall", "link", "rename", "remove", "removeall", "lstat", "stat", "readdir", "syncdir" or
	// "syncall".
	Kind string
	// Name is the file or directory. For a link or rename it is the new name.
	Name string
}

// String returns "kind name".
func (op Op) String() string { return op.Kind + " " + op.Name }

// FailFS is a durable.FS that records operations and makes some of them fail. A failed operation is
// not done, with two exceptions: a write does half its work, and a close closes the file. It is
// safe for concurrent use.
type FailFS struct {
	fsys durable.FS

	mu   sync.Mutex
	ops  []Op
	fail func(n int, op Op) error // nil: nothing fails
}

var _ durable.FS = (*FailFS)(nil)

// NewFailFS returns a FailFS around fsys on which no operation fails yet.
func NewFailFS(fsys durable.FS) *FailFS { return &FailFS{fsys: fsys} }

// Start clears the recorded operations and the count. From then on operation n, from 1, fails with
// the error that fail returns for it. With a nil fail all operations pass.
func (f *FailFS) Start(fail func(n int, op Op) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ops, f.fail = nil, fail
}

// Nth returns a fail function for Start that makes only operation n fail.
func Nth(n int, err error) func(int, Op) error {
	return func(i int, _ Op) error {
		if i == n {
			return err
		}
		return nil
	}
}

// From returns a fail function for Start that makes operation n and all later ones fail, as on a
// disk that has died.
func From(n int, err error) func(int, Op) error {
	return func(i int, _ Op) error {
		if i >= n {
			return err
		}
		return nil
	}
}

// Ops returns the operations since Start in the order in which they began, including failed ones.
func (f *FailFS) Ops() []Op {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Op(nil), f.ops...)
}

// do records an operation and returns its error if it must fail.
func (f *FailFS) do(kind, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	op := Op{Kind: kind, Name: name}
	f.ops = append(f.ops, op)
	if f.fail == nil {
		return nil
	}
	if err := f.fail(len(f.ops), op); err != nil {
		return fmt.Errorf("%v: made to fail: %w", op, err)
	}
	return nil
}

// OpenFile implements durable.FS.
func (f *FailFS) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	kind := "open"
	if flag&os.O_CREATE != 0 {
		kind = "create"
	}
	if err := f.do(kind, name); err != nil {
		return nil, err
	}
	file, err := f.fsys.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &failFile{File: file, fs: f, name: name}, nil
}

// Unnamed implements durable.FS.
func (f *FailFS) Unnamed(dir string, perm fs.FileMode) (durable.File, error) {
	if err := f.do("create", dir); err != nil {
		return nil, err
	}
	file, err := f.fsys.Unnamed(dir, perm)
	if err != nil {
		return nil, err
	}
	return &failFile{File: file, fs: f, name: dir}, nil
}

// LinkFile implements durable.FS.
func (f *FailFS) LinkFile(file durable.File, newname string) error {
	if err := f.do("link", newname); err != nil {
		return err
	}
	return f.fsys.LinkFile(file.(*failFile).File, newname)
}

// OpenDir implements durable.FS.
func (f *FailFS) OpenDir(name string) (durable.Dir, error) {
	if err := f.do("opendir", name); err != nil {
		return nil, err
	}
	dir, err := f.fsys.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &failDir{Dir: dir, fs: f, name: name}, nil
}

// failDir is an open directory of a FailFS. Its operations have the kinds of the corresponding
// FailFS methods.
type failDir struct {
	durable.Dir
	fs   *FailFS
	name string
}

func (d *failDir) Link(file durable.File, base string) error {
	if err := d.fs.do("link", d.name+"/"+base); err != nil {
		return err
	}
	return d.Dir.Link(file.(*failFile).File, base)
}

func (d *failDir) Remove(base string) error {
	if err := d.fs.do("remove", d.name+"/"+base); err != nil {
		return err
	}
	return d.Dir.Remove(base)
}

func (d *failDir) Sync() error {
	if err := d.fs.do("syncdir", d.name); err != nil {
		return err
	}
	return d.Dir.Sync()
}

func (d *failDir) Device() (uint64, error) {
	if err := d.fs.do("stat", d.name); err != nil {
		return 0, err
	}
	return d.Dir.Device()
}

// Mkdir implements durable.FS.
func (f *FailFS) Mkdir(name string, perm fs.FileMode) error {
	if err := f.do("mkdir", name); err != nil {
		return err
	}
	return f.fsys.Mkdir(name, perm)
}

// MkdirAll implements durable.FS.
func (f *FailFS) MkdirAll(name string, perm fs.FileMode) error {
	if err := f.do("mkdirall", name); err != nil {
		return err
	}
	return f.fsys.MkdirAll(name, perm)
}

// Link implements durable.FS.
func (f *FailFS) Link(oldname, newname string) error {
	if err := f.do("link", newname); err != nil {
		return err
	}
	return f.fsys.Link(oldname, newname)
}

// Rename implements durable.FS.
func (f *FailFS) Rename(oldname, newname string) error {
	if err := f.do("rename", newname); err != nil {
		return err
	}
	return f.fsys.Rename(oldname, newname)
}

// Remove implements durable.FS.
func (f *FailFS) Remove(name string) error {
	if err := f.do("remove", name); err != nil {
		return err
	}
	return f.fsys.Remove(name)
}

// RemoveAll implements durable.FS.
func (f *FailFS) RemoveAll(name string) error {
	if err := f.do("removeall", name); err != nil {
		return err
	}
	return f.fsys.RemoveAll(name)
}

// Lstat implements durable.FS.
func (f *FailFS) Lstat(name string) (fs.FileInfo, error) {
	if err := f.do("lstat", name); err != nil {
		return nil, err
	}
	return f.fsys.Lstat(name)
}

// ReadDir implements durable.FS.
func (f *FailFS) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := f.do("readdir", name); err != nil {
		return nil, err
	}
	return f.fsys.ReadDir(name)
}

// ReadNames implements durable.FS.
func (f *FailFS) ReadNames(name string) ([]string, error) {
	if err := f.do("readdir", name); err != nil {
		return nil, err
	}
	return f.fsys.ReadNames(name)
}

// SyncDir implements durable.FS.
func (f *FailFS) SyncDir(name string) error {
	if err := f.do("syncdir", name); err != nil {
		return err
	}
	return f.fsys.SyncDir(name)
}

// SyncAll implements durable.FS.
func (f *FailFS) SyncAll() error {
	if err := f.do("syncall", "."); err != nil {
		return err
	}
	return f.fsys.SyncAll()
}

// failFile is a file of a FailFS.
type failFile struct {
	durable.File
	fs   *FailFS
	name string
}

func (f *failFile) Read(p []byte) (int, error) {
	if err := f.fs.do("read", f.name); err != nil {
		return 0, err
	}
	return f.File.Read(p)
}

func (f *failFile) Write(p []byte) (int, error) {
	if err := f.fs.do("write", f.name); err != nil {
		n, writeErr := f.File.Write(p[:len(p)/2])
		if writeErr != nil {
			err = writeErr
		}
		return n, err
	}
	return f.File.Write(p)
}

func (f *failFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.do("write", f.name); err != nil {
		n, writeErr := f.File.WriteAt(p[:len(p)/2], off)
		if writeErr != nil {
			err = writeErr
		}
		return n, err
	}
	return f.File.WriteAt(p, off)
}

func (f *failFile) Stat() (fs.FileInfo, error) {
	if err := f.fs.do("stat", f.name); err != nil {
		return nil, err
	}
	return f.File.Stat()
}

func (f *failFile) Sync() error {
	if err := f.fs.do("sync", f.name); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *failFile) Close() error {
	err := f.fs.do("close", f.name)
	if closeErr := f.File.Close(); err == nil {
		err = closeErr
	}
	return err
}

// Index returns the index in ops of the first operation of this kind on a name that ends in suffix,
// or -1.
func Index(ops []Op, kind, suffix string) int {
	for i, op := range ops {
		if op.Kind == kind && strings.HasSuffix(op.Name, suffix) {
			return i
		}
	}
	return -1
}
