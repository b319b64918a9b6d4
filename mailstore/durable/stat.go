package durable

import (
	"io/fs"
	"path"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Lstat implements FS with a single call, because each delivery calls it for several files. Unlike
// methods that open or change a file, it follows a symbolic link to a directory in the middle of a
// name, even to one outside the tree. A caller that must exclude this checks each part of the name.
func (r *Root) Lstat(name string) (fs.FileInfo, error) {
	if err := check("lstat", name); err != nil {
		return nil, err
	}
	var st unix.Stat_t
	for {
		err := unix.Fstatat(r.topFD, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil {
			return newInfo(name, &st), nil
		}
		if err != unix.EINTR {
			return nil, &fs.PathError{Op: "lstat", Path: name, Err: err}
		}
	}
}

// SameFile reports whether two results of Lstat or File.Stat describe one file.
func SameFile(a, b fs.FileInfo) bool {
	x, ok := a.Sys().(*syscall.Stat_t)
	y, too := b.Sys().(*syscall.Stat_t)
	return ok && too && x.Dev == y.Dev && x.Ino == y.Ino
}

// Unchanged reports whether two results describe one file with the same size and mtime.
func Unchanged(a, b fs.FileInfo) bool {
	return SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// info is an fs.FileInfo like those of package os.
type info struct {
	name string
	sys  syscall.Stat_t
}

func newInfo(name string, st *unix.Stat_t) *info {
	return &info{name: path.Base(name), sys: syscall.Stat_t{
		Dev: st.Dev, Ino: st.Ino, Nlink: st.Nlink, Mode: st.Mode,
		Uid: st.Uid, Gid: st.Gid, Rdev: st.Rdev,
		Size: st.Size, Blksize: st.Blksize, Blocks: st.Blocks,
		Atim: syscall.Timespec(st.Atim), Mtim: syscall.Timespec(st.Mtim),
		Ctim: syscall.Timespec(st.Ctim),
	}}
}

// Name implements fs.FileInfo.
func (i *info) Name() string { return i.name }

// Size implements fs.FileInfo.
func (i *info) Size() int64 { return i.sys.Size }

// ModTime implements fs.FileInfo.
func (i *info) ModTime() time.Time { return time.Unix(i.sys.Mtim.Unix()) }

// IsDir implements fs.FileInfo.
func (i *info) IsDir() bool { return i.sys.Mode&unix.S_IFMT == unix.S_IFDIR }

// Sys implements fs.FileInfo; it returns a *syscall.Stat_t.
func (i *info) Sys() any { return &i.sys }

// Mode implements fs.FileInfo.
func (i *info) Mode() fs.FileMode {
	mode := fs.FileMode(i.sys.Mode & 0o777)
	if i.sys.Mode&unix.S_ISUID != 0 {
		mode |= fs.ModeSetuid
	}
	if i.sys.Mode&unix.S_ISGID != 0 {
		mode |= fs.ModeSetgid
	}
	if i.sys.Mode&unix.S_ISVTX != 0 {
		mode |= fs.ModeSticky
	}
	switch i.sys.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return mode
	case unix.S_IFDIR:
		return mode | fs.ModeDir
	case unix.S_IFLNK:
		return mode | fs.ModeSymlink
	case unix.S_IFIFO:
		return mode | fs.ModeNamedPipe
	case unix.S_IFSOCK:
		return mode | fs.ModeSocket
	case unix.S_IFBLK:
		return mode | fs.ModeDevice
	}
	return mode | fs.ModeDevice | fs.ModeCharDevice
}
