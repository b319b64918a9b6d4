package durable

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// OpenDir implements FS.
func (r *Root) OpenDir(name string) (Dir, error) {
	if err := check("open", name); err != nil {
		return nil, err
	}
	fd, err := r.handle(name, unix.O_RDONLY)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return &dir{fd: fd, name: name}, nil
}

// dir is an open directory of a Root.
type dir struct {
	fd   int
	name string
}

// Link implements Dir. It links through /proc, which needs no privilege (open(2), O_TMPFILE).
func (d *dir) Link(f File, base string) error {
	from := "/proc/self/fd/" + strconv.Itoa(int(f.(*os.File).Fd()))
	if err := unix.Linkat(unix.AT_FDCWD, from, d.fd, base, unix.AT_SYMLINK_FOLLOW); err != nil {
		return &os.LinkError{Op: "link", Old: "unnamed file", New: d.name + "/" + base, Err: err}
	}
	return nil
}

// Remove implements Dir.
func (d *dir) Remove(base string) error {
	if err := unix.Unlinkat(d.fd, base, 0); err != nil {
		return &os.PathError{Op: "remove", Path: d.name + "/" + base, Err: err}
	}
	return nil
}

// Sync implements Dir.
func (d *dir) Sync() error {
	for {
		err := unix.Fsync(d.fd)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return &os.PathError{Op: "sync", Path: d.name, Err: err}
		}
	}
}

// Device implements Dir.
func (d *dir) Device() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: d.name, Err: err}
	}
	return st.Dev, nil
}

// Close implements Dir.
func (d *dir) Close() error { return unix.Close(d.fd) }
