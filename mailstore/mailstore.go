// Package mailstore stores mail: each mailbox is a directory, each message a file. The file system
// is the database.
//
// Start with Store. Open opens it, Recover prepares it for mail, and Create begins a message. A
// POP3 session reads a Maildrop; export and import read a Snapshot. The Spool holds the messages
// that the queue sends to other servers.
//
// The SMTP server and the queue deliver here. POP3 and the retention run read and delete. The admin
// commands rename and check. The store knows a mailbox only by its directory, a slash-separated
// name relative to the root of the file system. Package directory chooses these names.
//
// The store never changes the text of a message and never decides about mail: rules, names and
// quotas belong to its callers. It never acknowledges a message before its record is durable.
//
// # The life of a message
//
//	Create, Write   in memory up to 64 KiB; a larger message in incoming/<id>
//	     |
//	Commit          quota is reserved, a large file is synced, the target directories are opened
//	     |
//	     v
//	log record      the decision: accepted for all recipients, or for none
//	     |          (a small message whole; a large one by name)
//	     v
//	link            one file gets a name in each mailbox and in queue/; Commit returns
//	     |
//	     v
//	checkpoint      seconds later the whole file system is synced and the log is emptied
//
// Before the record, the message is in no mailbox and in no queue. From the record on it is
// accepted. A step that fails after the record is never undone: a recovery repeats it. A deletion
// works the same way: its record comes first, so that the log cannot bring the message back.
//
// A deleted message moves to the directory "deleted" in its mailbox, if KeepDeleted says so and the
// disk has room. Its file name there begins with the id of the deletion. Restore makes this id the
// unique-id of the message, so that a POP3 client that has seen the old one fetches it again. A crash
// that leaves a message with two names can be told from the names alone (onlyDeleted).
//
// A message that goes only to the queue has no file at first. Only the log and memory hold it,
// because most such messages leave within a moment (logOnly).
//
// A process that has not called Recover has no log. It syncs each file and each directory itself.
//
// # Recovery
//
// The store is recovered from its log after an unclean end, a failed sync, or a failed step after a
// record. Every record is carried out again and synced, then the log is emptied. The recovery never
// trusts the content of an existing file: a page that could not be written still reads as written.
// Until the recovery succeeds, the gate keeps every operation out. Operations wait for the first
// attempt; if it fails, they fail with ErrRecovering.
//
// # File names
//
// The name of a message's file holds all that a listing needs (see Name). So a mailbox of any size
// is listed without opening a message. Files that an administrator copies into a mailbox are
// messages too if their names end in ".eml". This package calls them foreign.
//
// # Locks
//
// Locks are taken in this order; a later one may be held alone:
//
//	maildrop in Store.inUse     try-lock, held for a session
//	gate                        entered by each operation, or locked by one exclusive caller
//	logOnly.mu                  of one message in the spool
//	logOnlyIndex.mu
//	locks of durable.Log        syncing, writing, mu
//	storeLog.mu, gate.mu,
//	mutexes of the caches       held for memory accesses only
//
// An operation must not enter the gate twice: it would deadlock with a caller of Exclusively that
// comes in between.
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

	// bufferSize is the number of bytes of a file that are read at once.
	bufferSize = 32 << 10
)

var (
	// ErrNoMailbox means that a mailbox's directory is missing or not a plain directory.
	ErrNoMailbox = errors.New("no such mailbox")
	// ErrOverQuota means that a message does not fit into a mailbox.
	ErrOverQuota = errors.New("mailbox is full")
	// ErrInUse means that the maildrop is already open in this process.
	ErrInUse = errors.New("maildrop is in use")
	// ErrGone means that a message was deleted after the maildrop was listed.
	ErrGone = errors.New("message is gone")
	// ErrDamaged means that a message's file does not match its listing. It was cut short, edited
	// without a new name, or replaced by something that is not a regular file.
	ErrDamaged = errors.New("message file is damaged")
	// ErrCrossDevice means that a mailbox and the incoming directory are on different file systems,
	// so that no message can be linked into the mailbox.
	ErrCrossDevice = errors.New("mailbox and incoming directory are on different file systems")
)

// NoMailboxError is an ErrNoMailbox that names the mailbox.
type NoMailboxError struct{ Dir string }

func (e *NoMailboxError) Error() string        { return fmt.Sprintf("%s: %v", e.Dir, ErrNoMailbox) }
func (e *NoMailboxError) Is(target error) bool { return target == ErrNoMailbox }

// OverQuotaError is an ErrOverQuota that names all full mailboxes. Err is the Reserver's error for
// the first of them.
type OverQuotaError struct {
	Dirs []string
	Err  error
}

func (e *OverQuotaError) Error() string {
	return fmt.Sprintf("%s: %v", strings.Join(e.Dirs, ", "), e.Err)
}
func (e *OverQuotaError) Is(target error) bool { return target == ErrOverQuota }
func (e *OverQuotaError) Unwrap() error        { return e.Err }

// Reserver keeps mailboxes within their quota. Sizes are in bytes. An error of Room or Reserve with
// a method OverQuota() bool that returns true means that the mailbox is full. Any other error means
// that the quota is unknown at the moment.
//
// Reserve and Release begin a change and return settle. The caller must call settle exactly once,
// with the real change in bytes and messages; (0, 0) if the change failed.
type Reserver interface {
	// Room checks whether one more message of this size fits. It reserves no space.
	Room(dir string, bytes int64) error
	// Reserve reserves space for one message.
	Reserve(dir string, bytes int64) (settle func(bytes int64, messages int), err error)
	// Release begins a change that needs no check: a deletion, or a delivery that ignores the
	// quota. The space of a deletion is free after settle.
	Release(dir string) (settle func(bytes int64, messages int))
}

// Options are the settings of a Store. The zero value is valid.
type Options struct {
	// Reserver enforces quotas; nil means no quotas.
	Reserver Reserver
	// Now replaces time.Now in tests.
	Now func() time.Time
}

// RecoverOptions are the settings of the process that calls Recover. The zero value is valid.
type RecoverOptions struct {
	// SyncEach syncs each file and directory separately. It is for file systems on which a sync of
	// the whole file system cannot be trusted (durable.Root.Filesystem).
	SyncEach bool
	// Offline is for a command that runs while no server does: Recover carries out what an existing
	// log holds, and creates no log.
	Offline bool
	// LogSize is the size of each of the two log files in bytes, a multiple of 4096; 0 means 16
	// MiB. The reserve is as large as both together.
	LogSize int64
	// SyncDelay is the longest time between a record and the sync that replaces it; 0 means
	// durable.LogOptions' default.
	SyncDelay time.Duration
	// Log receives log messages; nil discards them.
	Log *slog.Logger
	// Accepted is called in each recovery, before any operation, for each message that a record of
	// the log names: its acceptance is durable. It may be nil. It may be called more than once for
	// a message.
	Accepted func(id string)
	// Recovered is called after each recovery except the one inside Recover, on another goroutine.
	// It may be nil.
	Recovered func()
	// Took is told how long each Step took, from many goroutines. It must not wait. It may be nil.
	Took func(step Step, took time.Duration)
}

// Step is a piece of work of the store that takes time.
type Step string

// The values of Step.
const (
	StepCommit Step = "commit" // Incoming.Commit: until the message is durable
	StepFlush  Step = "flush"  // a write of the log, with its flush to the disk
	StepSync   Step = "sync"   // a sync of all changes, after which the log is emptied
)

// Store is the mail below one root. It is safe for concurrent use.
type Store struct {
	fsys       durable.FS
	quota      Reserver // nil: no quotas
	ids        *idSource
	buffers    sync.Pool // of *[]byte
	gate       *gate
	maintainer *maintainer              // nil before Recover
	log        atomic.Pointer[storeLog] // nil before Recover, and while no log can be made
	syncEach   bool
	device     uint64      // of the incoming directory
	named      atomic.Bool // the file system has no O_TMPFILE
	sizes      sizeCache
	views      viewCache
	spool      Spool

	keepDeleted atomic.Bool

	mu    sync.Mutex
	inUse map[string]struct{} // the open maildrops, by directory
}

// Open opens the store on fsys and creates the incoming and queue directories if they are missing.
// It scans nothing. Any number of processes may have the store open; the server also calls Recover.
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

// Checkpoint syncs all that the log holds and empties the log. Call it before putting a deleted
// message back: the log identifies messages by mailbox and name, and its record of the deletion
// would delete the message again.
func (s *Store) Checkpoint() error { return s.alone(func() error { return nil }) }

func deviceOf(fsys durable.FS, name string) (uint64, error) {
	dir, err := fsys.OpenDir(name)
	if err != nil {
		return 0, fmt.Errorf("mail store: %w", err)
	}
	device, err := dir.Device()
	return device, errors.Join(err, dir.Close())
}

// Exclusively runs change, which removes or renames a mailbox. Meanwhile no other operation acts on
// the store, and the log is empty. If the disk is full, change runs a second time with the space of
// the reserve. change must not call the store.
func (s *Store) Exclusively(change func() error) error {
	return s.alone(func() error {
		defer s.syncNames()
		return s.WithReserve(change)
	})
}

// syncNames makes the names of mailboxes on the disk match those in memory, whether or not the
// change succeeded. Half of a change that was undone may be on the disk, and new records will use
// the names.
func (s *Store) syncNames() {
	if s.maintainer == nil || s.syncEach {
		return
	}
	if err := s.fsys.SyncAll(); err != nil {
		s.requireRecovery(err)
	}
}

func (s *Store) alone(do func() error) error {
	if err := s.gate.lock(); err != nil {
		return err
	}
	defer s.gate.unlock()
	l := s.log.Load()
	if l != nil {
		defer s.maintainer.ensureReserve(l) // the change may have used the reserve
		err := s.spool.writeOutAll()
		if err == nil {
			err = l.log.Checkpoint()
		}
		if err != nil {
			s.requireRecovery(err)
			return fmt.Errorf("%w: %w", ErrRecovering, err)
		}
	}
	return do()
}

// WithReserve runs change, which must free more disk space than it takes. If the disk is full,
// WithReserve removes the reserve and runs change again; the server makes the reserve again later.
// The log must be empty.
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

// Close waits for the operations that are running, syncs everything, empties the log and closes it.
// Operations that wait or begin meanwhile fail with ErrClosed. Close does nothing for a store without
// Recover.
func (s *Store) Close() error {
	if s.maintainer == nil {
		return nil
	}
	// A session may outlive the time that the server gives it. If it put a message into the log after
	// writeOutAll, nobody would make the message's file, and the log would wait for it for ever.
	s.gate.close()
	s.maintainer.end()
	s.spool.logOnly.stop()
	err := s.closeLog()
	s.maintainer = nil
	return errors.Join(err, s.gate.refused())
}

func (s *Store) closeLog() error {
	l := s.log.Swap(nil)
	if l == nil {
		return nil
	}
	defer s.removeObsolete(l)
	if err := s.spool.writeOutAll(); err != nil {
		return errors.Join(err, l.log.Abandon()) // the next start replays it
	}
	return l.log.Close()
}

// Flushes returns the number of times that the log has flushed to the disk since Recover.
func (s *Store) Flushes() int64 {
	l := s.log.Load()
	if l == nil {
		return 0
	}
	return l.log.Flushes()
}

// buffer returns empty memory for a message.
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

// Room checks whether one more message of the given size fits into the mailbox; it reserves no
// space. The error is nil, an *OverQuotaError, or another error if the quota is unknown at the
// moment.
func (s *Store) Room(dir string, bytes int64) error {
	if s.quota == nil {
		return nil
	}
	return s.quotaError(dir, s.quota.Room(dir, bytes))
}

// quotaError turns the Reserver's error into an *OverQuotaError or a *NoMailboxError where it is
// one.
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
		return gone // a missing mailbox has no quota either
	}
	return fmt.Errorf("%s: quota: %w", dir, err)
}

// Stat holds the number of messages of a mailbox and their total size as POP3 counts it.
type Stat struct {
	Messages int
	Bytes    int64
}

// checkMailbox returns a *NoMailboxError unless dir and all directories above it are plain
// directories. A symbolic link in place of a mailbox or domain is refused.
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
