// Package pickup takes in mail that programs leave as files in a folder. Each file is a message (RFC 5322); its envelope
// stands in X-Sender and X-Receiver lines at its top, or else in the header. What cannot be sent is moved aside with a
// reason that a person understands.
package pickup

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
)

// Options are what a Folder works with. Hostname and Inject must be set.
type Options struct {
	Dir string // absolute path of the folder; it may appear later
	// MaxSize is the size in octets of the largest message that is taken; nil, or 0 from it: no limit.
	MaxSize  func() int64
	Hostname func() string // for the Message-ID of messages that have none
	// DefaultDomain completes names without a domain; nil, or "" from it: they are no addresses.
	DefaultDomain func() addr.Domain
	// Inject takes a message: from says for its Received field where it comes from, message is CRLF text, header first.
	// nil says that it is durable. A *smtp.Reply that is not temporary refuses the message for good; after every other
	// error it is tried again.
	Inject func(env *smtp.Envelope, from string, message io.Reader) (id string, err error)
	Log    *slog.Logger // nil: nothing is logged
}

// Times and limits.
const (
	pollEvery  = 2 * time.Second
	settleTime = 2 * time.Second // a file that did not change for so long is complete
	emptyTime  = time.Minute     // an empty one is probably about to be written
	perScan    = 500             // files that are taken in one scan
	maxWaiting = 100             // messages that wait for another try; beyond, none is taken from the folder
	maxSeen    = 1000            // files that are watched until they stop changing
	maxInRow   = 3               // failures one after the other that end a scan
	firstRetry = 10 * time.Second
	lastRetry  = 10 * time.Minute
)

// Folder is the folder that is watched. It is used by one goroutine.
type Folder struct {
	opts    Options
	log     *slog.Logger
	seen    map[string]sighting // files that may still be written
	waiting map[string]retry    // by the name in takingDir
	told    string              // the last complaint about the folder itself
	toldAt  time.Time
}

// sighting is how a file looked, and since when.
type sighting struct {
	size    int64
	changed time.Time
	since   time.Time
}

// retry is a message that is in takingDir and waits.
type retry struct {
	next  time.Time
	delay time.Duration
	done  bool // it was sent, but could not be removed
}

// New makes a Folder. Nothing is looked at yet.
func New(opts Options) *Folder {
	f := &Folder{opts: opts, log: opts.Log, seen: map[string]sighting{}, waiting: map[string]retry{}}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	return f
}

// Run takes what is in the folder, and what comes, until ctx ends. The folder is made if the one above it is there.
func (f *Folder) Run(ctx context.Context) {
	_ = os.Mkdir(f.opts.Dir, 0o770) // what hinders will show in the scan
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

// complain logs what is wrong with the folder itself: once an hour, for it is found again in every scan.
func (f *Folder) complain(err error) {
	if text := err.Error(); text != f.told || time.Since(f.toldAt) >= time.Hour {
		f.told, f.toldAt = text, time.Now()
		f.log.Error("pickup: the folder cannot be worked on", "folder", f.opts.Dir, "error", err)
	}
}

func (f *Folder) maxSize() int64 {
	if f.opts.MaxSize == nil {
		return 0
	}
	return f.opts.MaxSize()
}

func (f *Folder) defaultDomain() addr.Domain {
	if f.opts.DefaultDomain == nil {
		return ""
	}
	return f.opts.DefaultDomain()
}
