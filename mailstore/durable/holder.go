package durable

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// LockHolder returns the holder of the lock file name, in this process or another; nil means that
// the lock is free or the file is missing. It takes a free lock for a moment, as TryLock does, and
// changes nothing else.
func LockHolder(fsys FS, name string) (*LockedError, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	err = flock(f)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return lockedBy(name, f), nil
	}
	return nil, err
}
