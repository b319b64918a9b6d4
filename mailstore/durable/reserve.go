package durable

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"syscall"

	"golang.org/x/sys/unix"
)

// Reserve is a file that keeps room on the disk. Release gives the room to a writer that must not fail for want of it.
type Reserve struct {
	fsys FS
	name string
	size int64
}

// NewReserve describes a reserve of size bytes. It makes no file.
func NewReserve(fsys FS, name string, size int64) *Reserve {
	return &Reserve{fsys: fsys, name: name, size: size}
}

// Size is how many bytes the reserve keeps when it is whole.
func (r *Reserve) Size() int64 { return r.size }

// Held reports whether the reserve is whole.
func (r *Reserve) Held() bool {
	fi, err := r.fsys.Lstat(r.name)
	return err == nil && fi.Mode().IsRegular() && fi.Size() >= r.size
}

// Ensure makes the reserve, durably, unless it is whole. On an error no part of it is left, so that a disk that is
// nearly full is not made fuller.
func (r *Reserve) Ensure() error {
	if r.Held() {
		return nil
	}
	if err := r.Release(); err != nil {
		return err
	}
	if err := r.make(); err != nil {
		return errors.Join(err, r.Release())
	}
	return r.fsys.SyncDir(path.Dir(r.name))
}

// Release gives the room back. A missing reserve is no error.
func (r *Reserve) Release() error {
	if err := r.fsys.Remove(r.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (r *Reserve) make() error {
	f, err := r.fsys.OpenFile(r.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = allocate(f, r.size)
	if errors.Is(err, errors.ErrUnsupported) {
		_, err = io.Copy(f, io.LimitReader(newNoise(), r.size))
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// allocate gives a file its blocks without writing to them, where the file system can do that (fallocate(2)).
func allocate(f File, size int64) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return errors.ErrUnsupported
	}
	var allocErr error
	err = conn.Control(func(fd uintptr) { allocErr = unix.Fallocate(int(fd), 0, 0, size) })
	if errors.Is(allocErr, syscall.EOPNOTSUPP) || errors.Is(allocErr, syscall.ENOSYS) {
		return errors.ErrUnsupported
	}
	return errors.Join(err, allocErr)
}

// newNoise is an endless source of bytes that no file system can compress.
func newNoise() io.Reader { return rand.NewChaCha8([32]byte{}) }

// NoSpace reports whether an error says that the disk, or the quota that the system sets, has no room.
func NoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
