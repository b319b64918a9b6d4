package durable

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrLocked says that somebody else holds the lock.
var ErrLocked = errors.New("locked")

// LockedError is an ErrLocked that says who holds the lock.
type LockedError struct {
	Name string // the lock file
	PID  int    // the process that holds it; 0 when not known
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("%s is locked by another process", e.Name)
	}
	return fmt.Sprintf("%s is locked by process %d", e.Name, e.PID)
}

// Is makes errors.Is(err, ErrLocked) true.
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// Lock takes the lock file name, which it makes when it is missing and never removes. It waits for whoever
// holds the lock, in this process or another, until ctx is done; then the error is a *LockedError.
// The lock ends with unlock, which must be called, or with the process.
func Lock(ctx context.Context, fsys FS, name string) (unlock func(), err error) {
	f, err := openLock(fsys, name)
	if err != nil {
		return nil, err
	}
	// flock cannot be interrupted from Go, so ask again and again, soon at first.
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err = flock(f)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), f.Close())
		}
		select {
		case <-ctx.Done():
			defer f.Close()
			return nil, &LockedError{Name: name, PID: readPID(f)}
		case <-time.After(wait):
		}
	}
}

// TryLock takes the lock file name without waiting and writes the number of this process into it.
// When somebody else holds it, the error is a *LockedError. The lock ends with unlock or with the process;
// the file stays.
func TryLock(fsys FS, name string) (unlock func(), err error) {
	f, err := openLock(fsys, name)
	if err != nil {
		return nil, err
	}
	err = flock(f)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		defer f.Close()
		return nil, &LockedError{Name: name, PID: readPID(f)}
	}
	if err == nil {
		// A longer number of an earlier holder may show its end after ours; only the first line counts.
		_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), f.Close())
	}
	return func() { f.Close() }, nil
}

func openLock(fsys FS, name string) (File, error) {
	return fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
}

// flock asks for the exclusive lock without waiting. It belongs to this opening of the file and ends with Close.
func flock(f File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var lockErr error
	err = conn.Control(func(fd uintptr) {
		lockErr = syscall.Flock(int(fd), syscall.LOCK_EX|syscall.LOCK_NB)
	})
	return errors.Join(err, lockErr)
}

// readPID returns 0 when the file tells no process.
func readPID(f File) int {
	line, err := bufio.NewReader(io.LimitReader(f, 32)).ReadString('\n')
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || pid <= 0 {
		return 0
	}
	return pid
}
