package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// MaxSmall is the usual limit in octets for a file that people and programs edit, such as settings,
// accounts and keys. It is far above the size of any real one, and far below what would harm the
// server.
const MaxSmall = 64 << 20

// maxSecret is the largest size of a file with a password, in octets.
const maxSecret = 64 << 10

// FileError means that a name does not belong to a readable file of settings.
type FileError struct {
	Name string
	Why  string
}

func (e *FileError) Error() string { return e.Name + ": " + e.Why }

// ReadSmall returns the content of a regular file of at most limit octets. For anything else the
// error is a *FileError. It checks the file before opening it, and the opening never blocks.
// Otherwise a named pipe would block the caller until a writer comes, and opening a device could
// have side effects.
func ReadSmall(fsys FS, name string, limit int64) ([]byte, error) {
	info, err := fsys.Lstat(name)
	if err != nil {
		return nil, err
	}
	return readSmall(name, info, limit, func() (File, error) {
		return fsys.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	})
}

// ReadSmallFile is ReadSmall for a path of the operating system, for files that the configuration
// names.
func ReadSmallFile(path string, limit int64) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	return readSmall(path, info, limit, func() (File, error) {
		f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return nil, err
		}
		return f, nil
	})
}

// ReadSecretLine returns the first line of a file of the operating system that holds a password.
// The file must not be readable by all users. Errors never contain the password.
func ReadSecretLine(path string) (string, error) {
	text, err := ReadSmallFile(path, maxSecret)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o007 != 0 {
		return "", fmt.Errorf("%s may be read by others (mode %04o): "+
			"run 'chmod o-rwx' on it, and change the password", path, info.Mode().Perm())
	}
	line, _, _ := strings.Cut(string(text), "\n")
	line = strings.TrimRight(line, "\r")
	if line == "" || strings.ContainsRune(line, 0) {
		return "", errors.New(path + " has no password in its first line")
	}
	return line, nil
}

// readSmall checks the file twice: before opening it, since opening a device may have an effect,
// and afterwards, since a symbolic link or a replacement may lead to another file.
func readSmall(
	name string, info fs.FileInfo, limit int64, open func() (File, error),
) ([]byte, error) {
	if info.Mode().Type() != fs.ModeSymlink {
		if err := checkSmall(name, info, limit); err != nil {
			return nil, err
		}
	}
	f, err := open()
	if errors.Is(err, syscall.ENXIO) || errors.Is(err, syscall.ENODEV) {
		return nil, &FileError{name, "it is not a regular file"}
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, err
	}
	if err := checkSmall(name, info, limit); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = tooLarge(name, limit)
	}
	if err != nil {
		return nil, err
	}
	return text, nil
}

func checkSmall(name string, info fs.FileInfo, limit int64) error {
	if !info.Mode().IsRegular() {
		return &FileError{name, fmt.Sprintf("it is %s, not a regular file", kindOf(info.Mode()))}
	}
	if info.Size() > limit {
		return tooLarge(name, limit)
	}
	return nil
}

func tooLarge(name string, limit int64) error {
	return &FileError{name, fmt.Sprintf("it has more than %d octets", limit)}
}

func kindOf(mode fs.FileMode) string {
	switch mode.Type() {
	case fs.ModeDir:
		return "a directory"
	case fs.ModeNamedPipe:
		return "a named pipe"
	case fs.ModeSocket:
		return "a socket"
	case fs.ModeSymlink:
		return "a symbolic link"
	}
	return "a device"
}
