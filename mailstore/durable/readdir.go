package durable

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Buffer sizes for getdents(2), in bytes: of the first call, which reads most directories whole,
// and of further ones.
const (
	firstPart = 4 << 10
	largePart = 32 << 10
)

// ReadDir implements FS. It is made for directories of 100,000 names: it allocates per buffer, not
// per name.
func (r *Root) ReadDir(name string) ([]fs.DirEntry, error) {
	at := &listedDir{root: r, dir: name}
	var parts [][]dirEntry
	count := 0
	err := r.scan(name, func(part []byte) error {
		entries, err := at.parse(part)
		parts = append(parts, entries)
		count += len(entries)
		return err
	})
	if err != nil {
		return nil, err
	}
	all := make([]fs.DirEntry, 0, count)
	for _, entries := range parts {
		for i := range entries {
			all = append(all, &entries[i])
		}
	}
	return all, nil
}

// ReadNames implements FS.
func (r *Root) ReadNames(name string) ([]string, error) {
	dir, err := r.openDir(name)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.Readdirnames(-1)
}

// scan passes the directory to each, in parts as getdents(2) returns them. A part is valid until
// each returns. package os would use smaller buffers, and os.Root would also stat every entry.
func (r *Root) scan(name string, each func(part []byte) error) error {
	dir, err := r.openDir(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	fd := int(dir.Fd())
	buf := make([]byte, firstPart)
	for {
		n, err := unix.Getdents(fd, buf)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return &fs.PathError{Op: "readdir", Path: name, Err: err}
		case n == 0:
			return nil
		}
		if err := each(buf[:n]); err != nil {
			return err
		}
		if n > len(buf)/2 && len(buf) < largePart {
			buf = make([]byte, largePart)
		}
	}
}

// listedDir is a directory that was listed.
type listedDir struct {
	root *Root
	dir  string
}

// dirEntry is an fs.DirEntry of a listedDir.
type dirEntry struct {
	name string
	kind fs.FileMode
	in   *listedDir
}

// Name implements fs.DirEntry.
func (e *dirEntry) Name() string { return e.name }

// IsDir implements fs.DirEntry.
func (e *dirEntry) IsDir() bool { return e.kind.IsDir() }

// Type implements fs.DirEntry.
func (e *dirEntry) Type() fs.FileMode { return e.kind }

// Info implements fs.DirEntry.
func (e *dirEntry) Info() (fs.FileInfo, error) {
	return e.in.root.Lstat(path.Join(e.in.dir, e.name))
}

// String returns the entry in the form of fs.FormatDirEntry.
func (e *dirEntry) String() string { return fs.FormatDirEntry(e) }

// Offsets in a struct linux_dirent64 (getdents(2)).
const (
	direntLen  = 16 // two bytes: length of the entry
	direntType = 18 // one byte
	direntName = 19 // followed by at least one NUL
)

// parse parses a part of a directory. All names share one string.
func (p *listedDir) parse(part []byte) ([]dirEntry, error) {
	count := 0
	for rest := part; len(rest) > 0; rest = rest[direntSize(rest):] {
		count++
	}
	entries := make([]dirEntry, 0, count)
	for text := string(part); len(part) > 0; {
		n := direntSize(part)
		name, _, _ := strings.Cut(text[direntName:n], "\x00")
		kind := fileType(part[direntType])
		part, text = part[n:], text[n:]
		if name == "." || name == ".." {
			continue
		}
		if kind == fs.ModeIrregular {
			fi, err := p.root.Lstat(path.Join(p.dir, name))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			kind = fi.Mode().Type()
		}
		entries = append(entries, dirEntry{name: name, kind: kind, in: p})
	}
	return entries, nil
}

func direntSize(part []byte) int { return int(binary.NativeEndian.Uint16(part[direntLen:])) }

// fileType returns the type in the listing, or fs.ModeIrregular if the file system does not provide
// it.
func fileType(kind byte) fs.FileMode {
	switch kind {
	case unix.DT_REG:
		return 0
	case unix.DT_DIR:
		return fs.ModeDir
	case unix.DT_LNK:
		return fs.ModeSymlink
	case unix.DT_FIFO:
		return fs.ModeNamedPipe
	case unix.DT_SOCK:
		return fs.ModeSocket
	case unix.DT_CHR:
		return fs.ModeDevice | fs.ModeCharDevice
	case unix.DT_BLK:
		return fs.ModeDevice
	}
	return fs.ModeIrregular
}
