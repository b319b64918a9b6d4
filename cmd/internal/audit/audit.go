// Package audit keeps a record of what was administered: who did what, when,
// from where, and how it was before and after. An event is on the disk when Add
// returns. Nothing secret is in it: see Differences.
//
// Below the data directory:
//
//	audit.log     JSON, an event a line, the newest last
//	audit.1.log   those before, once the first has reached MaxSize; then audit.2.log, up to Keep
package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
)

const (
	file     = "audit.log"
	lockFile = ".audit.lock"
	lockWait = 10 * time.Second

	// MaxSize is the length of a file in octets at which the next is begun.
	MaxSize = 8 << 20
	// Keep is how many files there are beside the one that is written.
	Keep = 9

	// maxLine is the length of an event in octets at which what it says of before
	// and after is left out.
	maxLine = 1 << 20
	// maxMember is how much of each member of before and after is kept at least.
	maxMember = 32 << 10
)

// Event is something that was administered.
type Event struct {
	Time   time.Time `json:"time"`
	Who    string    `json:"who"`
	From   string    `json:"from"`             // where he sat: "command line, pts/1", "control socket"
	Act    string    `json:"act,omitempty"`    // the command: "mailbox passwd"; "" for what the server did by itself
	Object string    `json:"object,omitempty"` // what was changed: an address, a domain, "device scanner"
	Next   string    `json:"next,omitempty"`   // what the object is called now, if it was renamed

	// Before and After hold what is different, by its names in the files; of a list
	// in both, what went and what came, and of what is too long, how much more there
	// is. Absent:
	// there was, or is, no such object; both absent: the act changes none.
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`

	Refused string `json:"refused,omitempty"` // why nothing was done; "" if it was
}

// Concerns reports whether an event is about an object: an address, a domain
// with all in it, or another thing by its name, in any letters.
func (e Event) Concerns(object string) bool {
	for _, name := range []string{e.Object, e.Next} {
		if name == "" {
			continue
		}
		if strings.EqualFold(name, object) || In(name, addr.Domain(strings.ToLower(object))) {
			return true
		}
	}
	return false
}

// In reports whether an object is a domain or lies in it.
func In(object string, domain addr.Domain) bool {
	object = strings.ToLower(object)
	for _, before := range []string{"@", "._domainkey."} {
		if strings.HasSuffix(object, before+string(domain)) {
			return true
		}
	}
	return object == string(domain)
}

// Log takes events and gives them back. Safe for concurrent use, also by several
// processes on one data directory.
type Log struct {
	fsys durable.FS
	max  int64

	mu sync.Mutex // one event at a time, before the lock between processes is asked for
}

// Open returns the log of a data directory, which need not hold any.
func Open(fsys durable.FS) *Log { return &Log{fsys: fsys, max: MaxSize} }

// Add writes an event, whose time is now if it has none. An error says that it
// may not be on the disk.
func (l *Log) Add(e Event) error {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.Time = e.Time.UTC().Truncate(time.Millisecond)
	line, err := encode(e)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), lockWait)
	defer cancel()
	unlock, err := durable.Lock(ctx, l.fsys, lockFile)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	defer unlock()
	if err := errors.Join(l.rotate(int64(len(line))), l.append(line)); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

func encode(e Event) ([]byte, error) {
	line, err := json.Marshal(e)
	if err == nil && len(line) > maxMember {
		e.Before, e.After = shorten(e.Before), shorten(e.After)
		line, err = json.Marshal(e)
	}
	if err == nil && len(line) > maxLine {
		const long = `{"":"too long to be kept"}`
		e.Before, e.After = json.RawMessage(long), json.RawMessage(long)
		line, err = json.Marshal(e)
	}
	return append(line, '\n'), err
}

// append writes to the end. A line that a crash has torn is ended first, or it
// would spoil this one too.
func (l *Log) append(line []byte) (err error) {
	_, err = l.fsys.Lstat(file)
	fresh := errors.Is(err, fs.ErrNotExist)
	if err != nil && !fresh {
		return err
	}
	f, err := l.fsys.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	torn, err := isTorn(f)
	if err != nil {
		return err
	}
	if torn {
		line = append([]byte{'\n'}, line...)
	}
	if _, err := f.Write(line); err != nil {
		return err
	}
	if err := f.Sync(); err != nil || !fresh {
		return err
	}
	return l.fsys.SyncDir(".")
}

// isTorn reports whether the last line has no end.
func isTorn(f durable.File) (bool, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return false, err
	}
	if _, err := f.Seek(-1, io.SeekEnd); err != nil {
		return false, err
	}
	last := make([]byte, 1)
	_, err = io.ReadFull(f, last)
	return last[0] != '\n', err
}

// rotate begins another file where the one that is written has no room.
func (l *Log) rotate(more int64) error {
	info, err := l.fsys.Lstat(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size()+more <= l.max {
		return nil
	} else if err != nil {
		return err
	}
	for n := Keep; n > 0; n-- {
		err := l.fsys.Rename(fileName(n-1), fileName(n))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return l.fsys.SyncDir(".")
}

// fileName is the name of the file that is n files old.
func fileName(n int) string {
	if n == 0 {
		return file
	}
	return fmt.Sprintf("audit.%d.log", n)
}
