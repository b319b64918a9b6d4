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
	As   string // what it said that it is, as "server"; "" when not known
}

func (e *LockedError) Error() string {
	switch {
	case e.PID == 0:
		return fmt.Sprintf("%s is locked by another process", e.Name)
	case e.As == "":
		return fmt.Sprintf("%s is locked by process %d", e.Name, e.PID)
	}
	return fmt.Sprintf("%s is locked by process %d (%s)", e.Name, e.PID, e.As)
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
			return nil, lockedBy(name, f)
		case <-time.After(wait):
		}
	}
}

// TryLock takes the lock file name without waiting and writes the number of this process into it.
// When somebody else holds it, the error is a *LockedError. The lock ends with unlock or with the process;
// the file stays.
func TryLock(fsys FS, name string) (unlock func(), err error) { return TryLockAs(fsys, name, "") }

// holderSize is the length of what a holder writes: what an earlier one wrote has no end that shows after it.
const holderSize = 64

// TryLockAs is TryLock for a holder that says what it is, in a short word. For a moment after another process has taken
// the lock, a *LockedError may still name the holder before it.
func TryLockAs(fsys FS, name, as string) (unlock func(), err error) {
	f, err := openLock(fsys, name)
	if err != nil {
		return nil, err
	}
	err = flock(f)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		defer f.Close()
		return nil, lockedBy(name, f)
	}
	if err == nil {
		_, err = fmt.Fprintf(f, "%-*s", holderSize, fmt.Sprintf("%d\n%s\n", os.Getpid(), as))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), f.Close())
	}
	return func() { f.Close() }, nil
}

func openLock(fsys FS, name string) (File, error) {
	return fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
}

// Locker is a File without a descriptor that can be locked all the same, as those of a file system in memory.
type Locker interface {
	// Flock does what flock(2) does with LOCK_EX and LOCK_NB.
	Flock() error
}

// flock asks for the exclusive lock without waiting. It belongs to this opening of the file and ends with Close.
func flock(f File) error {
	if l, ok := f.(Locker); ok {
		return l.Flock()
	}
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

// lockedBy reads who holds the lock, as far as the file tells.
func lockedBy(name string, f File) *LockedError {
	e := &LockedError{Name: name}
	in := bufio.NewReader(io.LimitReader(f, holderSize))
	line, err := in.ReadString('\n')
	pid, bad := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || bad != nil || pid <= 0 {
		return e
	}
	e.PID = pid
	if as, err := in.ReadString('\n'); err == nil && len(as) < holderSize/2 {
		e.As = strings.TrimSpace(as)
	}
	return e
}
