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

// Reserve is a file that reserves disk space. Release frees the space for a writer that must not
// fail on a full disk.
type Reserve struct {
	fsys FS
	name string
	size int64
}

// NewReserve describes a reserve of size bytes. It makes no file.
func NewReserve(fsys FS, name string, size int64) *Reserve {
	return &Reserve{fsys: fsys, name: name, size: size}
}

// Size returns the size of the whole reserve in bytes.
func (r *Reserve) Size() int64 { return r.size }

// Held reports whether the reserve exists in full size.
func (r *Reserve) Held() bool {
	fi, err := r.fsys.Lstat(r.name)
	return err == nil && fi.Mode().IsRegular() && fi.Size() >= r.size
}

// Ensure makes the reserve, durably, unless it exists. On an error it leaves no part of it, so that
// it does not fill an almost full disk.
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

// Release frees the space. A missing reserve is no error.
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

// allocate allocates a file's blocks without writing them, if the file system can do that
// (fallocate(2)).
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

// newNoise returns an endless source of bytes that a file system cannot compress.
func newNoise() io.Reader { return rand.NewChaCha8([32]byte{}) }

// NoSpace reports whether an error means that the disk or the file system quota is full.
func NoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
