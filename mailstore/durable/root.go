package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Root is the FS below one directory of the operating system. It is safe for concurrent use.
type Root struct {
	root  *os.Root
	top   *os.File // the root directory
	topFD int      // its descriptor
	owner *owner   // nil: new files belong to this process
	syncs Syncer
}

// owner is the user and group of new files.
type owner struct{ uid, gid int }

// Open opens the directory dir, which must exist.
//
// If the process runs as root and dir belongs to another user, all new files are given to that
// user. So a command run by root leaves no file that the server, under its own user, cannot read.
func Open(dir string) (*Root, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	top, err := root.OpenFile(".", os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	own, err := foreignOwner(top)
	if err != nil {
		return nil, errors.Join(err, top.Close(), root.Close())
	}
	return &Root{root: root, top: top, topFD: int(top.Fd()), owner: own}, nil
}

func foreignOwner(root *os.File) (*owner, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	fi, err := root.Stat()
	if err != nil {
		return nil, err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || st.Uid == 0 {
		return nil, nil
	}
	return &owner{uid: int(st.Uid), gid: int(st.Gid)}, nil
}

// Close closes the directory. Open files stay open.
func (r *Root) Close() error { return errors.Join(r.top.Close(), r.root.Close()) }

// Name returns the directory as given to Open.
func (r *Root) Name() string { return r.root.Name() }

// OpenFile implements FS.
func (r *Root) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	if err := check("open", name); err != nil {
		return nil, err
	}
	f, err := r.open(name, flag, perm)
	if err != nil {
		return nil, err
	}
	if r.owner != nil && flag&os.O_CREATE != 0 {
		if err := f.Chown(r.owner.uid, r.owner.gid); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, nil
}

// Mkdir implements FS.
func (r *Root) Mkdir(name string, perm fs.FileMode) error {
	if err := check("mkdir", name); err != nil {
		return err
	}
	if err := r.root.Mkdir(name, perm); err != nil {
		return err
	}
	if r.owner == nil {
		return nil
	}
	return r.root.Lchown(name, r.owner.uid, r.owner.gid)
}

// MkdirAll implements FS.
func (r *Root) MkdirAll(name string, perm fs.FileMode) error {
	if err := check("mkdir", name); err != nil {
		return err
	}
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			continue
		}
		if err := r.mkdirDurable(name[:i], perm); err != nil {
			return err
		}
	}
	return nil
}

func (r *Root) mkdirDurable(name string, perm fs.FileMode) error {
	err := r.Mkdir(name, perm)
	if err == nil {
		return r.SyncDir(path.Dir(name))
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	fi, statErr := r.root.Stat(name)
	if statErr != nil {
		return statErr
	}
	if !fi.IsDir() {
		return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.ENOTDIR}
	}
	return nil
}

// Link implements FS.
func (r *Root) Link(oldname, newname string) error {
	if err := errors.Join(check("link", oldname), check("link", newname)); err != nil {
		return err
	}
	return r.root.Link(oldname, newname)
}

// Rename implements FS.
func (r *Root) Rename(oldname, newname string) error {
	if err := errors.Join(check("rename", oldname), check("rename", newname)); err != nil {
		return err
	}
	return r.root.Rename(oldname, newname)
}

// Remove implements FS.
func (r *Root) Remove(name string) error {
	if err := check("remove", name); err != nil {
		return err
	}
	dir, err := r.openat2(path.Dir(name), unix.O_PATH|unix.O_DIRECTORY, 0, 0)
	if err == nil {
		err = unlink(dir, path.Base(name))
		_ = unix.Close(dir)
	}
	switch err {
	case nil:
		return nil
	case errNoOpenat2:
		return r.root.Remove(name)
	}
	return &fs.PathError{Op: "remove", Path: name, Err: err}
}

// unlink removes a file or an empty directory.
func unlink(dir int, base string) error {
	err := unix.Unlinkat(dir, base, 0)
	if err != unix.EISDIR && err != unix.EPERM { // POSIX permits EPERM for a directory
		return err
	}
	if dirErr := unix.Unlinkat(dir, base, unix.AT_REMOVEDIR); dirErr != unix.ENOTDIR {
		return dirErr
	}
	return err
}

// RemoveAll implements FS.
func (r *Root) RemoveAll(name string) error {
	if err := check("remove", name); err != nil {
		return err
	}
	return r.root.RemoveAll(name)
}

// SyncDir implements FS.
func (r *Root) SyncDir(name string) error {
	return r.syncs.Do(name, func() error {
		dir, err := r.openDir(name)
		if err != nil {
			return err
		}
		return errors.Join(dir.Sync(), dir.Close())
	})
}

// SyncAll implements FS.
func (r *Root) SyncAll() error {
	if err := unix.Syncfs(r.topFD); err != nil {
		return &fs.PathError{Op: "syncfs", Path: r.Name(), Err: err}
	}
	return nil
}

func (r *Root) openDir(name string) (*os.File, error) {
	if err := check("open", name); err != nil {
		return nil, err
	}
	return r.open(name, os.O_RDONLY|syscall.O_DIRECTORY, 0)
}

// check refuses names that os.Root would clean up, such as "a/../b", and names with a NUL byte.
// Such a name is a mistake of the caller.
func check(op, name string) error {
	if !ValidName(name) {
		return &fs.PathError{Op: op, Path: fmt.Sprintf("%q", name), Err: fs.ErrInvalid}
	}
	return nil
}

// ValidName is fs.ValidPath without the rule that names are UTF-8: names in old mail folders may
// not be.
func ValidName(name string) bool {
	if name == "." {
		return true
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return !strings.ContainsRune(name, 0)
}
