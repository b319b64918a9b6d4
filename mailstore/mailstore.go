// Package mailstore keeps the mail: a directory for each mailbox, a file for each message.
//
// The file system is the database. A message is acknowledged when a log has it, the whole of a small one, the name of a
// large one whose file is synced. Then its file gets its names in every mailbox that receives it; they are synced a
// little later. From the record on there is no way back: what cannot be done at once is done by a recovery, before
// anything else acts on the store (gate, recovery). The file name says all that a listing needs (see Name), so a mailbox of any size is
// read without opening a message.
// Files that somebody put into a mailbox by hand are messages like any other if they end in ".eml".
//
// A mailbox goes by its directory, a slash-separated name relative to the root of the file system, which only
// package directory makes up.
package mailstore

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"pillarbox/mailstore/durable"
)

const (
	incomingDir = "incoming"
	dirPerm     = 0o700
	filePerm    = 0o600

	// bufferSize is how much of a file is read at once, in bytes.
	bufferSize = 32 << 10
)

var (
	// ErrNoMailbox says that a mailbox's directory is missing, or is not a plain directory.
	ErrNoMailbox = errors.New("no such mailbox")
	// ErrOverQuota says that a message does not fit into a mailbox.
	ErrOverQuota = errors.New("mailbox is full")
	// ErrInUse says that the maildrop is open elsewhere in this process.
	ErrInUse = errors.New("maildrop is in use")
	// ErrGone says that a message was deleted after the maildrop was listed.
	ErrGone = errors.New("message is gone")
	// ErrDamaged says that a message's file is not what the listing said: cut short, edited under a name that
	// tells another size, or replaced by something that is no regular file.
	ErrDamaged = errors.New("message file is damaged")
	// ErrCrossDevice says that a mailbox lies on another file system than the incoming directory, so that
	// no message can be linked into it.
	ErrCrossDevice = errors.New("mailbox and incoming directory are on different file systems")
)

// NoMailboxError is an ErrNoMailbox that names the mailbox.
type NoMailboxError struct{ Dir string }

func (e *NoMailboxError) Error() string        { return fmt.Sprintf("%s: %v", e.Dir, ErrNoMailbox) }
func (e *NoMailboxError) Is(target error) bool { return target == ErrNoMailbox }

// OverQuotaError is an ErrOverQuota that names the mailboxes without room. Err is what the Reserver said of the first.
type OverQuotaError struct {
	Dirs []string
	Err  error
}

func (e *OverQuotaError) Error() string {
	return fmt.Sprintf("%s: %v", strings.Join(e.Dirs, ", "), e.Err)
}
func (e *OverQuotaError) Is(target error) bool { return target == ErrOverQuota }
func (e *OverQuotaError) Unwrap() error        { return e.Err }

// Reserver keeps mailboxes within their quota. Sizes are in bytes. An error of Room or Reserve that has a
// method OverQuota() bool returning true says that there is no room; any other, that this cannot be told now.
//
// A change that is under way is open from the call that announces it until its settle function is called,
// which must happen exactly once and says by how much the mailbox really changed: nothing, (0, 0), if the
// change failed.
type Reserver interface {
	// Room asks, without any obligation, whether one more message of this size fits into the mailbox.
	Room(dir string, bytes int64) error
	// Reserve sets room for one message aside. On success the delivery is under way.
	Reserve(dir string, bytes int64) (settle func(bytes int64, messages int), err error)
	// Release announces that messages are about to be deleted. The room is free again once they are settled. It also
	// announces a message that the mailbox takes whether or not there is room.
	Release(dir string) (settle func(bytes int64, messages int))
}

// Options say how a Store works. The zero value is good.
type Options struct {
	// Reserver keeps quotas; nil means that there are none.
	Reserver Reserver
	// Now replaces time.Now in tests.
	Now func() time.Time
}

// RecoverOptions say how a process that calls Recover keeps its acknowledgements. The zero value is good.
type RecoverOptions struct {
	// SyncEach makes every file and directory be synced by itself: for file systems that do not keep the promises that
	// a sync of everything rests on (durable.Root.Filesystem).
	SyncEach bool
	// Offline is for a command that works while no server runs: what a log holds is made true, and no log is begun.
	Offline bool
	// LogSize is the size of each half of the log in bytes, a multiple of 4096; 0 is the usual one. The reserve is as
	// large as both together.
	LogSize int64
	// SyncDelay is how long the sync of what the log holds waits at most; 0 is some seconds.
	SyncDelay time.Duration
	// Log takes what happens; nil discards it.
	Log *slog.Logger
	// Recovered is called, by another goroutine, after each recovery but that of Recover itself. nil: no caller needs to
	// know.
	Recovered func()
}

// Store is the mail below one root. It is safe for concurrent use.
type Store struct {
	fsys     durable.FS
	quota    Reserver // nil: no limits
	ids      *idSource
	buffers  sync.Pool // of *[]byte
	gate     *gate
	keeper   *keeper                 // nil before Recover
	journal  atomic.Pointer[journal] // nil before Recover, and while no log can be made
	syncEach bool
	device   uint64      // of the incoming directory
	named    atomic.Bool // the file system has no files without a name
	sizes    sizeCache
	views    viewCache
	spool    Spool

	mu    sync.Mutex
	inUse map[string]struct{} // by directory: the maildrops that are open
}

// Open opens the store on fsys and makes the incoming directory when it is missing. Nothing is scanned.
// Any number of processes may have the store open; the one that delivers most calls Recover first.
func Open(fsys durable.FS, opts Options) (*Store, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	for _, dir := range []string{incomingDir, spoolDir} {
		if err := fsys.MkdirAll(dir, dirPerm); err != nil {
			return nil, fmt.Errorf("mail store: %w", err)
		}
	}
	s := &Store{
		fsys:  fsys,
		quota: opts.Reserver,
		ids:   newIDSource(opts.Now),
		gate:  newGate(),
		inUse: make(map[string]struct{}),
	}
	s.spool.store = s
	var err error
	s.device, err = deviceOf(fsys, incomingDir)
	return s, err
}

// Checkpoint brings to the disk what the log stands for, and cuts the log. It is for a caller that puts back what was
// deleted: the log knows messages by mailbox and name.
func (s *Store) Checkpoint() error { return s.alone(func() error { return nil }) }

func deviceOf(fsys durable.FS, name string) (uint64, error) {
	dir, err := fsys.OpenDir(name)
	if err != nil {
		return 0, fmt.Errorf("mail store: %w", err)
	}
	device, err := dir.Device()
	return device, errors.Join(err, dir.Close())
}

// Exclusively is for a caller that takes a mailbox away, or gives it another name. While change runs, no other
// operation acts on the store, and the log is empty. If the disk has no room for the change, it is made once more with
// the room of the reserve. change must not use the store.
func (s *Store) Exclusively(change func() error) error {
	return s.alone(func() error {
		defer s.syncNames()
		return s.WithReserve(change)
	})
}

// syncNames makes sure that the disk has the names of mailboxes as the store sees them, whatever a change says became of
// it: one that was undone in part may be on the disk in another part. Records are about to use the names.
func (s *Store) syncNames() {
	if s.keeper == nil || s.syncEach {
		return
	}
	if err := s.fsys.SyncAll(); err != nil {
		s.fall(err)
	}
}

func (s *Store) alone(do func() error) error {
	if err := s.gate.lock(); err != nil {
		return err
	}
	defer s.gate.unlock()
	j := s.journal.Load()
	if j != nil {
		defer s.keeper.keepReserve(j) // the change may have taken it
		err := s.spool.writeOutAll()
		if err == nil {
			err = j.log.Checkpoint()
		}
		if err != nil {
			s.fall(err)
			return fmt.Errorf("%w: %w", ErrRecovering, err)
		}
	}
	return do()
}

// WithReserve makes a change that frees more room than it takes. If the disk has none, the change is made once more with
// the room of the reserve; the server makes the reserve again. It is for callers that know the log to be empty.
func (s *Store) WithReserve(change func() error) error {
	err := change()
	if !durable.NoSpace(err) {
		return err
	}
	if released := s.fsys.Remove(reserveFile); released != nil {
		return err
	}
	return change()
}

// Close brings everything to the disk and gives the log back. No operation may be under way. A store that was not
// recovered has nothing to close.
func (s *Store) Close() error {
	if s.keeper == nil {
		return nil
	}
	s.keeper.end()
	if err := s.gate.stillFallen(); err != nil {
		s.gate.recovered(err) // the next start recovers; nothing shall wait for it
	}
	s.spool.logOnly.stop()
	err := s.closeLog()
	s.keeper = nil
	return errors.Join(err, s.gate.stillFallen())
}

func (s *Store) closeLog() error {
	j := s.journal.Swap(nil)
	if j == nil {
		return nil
	}
	defer s.removeTrash(j)
	if err := s.spool.writeOutAll(); err != nil {
		return errors.Join(err, j.log.Abandon()) // the next start replays it
	}
	return j.log.Close()
}

// Flushes is how many times the log has asked the disk to write since Recover.
func (s *Store) Flushes() int64 {
	j := s.journal.Load()
	if j == nil {
		return 0
	}
	return j.log.Flushes()
}

// buffer is memory for a message, with nothing in it.
func (s *Store) buffer() []byte {
	if b, ok := s.buffers.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, smallMost)
}

func (s *Store) putBuffer(b []byte) {
	if cap(b) > 0 {
		s.buffers.Put(&b)
	}
}

// Room says whether one more message of the given size fits into the mailbox, without setting the room aside:
// nil, an *OverQuotaError, or another error when it cannot be told now.
func (s *Store) Room(dir string, bytes int64) error {
	if s.quota == nil {
		return nil
	}
	return s.quotaError(dir, s.quota.Room(dir, bytes))
}

// quotaError gives the Reserver's error its class.
func (s *Store) quotaError(dir string, err error) error {
	if err == nil {
		return nil
	}
	if q, ok := errors.AsType[interface {
		error
		OverQuota() bool
	}](err); ok && q.OverQuota() {
		return &OverQuotaError{Dirs: []string{dir}, Err: err}
	}
	if gone := s.checkMailbox(dir); gone != nil {
		return gone // a mailbox that is not there has no quota either
	}
	return fmt.Errorf("%s: quota: %w", dir, err)
}

// Stat is what a mailbox holds: the number of its messages and the bytes of their files as POP3 counts them.
type Stat struct {
	Messages int
	Bytes    int64
}

// checkMailbox returns a *NoMailboxError unless dir and all above it are plain directories: a mailbox or domain
// replaced by a symbolic link is refused.
func (s *Store) checkMailbox(dir string) error {
	if !fs.ValidPath(dir) || dir == "." {
		return &NoMailboxError{Dir: dir}
	}
	for i := 1; i <= len(dir); i++ {
		if i < len(dir) && dir[i] != '/' {
			continue
		}
		fi, err := s.fsys.Lstat(dir[:i])
		if errors.Is(err, fs.ErrNotExist) || err == nil && !fi.IsDir() {
			return &NoMailboxError{Dir: dir}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	return nil
}
