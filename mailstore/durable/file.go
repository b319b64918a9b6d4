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

// WriteFile replaces the file name, or makes it, so that a reader, and whoever looks after a crash, finds
// the whole old content or the whole new one. When it returns nil the new content is on the disk.
// On an error the old file is unharmed, unless the last step, the sync of the directory, was the one that
// failed: then the new content is in place, but might not survive a power cut.
//
// The content is first written beside the file under a name for which IsTemp is true; only a crash
// leaves it there.
func WriteFile(fsys FS, name string, data []byte, perm fs.FileMode) error {
	return WriteFrom(fsys, name, bytes.NewReader(data), perm)
}

// WriteFrom is WriteFile with what a reader gives.
func WriteFrom(fsys FS, name string, data io.Reader, perm fs.FileMode) error {
	if err := replace(fsys, name, data, perm, File.Sync); err != nil {
		return err
	}
	return fsys.SyncDir(path.Dir(name))
}

// Replace is WriteFile without the sync: whoever looks while the system runs finds the whole old content or the whole
// new one; what a crash leaves is open. It is for those who have a Log to put it back.
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

func writeTemp(fsys FS, temp string, data io.Reader, perm fs.FileMode, sync func(File) error) error {
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

// IsTemp reports whether a name without its directory is one that WriteFile uses for unfinished files.
func IsTemp(base string) bool {
	return strings.HasPrefix(base, ".") && strings.HasSuffix(base, tempSuffix)
}
