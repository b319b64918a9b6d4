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

// ErrLocked means that another opening of the file holds the lock.
var ErrLocked = errors.New("locked")

// LockedError is an ErrLocked that names the holder.
type LockedError struct {
	Name string // the lock file
	PID  int    // the holder's process; 0: unknown
	As   string // the holder's role, such as "server"; "": unknown
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

// Lock takes the lock file name. It creates a missing file and never removes it. It waits for the
// holder, in this process or another, until ctx is done; then the error is a *LockedError. The
// caller must call unlock. The lock also ends with the process.
func Lock(ctx context.Context, fsys FS, name string) (unlock func(), err error) {
	f, err := openLock(fsys, name)
	if err != nil {
		return nil, err
	}
	// flock cannot be interrupted from Go, so poll, at first quickly.
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

// TryLock takes the lock file name without waiting, and writes the process id into it. If the lock
// is held, the error is a *LockedError. The lock ends with unlock or with the process; the file
// stays.
func TryLock(fsys FS, name string) (unlock func(), err error) { return TryLockAs(fsys, name, "") }

// holderSize is the length of a holder's entry in bytes. Padding to this length overwrites the
// previous holder's entry.
const holderSize = 64

// TryLockAs is TryLock for a holder with a role, a short word. Directly after the lock has changed
// hands, a *LockedError may still name the previous holder.
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

// Locker is a File that can be locked without a descriptor, such as one of a file system in memory.
type Locker interface {
	// Flock does what flock(2) does with LOCK_EX and LOCK_NB.
	Flock() error
}

// flock tries to take the exclusive lock without waiting. The lock belongs to this opening of the
// file and ends with Close.
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

// lockedBy reads the holder from the lock file.
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
