package daemon

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"pillarbox/cmd/internal/admin"
)

// openLocal listens on a unix socket that every user of the machine may connect to. A socket on
// which no process listens is a leftover and is replaced. If the folder is missing, openLocal makes
// it and calls give with it. An error of a folder that this account may not write has a hint.
func openLocal(path string, give func(dir *os.File) error) (net.Listener, error) {
	l, err := replaceSocket(path, give)
	if account, unknown := user.Current(); unknown == nil && errors.Is(err, fs.ErrPermission) {
		return nil, admin.Hint(err, "'chown %s: %s', as root", account.Username, filepath.Dir(path))
	}
	return l, err
}

func replaceSocket(path string, give func(dir *os.File) error) (net.Listener, error) {
	if err := makeFolder(filepath.Dir(path), give); err != nil {
		return nil, err
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
	}
	// Any other failure, such as a full queue of connections, is that of a living server.
	if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTSOCK) {
		return nil, errors.Join(errors.New("another server listens on it"), err)
	}
	if fi, err := os.Lstat(path); err == nil && fi.Mode().Type() != fs.ModeSocket {
		return nil, errors.New(strconv.Quote(path) + " is not a socket")
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o666); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// folderOwner returns a function that gives a folder to the owner of the data directory. Only root
// can do that, and needs it: the next server may run as that owner.
func folderOwner(data string) func(dir *os.File) error {
	return func(dir *os.File) error {
		var st syscall.Stat_t
		if os.Geteuid() != 0 || syscall.Stat(data, &st) != nil || st.Uid == 0 {
			return nil
		}
		return dir.Chown(int(st.Uid), int(st.Gid))
	}
}

// makeFolder makes a folder, and those above it, if it is missing.
func makeFolder(path string, give func(dir *os.File) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o755); errors.Is(err, fs.ErrExist) {
		return os.MkdirAll(path, 0o755) // an error if it is no folder
	} else if err != nil {
		return err
	}
	dir, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	return errors.Join(give(dir), dir.Close())
}

// errorArgs returns an error for the log, with its hint if it has one.
func errorArgs(err error) []any {
	args := []any{"error", err}
	if hinted, ok := errors.AsType[*admin.HintError](err); ok {
		args = append(args, "hint", hinted.Hint)
	}
	return args
}
