package mailtest

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	"pillarbox/mailstore/durable"
)

// powerFile is an open file or directory of a PowerFS. PowerFS.mu guards its fields.
type powerFile struct {
	fs     *PowerFS
	node   *node
	name   string
	flag   int
	off    int64
	closed bool
}

const accessMode = os.O_RDONLY | os.O_WRONLY | os.O_RDWR

// OpenFile implements durable.FS.
func (p *PowerFS) OpenFile(name string, flag int, perm fs.FileMode) (f durable.File, err error) {
	kind := "open"
	if flag&os.O_CREATE != 0 {
		kind = "create"
	}
	err = p.onPath(kind, "openat", name, func() error {
		n, err := p.open(name, flag, perm)
		if err == nil {
			f = p.handle(n, name, flag)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (p *PowerFS) open(name string, flag int, perm fs.FileMode) (*node, error) {
	if perm&fs.ModePerm != perm {
		return nil, errors.New("unsupported file mode")
	}
	dir, base, err := p.place(name)
	if err != nil {
		return nil, err
	}
	n := p.child(dir, base)
	writes := flag&accessMode != os.O_RDONLY
	switch {
	case n == nil && flag&os.O_CREATE == 0:
		return nil, syscall.ENOENT
	case n == nil:
		n = p.newFile(perm)
		p.set(dir, base, n)
	case flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		return nil, syscall.EEXIST
	case n.dir != nil && (writes || flag&(os.O_CREATE|os.O_TRUNC) != 0):
		return nil, syscall.EISDIR
	case n.dir == nil && flag&syscall.O_DIRECTORY != 0:
		return nil, syscall.ENOTDIR
	case flag&os.O_TRUNC != 0:
		p.truncate(n)
	}
	return n, nil
}

// Unnamed implements durable.FS.
func (p *PowerFS) Unnamed(dir string, perm fs.FileMode) (f durable.File, err error) {
	err = p.onPath("create", "openat", dir, func() error {
		if _, err := p.walkDir(dir); err != nil {
			return syscall.ENOENT // as durable.Root, whatever the reason
		}
		f = p.handle(p.newFile(perm), dir, os.O_WRONLY)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// LinkFile implements durable.FS.
func (p *PowerFS) LinkFile(file durable.File, newname string) error {
	return p.onPair("link", ".", newname, func() error {
		dir, err := p.walkDir(path.Dir(newname))
		if err != nil {
			return syscall.ENOENT
		}
		return p.linkFile(file.(*powerFile), dir, path.Base(newname))
	})
}

func (p *PowerFS) linkFile(f *powerFile, dir *node, base string) error {
	switch {
	case f.closed:
		return fs.ErrClosed
	case dir.dir.entries[base] != nil:
		return syscall.EEXIST
	case f.node.links == 0 && !f.node.fresh, dir != p.root && dir.gone():
		return syscall.ENOENT
	}
	p.set(dir, base, f.node)
	return nil
}

// OpenDir implements durable.FS.
func (p *PowerFS) OpenDir(name string) (d durable.Dir, err error) {
	err = p.onPath("opendir", "openat", name, func() error {
		n, err := p.walkDir(name)
		if err != nil {
			return syscall.ENOENT
		}
		p.limits.open++
		d = &powerDir{fs: p, node: n, name: name}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

// powerDir is an open directory of a PowerFS.
type powerDir struct {
	fs     *PowerFS
	node   *node
	name   string
	closed bool
}

// step does one operation in the directory.
func (d *powerDir) step(kind, op, base string, do func() error) error {
	name := path.Join(d.name, base)
	return d.fs.held(kind, name, func() error {
		err := fs.ErrClosed
		if !d.closed {
			err = do()
		}
		if err != nil {
			return &fs.PathError{Op: op, Path: name, Err: err}
		}
		return nil
	})
}

// Link implements durable.Dir.
func (d *powerDir) Link(file durable.File, base string) error {
	return d.step("link", "linkat", base, func() error {
		return d.fs.linkFile(file.(*powerFile), d.node, base)
	})
}

// Remove implements durable.Dir.
func (d *powerDir) Remove(base string) error {
	return d.step("remove", "unlinkat", base, func() error {
		n := d.node.dir.entries[base]
		switch {
		case n == nil:
			return syscall.ENOENT
		case n.dir != nil:
			return syscall.EISDIR
		}
		d.fs.set(d.node, base, nil)
		return nil
	})
}

// Sync implements durable.Dir.
func (d *powerDir) Sync() error {
	return d.step("syncdir", "fsync", ".", func() error {
		d.fs.syncNames(d.node)
		return nil
	})
}

// Device implements durable.Dir.
func (d *powerDir) Device() (uint64, error) { return 1, nil }

// Close implements durable.Dir.
func (d *powerDir) Close() error {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	if d.closed {
		return &fs.PathError{Op: "close", Path: d.name, Err: fs.ErrClosed}
	}
	d.closed = true
	d.fs.limits.open--
	return nil
}

// step does one operation on the open file.
func (f *powerFile) step(kind string, do func() error) error {
	return f.fs.step(kind, f.name, func() error { return f.check(kind, do()) })
}

// check wraps an error.
func (f *powerFile) check(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &fs.PathError{Op: op, Path: f.name, Err: err}
}

// Read implements durable.File.
func (f *powerFile) Read(b []byte) (n int, err error) {
	err = f.step("read", func() error {
		switch {
		case f.closed:
			return fs.ErrClosed
		case f.node.dir != nil:
			return syscall.EISDIR
		case f.flag&accessMode == os.O_WRONLY:
			return syscall.EBADF
		}
		n = f.node.data.now.readAt(b, f.off)
		f.off += int64(n)
		if n == 0 && len(b) > 0 {
			return io.EOF
		}
		return nil
	})
	if f.fs.Off() {
		n = 0
	}
	return n, err
}

// Write implements durable.File.
func (f *powerFile) Write(b []byte) (n int, err error) {
	return f.write(b, func() int64 {
		if f.flag&os.O_APPEND != 0 {
			f.off = f.node.data.now.size
		}
		return f.off
	}, func(n int) { f.off += int64(n) })
}

// WriteAt implements durable.File.
func (f *powerFile) WriteAt(b []byte, off int64) (n int, err error) {
	if f.flag&os.O_APPEND != 0 {
		return 0, errors.New("os: invalid use of WriteAt on file opened with O_APPEND")
	}
	if off < 0 {
		return 0, &fs.PathError{Op: "writeat", Path: f.name, Err: errors.New("negative offset")}
	}
	return f.write(b, func() int64 { return off }, func(int) {})
}

// write does a write, or half of one that must fail. A write during which the power is cut is done
// whole, but none of it is certainly on the disk.
func (f *powerFile) write(b []byte, at func() int64, wrote func(int)) (n int, err error) {
	f.fs.delay("write", f.name)
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	wasOff := f.fs.off
	failed := f.fs.verdict("write", f.name)
	switch {
	case wasOff:
		return 0, failed
	case f.closed:
		return 0, f.check("write", fs.ErrClosed)
	case f.flag&accessMode == os.O_RDONLY:
		return 0, f.check("write", syscall.EBADF)
	case f.fs.off:
		f.writeAt(b, at())
		return 0, failed
	case failed != nil:
		b = b[:len(b)/2]
	}
	off := at()
	if fits := f.fs.room(f.node, off, int64(len(b))); fits < int64(len(b)) {
		b = b[:fits]
		failed = errors.Join(failed, f.check("write", syscall.ENOSPC))
	}
	if err := f.writeAt(b, off); err != nil {
		return 0, err
	}
	wrote(len(b))
	return len(b), failed
}

func (f *powerFile) writeAt(b []byte, off int64) error {
	if len(b) == 0 {
		return nil
	}
	first, end := f.node.data.write(b, off)
	f.fs.charge(f.node)
	f.node.mtime = f.fs.tick()
	if f.flag&syscall.O_DSYNC != 0 {
		f.fs.syncContent(f.node.data, first, end)
		return f.tellFailed()
	}
	return nil
}

// Seek implements durable.File. It is not a step: it does not touch the disk.
func (f *powerFile) Seek(offset int64, whence int) (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return 0, f.check("seek", fs.ErrClosed)
	}
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += f.off
	case io.SeekEnd:
		if f.node.data != nil {
			offset += f.node.data.now.size
		}
	default:
		return 0, f.check("seek", syscall.EINVAL)
	}
	if offset < 0 {
		return 0, f.check("seek", syscall.EINVAL)
	}
	f.off = offset
	return offset, nil
}

// Stat implements durable.File.
func (f *powerFile) Stat() (info fs.FileInfo, err error) {
	err = f.step("stat", func() error {
		if f.closed {
			return fs.ErrClosed
		}
		info = f.node.info(path.Base(f.name))
		return nil
	})
	return info, err
}

// Sync implements durable.File.
func (f *powerFile) Sync() error {
	f.fs.delay("sync", f.name)
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return f.check("sync", fs.ErrClosed)
	}
	if err := f.fs.verdict("sync", f.name); err != nil {
		if !f.fs.off && f.node.data != nil {
			f.node.data.lose()
		}
		return err
	}
	f.fs.syncFile(f.node)
	return f.tellFailed()
}

// Close implements durable.File.
func (f *powerFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return f.check("close", fs.ErrClosed)
	}
	f.closed = true
	f.fs.closed(f)
	return f.fs.verdict("close", f.name)
}

// SyscallConn implements durable.File. It fails, because there is no descriptor.
func (f *powerFile) SyscallConn() (syscall.RawConn, error) {
	return nil, f.check("syscallconn", errors.ErrUnsupported)
}
