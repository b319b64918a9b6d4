// Package audit records every administrative act: the actor, the time, the place, the object, and
// its state before and after. It stores no secrets: see Differences. Package admin writes the log
// through Log.Add; "admin audit" reads it through Log.Read.
//
// Files in the data directory:
//
//	audit.log     one JSON object (Event) on each line, the newest last
//	audit.1.log   the previous file: when audit.log reaches MaxSize, it gets this name, and
//	              audit.1.log becomes audit.2.log, and so on; Keep of them are kept
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

	// MaxSize is the largest size of a file, in octets.
	MaxSize = 8 << 20
	// Keep is the number of older files that are kept beside audit.log.
	Keep = 9

	// maxLine is the largest length of an event, in octets. In a longer event, Before and After
	// each become a note that they are too long.
	maxLine = 1 << 20
	// maxMember is the length, in octets, to which shorten cuts each member of Before and After.
	maxMember = 32 << 10
)

// Event is one administrative act, done or refused.
type Event struct {
	Time   time.Time `json:"time"`
	Who    string    `json:"who"`
	From   string    `json:"from"`             // the actor's place: "command line, pts/1", "control socket"
	Act    string    `json:"act,omitempty"`    // the command: "mailbox passwd"; "": the server itself
	Object string    `json:"object,omitempty"` // the object: an address, a domain, "device scanner"
	Next   string    `json:"next,omitempty"`   // the new name of a renamed object

	// Before and After hold the members that differ, by their names in the files. A list that
	// exists in both is reduced to the removed and the added elements. Long values are cut, with
	// a note of the missing length. Before is absent if the object was created, After if it was
	// removed; both are absent if the act changes no object.
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`

	Refused string `json:"refused,omitempty"` // the reason of a refusal; "" if the act was done
}

// Concerns reports whether an event is about an object. A domain includes everything in it. Case
// is ignored.
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

// In reports whether an object is the domain or belongs to it: an address or a DKIM key.
func In(object string, domain addr.Domain) bool {
	object = strings.ToLower(object)
	for _, before := range []string{"@", "._domainkey."} {
		if strings.HasSuffix(object, before+string(domain)) {
			return true
		}
	}
	return object == string(domain)
}

// Log is the audit log of a data directory. It is safe for concurrent use, also by several
// processes.
type Log struct {
	fsys durable.FS
	max  int64

	mu sync.Mutex // serialises Add; taken before lockFile, the lock between processes
}

// Open returns the log of a data directory. The first Add creates the file.
func Open(fsys durable.FS) *Log { return &Log{fsys: fsys, max: MaxSize} }

// Add appends an event. A zero Time becomes the current time. The event is durable when Add
// returns nil; after an error it may be missing.
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

// append appends a line to the file and syncs it. If a crash has left an incomplete line, append
// ends that line first, so that only the old event is lost.
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

// isTorn reports whether the last line has no line feed.
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

// rotate renames the files if more octets would make audit.log larger than the maximum.
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

// fileName returns the name of the file after n rotations.
func fileName(n int) string {
	if n == 0 {
		return file
	}
	return fmt.Sprintf("audit.%d.log", n)
}
