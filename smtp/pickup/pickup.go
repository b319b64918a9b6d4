// Package pickup accepts mail that programs leave as files in a folder.
//
// Each file is one message (RFC 5322). Its envelope is in X-Sender and X-Receiver lines at the top
// of the file, or else comes from the header. Folder watches the folder and hands each message to
// Options.Inject. ReadFile, ReadInput and Message read a message; the sendmail command uses them
// too. A file that cannot be sent is moved to a subfolder, next to a text with the reason. A file
// must never be lost, nor be sent while a program still writes it, nor be sent again after a crash:
// before its message is accepted, its name gets the message's ID.
package pickup

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
)

// Options configure a Folder. Hostname and Inject must be set.
type Options struct {
	Dir string // absolute path of the folder; it may appear later
	// MaxSize returns the maximum size of a message in octets. nil or 0 means no limit.
	MaxSize  func() int64
	MaxHops  func() int    // the maximum number of Received fields; 0 means no limit
	Hostname func() string // for the Message-ID of messages without one
	// DefaultDomain returns the domain for names without one. With nil or "" such names are errors.
	DefaultDomain func() addr.Domain
	// Inject accepts a message. from describes the source for the Received field. message is CRLF
	// text, header first. A nil error means that the message is durable. A *smtp.Reply that is not
	// temporary refuses the message for good. After any other error the message is tried again.
	// Inject calls begun with the message's ID before it accepts the message, and does not accept it
	// if begun fails.
	Inject func(env *smtp.Envelope, from string, message io.Reader, begun func(id string) error) (
		id string, err error)
	// Accepted reports whether the message with an ID was accepted before the server crashed. nil
	// means that it is not known.
	Accepted func(id string) bool
	// Made is called with each folder that the package has made, to give it to its owner. nil means
	// that it stays with this process's user.
	Made func(dir *os.File) error
	Log  *slog.Logger // nil: no logging
}

// Times and limits.
const (
	pollEvery  = 2 * time.Second
	settleTime = 2 * time.Second  // a file that did not change for this long is complete
	emptyTime  = time.Minute      // an empty file is probably about to be written
	perScan    = 500              // files taken in one scan
	maxWaiting = 100              // messages waiting for a retry; if full, no file is taken
	longOpen   = 10 * time.Minute // a file that is open for writing for this long is logged
	maxSeen    = 1000             // files watched until they stop changing
	maxInRow   = 3                // consecutive failures that end a scan
	firstRetry = 10 * time.Second
	lastRetry  = 10 * time.Minute
)

// Folder is the watched folder. It is used by one goroutine.
type Folder struct {
	opts     Options
	log      *slog.Logger
	seen     map[string]sighting // files that may still be written
	waiting  map[string]retry    // by the name in takingDir
	logged   string              // the last logged error about the folder itself
	loggedAt time.Time
}

// sighting is the state of a file and the time since it is unchanged.
type sighting struct {
	size    int64
	changed time.Time
	since   time.Time
	logged  bool // that it is open for a long time
}

// retry is a message in takingDir that waits for its next try.
type retry struct {
	next  time.Time
	delay time.Duration
	done  bool // it was sent, but could not be removed
}

// New returns a Folder. It does no I/O.
func New(opts Options) *Folder {
	f := &Folder{opts: opts, log: opts.Log, seen: map[string]sighting{},
		waiting: map[string]retry{}}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	return f
}

// Run processes the files in the folder until ctx ends. It creates the folder if the parent exists.
func (f *Folder) Run(ctx context.Context) {
	if parent, err := os.OpenRoot(filepath.Dir(f.opts.Dir)); err == nil {
		_ = f.mkdir(parent, filepath.Base(f.opts.Dir), 0o770) // the scan reports what is wrong
		parent.Close()
	}
	ticks := time.NewTicker(pollEvery)
	defer ticks.Stop()
	for ctx.Err() == nil {
		if f.Scan(ctx) {
			continue
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
		}
	}
}

// logError logs an error about the folder itself, at most once an hour, since every scan finds it
// again.
func (f *Folder) logError(err error) {
	if text := err.Error(); text != f.logged || time.Since(f.loggedAt) >= time.Hour {
		f.logged, f.loggedAt = text, time.Now()
		f.log.Error("pickup: cannot process the folder", "folder", f.opts.Dir, "error", err)
	}
}

func (f *Folder) maxSize() int64 {
	if f.opts.MaxSize == nil {
		return 0
	}
	return f.opts.MaxSize()
}

func (f *Folder) maxHops() int {
	if f.opts.MaxHops == nil {
		return 0
	}
	return f.opts.MaxHops()
}

func (f *Folder) defaultDomain() addr.Domain {
	if f.opts.DefaultDomain == nil {
		return ""
	}
	return f.opts.DefaultDomain()
}

// mkdir makes a folder and hands it to Options.Made.
func (f *Folder) mkdir(parent *os.Root, name string, perm fs.FileMode) error {
	if err := parent.Mkdir(name, perm); err != nil || f.opts.Made == nil {
		return err
	}
	dir, err := parent.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.opts.Made(dir), dir.Close())
}
