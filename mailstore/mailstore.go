// Package mailstore keeps the mail: a directory for each mailbox, a file for each message.
//
// The file system is the database. A small message is acknowledged when a log has it, and a file of its own, linked
// into every mailbox that receives it; the files are synced behind. A larger one is acknowledged when its file and
// the directories are synced. The file name says all that a listing needs (see Name), so a mailbox of any size is
// read without opening a message.
// Files that somebody put into a mailbox by hand are messages like any other if they end in ".eml".
//
// A mailbox goes by its directory, a slash-separated name relative to the root of the file system, which only
// package directory makes up.
package mailstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"slices"
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

	// retryReplay is how long a log waits that could not be put back.
	retryReplay = 5 * time.Second
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

// Behind says how a process that has called Recover works behind the acknowledgements. The zero value is good.
type Behind struct {
	// NoLog makes every message be synced by itself: for file systems that do not keep the promises that the log
	// rests on (durable.Root.Filesystem).
	NoLog bool
	// LogSize is the size of each half of the log in bytes, a multiple of 4096; 0 is the usual one.
	LogSize int64
	// SyncDelay is how long the sync behind the log waits at most; 0 is some seconds.
	SyncDelay time.Duration
	// Log takes what happens; nil discards it.
	Log *slog.Logger
	// Restored is called, by another goroutine, when the log is put back that Recover could not put back. nil: nobody asks.
	Restored func()
}

// Store is the mail below one root. It is safe for concurrent use.
type Store struct {
	fsys    durable.FS
	quota   Reserver // nil: no limits
	ids     *idSource
	buffers sync.Pool               // of *[]byte
	journal atomic.Pointer[journal] // nil before Recover, and without a log
	stuck   atomic.Pointer[replay]  // a log that could not be put back yet
	named   atomic.Bool             // the file system has no files without a name
	sizes   sizeCache
	views   viewCache
	spool   Spool

	stopTrying func() // to put it back; nil if there is nothing to stop

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
		inUse: make(map[string]struct{}),
	}
	s.spool.store = s
	return s, nil
}

// Recover clears away the messages that were being received when an earlier process ended, none of which was
// acknowledged, and puts back those that were and did not get to the disk. From then on small messages are made
// durable through a log. Only the process that holds the lock of the data directory may call it, once, before it
// receives anything or lets anybody fetch; it calls Close at its end.
func (s *Store) Recover(behind Behind) error {
	names, err := s.fsys.ReadNames(incomingDir)
	if err != nil {
		return fmt.Errorf("mail store: %w", err)
	}
	var errs []error
	for _, name := range names {
		errs = append(errs, s.fsys.RemoveAll(path.Join(incomingDir, name)))
	}
	return errors.Join(append(errs, s.openJournal(behind))...)
}

// openJournal replays the log that an earlier process left, even if this one is to work without.
func (s *Store) openJournal(behind Behind) error {
	_, err := s.fsys.Lstat(journalDir)
	if errors.Is(err, fs.ErrNotExist) && behind.NoLog {
		return nil
	}
	if behind.Log == nil {
		behind.Log = slog.New(slog.DiscardHandler)
	}
	j := new(journal)
	j.log, err = durable.OpenLog(s.fsys, journalDir, durable.LogOptions{
		Segment: behind.LogSize, Delay: behind.SyncDelay, Redo: s.redo, Cut: j.cut, Log: behind.Log,
	})
	if err != nil && !s.hasLog() {
		behind.Log.Error("no log can be made, as on a full disk; until the next start every message is synced by itself", "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("mail store: log: %w", err)
	}
	r := &replay{store: s, log: behind.Log, last: make(map[string]change)}
	err = j.log.Replay(r.read, r.restore)
	if err == nil {
		return s.begin(j, behind)
	}
	behind.Log.Error("what the log holds cannot be put back now; this is tried again and again, and until then every message is synced by itself",
		"error", err)
	s.stuck.Store(r)
	ctx, stop := context.WithCancel(context.Background())
	var trying sync.WaitGroup
	trying.Go(func() { s.replayLater(ctx, j, r, behind) })
	s.stopTrying = func() { stop(); trying.Wait() }
	return nil
}

// begin lets messages go through a log that was replayed, if they are to.
func (s *Store) begin(j *journal, behind Behind) error {
	if behind.NoLog {
		return j.log.Close()
	}
	s.journal.Store(j)
	return nil
}

// hasLog reports whether there may be mail in a log.
func (s *Store) hasLog() bool {
	names, err := s.fsys.ReadNames(journalDir)
	return err != nil && !errors.Is(err, fs.ErrNotExist) || slices.ContainsFunc(names, func(name string) bool { return !durable.IsTemp(name) })
}

// replayLater replays a log that could not be replayed at start, as on a full disk: mail can be fetched and deleted
// meanwhile, which makes room.
func (s *Store) replayLater(ctx context.Context, j *journal, r *replay, behind Behind) {
	ticker := time.NewTicker(retryReplay)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			_ = j.log.Close() // nothing was changed
			return
		}
		if err := j.log.Replay(r.read, r.restore); err != nil {
			continue
		}
		behind.Log.Info("what the log held is put back")
		s.stuck.Store(nil)
		_ = s.begin(j, behind) // a log without use is closed, and holds nothing
		if behind.Restored != nil {
			behind.Restored()
		}
		return
	}
}

// Settle brings to the disk what the log stands for, and cuts it. It is for those who take a mailbox away, or give
// it another name, or put back what was deleted: the log knows messages by mailbox and name.
func (s *Store) Settle() error {
	if err := s.spool.writeOutAll(); err != nil {
		return err
	}
	if j := s.journal.Load(); j != nil {
		return j.log.Settle()
	}
	return nil
}

// Close brings everything to the disk and gives the log back. Nothing may be under way. A store that was not
// recovered has nothing to close.
func (s *Store) Close() error {
	if s.stopTrying != nil {
		s.stopTrying()
	}
	if j := s.journal.Load(); j != nil {
		if err := s.spool.writeOutAll(); err != nil {
			return errors.Join(err, j.log.Abandon(s.spool.giveUp)) // the next start replays it
		}
		return j.log.Close()
	}
	return nil
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
