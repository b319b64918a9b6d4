package durable

import (
	"errors"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// errNoOpenat2 means that os.Root must be used instead, with a call for each part of a name: before
// Linux 5.6, or in a sandbox that forbids openat2(2).
var errNoOpenat2 = errors.New("no openat2")

// openat2 opens name below the root; the caller closes the descriptor. resolve is added to the
// flags that confine the name to the tree.
func (r *Root) openat2(
	name string, flag int, perm fs.FileMode, resolve uint64,
) (fd int, err error) {
	how := unix.OpenHow{
		Flags:   uint64(flag) | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | resolve,
	}
	if flag&os.O_CREATE != 0 {
		how.Mode = uint64(perm.Perm())
	}
	for {
		fd, err = unix.Openat2(r.topFD, name, &how)
		switch err {
		case unix.EINTR, unix.EAGAIN: // EAGAIN: a directory was renamed meanwhile
			continue
		case unix.ENOSYS, unix.EPERM:
			return -1, errNoOpenat2
		}
		return fd, err
	}
}

// open is os.Root.OpenFile.
func (r *Root) open(name string, flag int, perm fs.FileMode) (*os.File, error) {
	fd, err := r.openat2(name, flag, perm, 0)
	switch err {
	case nil:
		return os.NewFile(uintptr(fd), path.Join(r.Name(), name)), nil
	case errNoOpenat2:
		return r.root.OpenFile(name, flag, perm)
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: err}
}
