package durable

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

const tempSuffix = ".tmp"

// ReadFile returns the content of a file.
func ReadFile(fsys FS, name string) ([]byte, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// WriteFile creates or replaces a file durably. A reader, also one after a crash, finds the whole
// old or the whole new content. nil means that the new content is on the disk. After an error the
// old file is unchanged, with one exception: if the last step, the sync of the directory, failed,
// the new content is in place but may not survive a power cut.
//
// The content is first written to a file beside it, whose name IsTemp recognises. Only a crash
// leaves that file behind.
func WriteFile(fsys FS, name string, data []byte, perm fs.FileMode) error {
	return WriteFrom(fsys, name, bytes.NewReader(data), perm)
}

// WriteFrom is WriteFile with the content of a reader.
func WriteFrom(fsys FS, name string, data io.Reader, perm fs.FileMode) error {
	if err := replace(fsys, name, data, perm, File.Sync); err != nil {
		return err
	}
	return fsys.SyncDir(path.Dir(name))
}

// Replace is WriteFile without the syncs. While the system runs, a reader finds the whole old or
// the whole new content. After a crash the content is undefined, so the caller needs a Log to
// restore it.
func Replace(fsys FS, name string, data []byte, perm fs.FileMode) error {
	return replace(fsys, name, bytes.NewReader(data), perm, func(File) error { return nil })
}

func replace(fsys FS, name string, data io.Reader, perm fs.FileMode, sync func(File) error) error {
	temp := tempName(name)
	if err := writeTemp(fsys, temp, data, perm, sync); err != nil {
		return err
	}
	if err := fsys.Rename(temp, name); err != nil {
		return errors.Join(err, fsys.Remove(temp))
	}
	return nil
}

func writeTemp(
	fsys FS, temp string, data io.Reader, perm fs.FileMode, sync func(File) error,
) error {
	f, err := fsys.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, data)
	if err == nil {
		err = sync(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, fsys.Remove(temp))
	}
	return nil
}

func tempName(name string) string {
	dir, base := path.Split(name)
	return dir + "." + base + "." + rand.Text() + tempSuffix
}

// IsTemp reports whether base, a name without its directory, is that of an unfinished file of
// WriteFile.
func IsTemp(base string) bool {
	return strings.HasPrefix(base, ".") && strings.HasSuffix(base, tempSuffix)
}
