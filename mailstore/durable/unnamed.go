package durable

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"
)

// Unnamed implements FS with O_TMPFILE, which the common file systems of Linux support.
func (r *Root) Unnamed(dir string, perm fs.FileMode) (File, error) {
	if err := check("open unnamed", dir); err != nil {
		return nil, err
	}
	at, err := r.handle(dir, unix.O_PATH)
	if err != nil {
		return nil, &fs.PathError{Op: "open unnamed", Path: dir, Err: err}
	}
	fd, err := unix.Openat(at, ".", os.O_WRONLY|unix.O_TMPFILE|unix.O_CLOEXEC, uint32(perm.Perm()))
	_ = unix.Close(at)
	switch err {
	case nil:
	case unix.EOPNOTSUPP, unix.EISDIR, unix.EINVAL:
		return nil, &fs.PathError{Op: "open unnamed", Path: dir, Err: errors.ErrUnsupported}
	default:
		return nil, &fs.PathError{Op: "open unnamed", Path: dir, Err: err}
	}
	f := os.NewFile(uintptr(fd), dir)
	if r.owner == nil {
		return f, nil
	}
	if err := f.Chown(r.owner.uid, r.owner.gid); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// LinkFile implements FS. It links through /proc, which needs no privilege (open(2), O_TMPFILE).
func (r *Root) LinkFile(f File, newname string) error {
	if err := check("link", newname); err != nil {
		return err
	}
	dir, err := r.handle(path.Dir(newname), unix.O_PATH)
	if err != nil {
		return &os.LinkError{Op: "link", Old: "unnamed file", New: newname, Err: err}
	}
	defer unix.Close(dir)
	from := "/proc/self/fd/" + strconv.Itoa(int(f.(*os.File).Fd()))
	base := path.Base(newname)
	if err := unix.Linkat(unix.AT_FDCWD, from, dir, base, unix.AT_SYMLINK_FOLLOW); err != nil {
		return &os.LinkError{Op: "link", Old: "unnamed file", New: newname, Err: err}
	}
	return nil
}

// handle opens the directory name for the *at calls, with O_PATH or O_RDONLY; the caller closes it.
// It follows no symbolic link: a directory reached only through one counts as missing.
func (r *Root) handle(name string, flag int) (fd int, err error) {
	fd, err = r.openat2(name, flag|unix.O_DIRECTORY, 0, unix.RESOLVE_NO_SYMLINKS)
	switch err {
	case unix.ELOOP, unix.ENOTDIR:
		return -1, unix.ENOENT
	case errNoOpenat2:
		return r.slowHandle(name)
	}
	return fd, err
}

func (r *Root) slowHandle(name string) (fd int, err error) {
	for i := 1; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			continue
		}
		if fi, err := r.Lstat(name[:i]); err != nil {
			return -1, err
		} else if !fi.IsDir() {
			return -1, unix.ENOENT
		}
	}
	dir, err := r.openDir(name)
	if err != nil {
		return -1, err
	}
	defer dir.Close()
	return unix.FcntlInt(dir.Fd(), unix.F_DUPFD_CLOEXEC, 0)
}
