package collect

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"time"

	"pillarbox/mailstore/durable"
)

const (
	stateDir = "fetch"
	// forgetAfter is how long the entry of a message is kept after the server stopped listing it.
	// A faulty server may list it again.
	forgetAfter = 30 * 24 * time.Hour
	// skipFor is how long a message is skipped after its end did not come within the limit.
	skipFor  = 24 * time.Hour
	maxState = 256 << 20 // octets of a file; maxMessages with the longest unique-ids need less
)

// state records which messages of a mailbox were fetched. It is stored in two files, so that little
// must be written after each message: the first holds all entries as of the last session, the
// second those added since.
type state struct {
	fsys   durable.FS
	file   string // path below the data directory, without the suffix
	all    map[string]*entry
	recent map[string]*entry // entries in the second file
	marks  map[string]string // keys in all, by mark
	// skipped holds, by unique-id, when a message turned out larger than the limit although it
	// was listed as smaller.
	skipped map[string]time.Time
	dirty   bool // the first file differs from all
}

// entry is a delivered message. Its key is the unique-id, or without one a space and the mark; no
// unique-id contains a space.
type entry struct {
	Size int64     `json:"size"`           // octets as listed; -1 if not listed
	Mark string    `json:"mark,omitempty"` // see markOf
	At   time.Time `json:"at"`             // when it was delivered
	Gone time.Time `json:"gone,omitzero"`  // when the server stopped listing it; zero while it does
}

// stateFile is the content of both files.
type stateFile struct {
	Account string            `json:"account"` // "user@host"; unique-ids are valid for one mailbox
	Seen    map[string]*entry `json:"seen"`
	// Left is state.skipped, in the first file only. A release that does not know it fetches these
	// messages again.
	Left map[string]time.Time `json:"left,omitempty"`
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,80}(\.[A-Za-z0-9_-]{1,40}){0,10}$`)

// stateName returns a valid file name for an entry of the configuration, whose name may be any
// text.
func stateName(name string) string {
	if plainName.MatchString(name) && len(name) <= 120 {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return "x" + base64.RawURLEncoding.EncodeToString(sum[:18])
}

// clampTimes corrects times in the future, written while the clock was ahead. Otherwise a message
// would stay at the server, or in the state, until the clock has reached that time.
func (st *state) clampTimes(now time.Time) {
	for _, e := range st.all {
		for _, t := range []*time.Time{&e.At, &e.Gone} {
			if t.After(now) {
				*t, st.dirty = now, true
			}
		}
	}
}

// loadState reads the state. It is empty if there is no file, or one about another mailbox.
func loadState(fsys durable.FS, name, account string) (*state, error) {
	st := &state{
		fsys: fsys, file: path.Join(stateDir, stateName(name)),
		all: map[string]*entry{}, recent: map[string]*entry{},
		marks: map[string]string{}, skipped: map[string]time.Time{},
	}
	if err := fsys.MkdirAll(stateDir, 0o700); err != nil {
		return nil, err
	}
	for _, ending := range []string{".json", ".recent.json"} {
		f, err := readState(fsys, st.file+ending)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		if f.Account != account {
			continue
		}
		for key, e := range f.Seen {
			if e == nil {
				continue
			}
			st.put(key, e)
			if ending == ".recent.json" {
				st.recent[key] = e // or record would drop it before writeAll has merged it
			}
		}
		maps.Copy(st.skipped, f.Left)
		st.dirty = ending != ".json" // a crash left the second file: merge it into the first
	}
	return st, nil
}

// readState reads one of the two files.
func readState(fsys durable.FS, name string) (f stateFile, err error) {
	text, err := durable.ReadSmall(fsys, name, maxState)
	if errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if err == nil {
		err = durable.DecodeStrict(text, &f)
	}
	if err != nil {
		err = &Error{
			Class: ErrDelivery, Text: "the record of fetched messages cannot be read from " + name,
			Hint: "restore the file from a backup; or delete the file to fetch all mail again",
			Err:  err,
		}
	}
	return f, err
}

func (st *state) put(key string, e *entry) {
	st.all[key], st.dirty = e, true
	if e.Mark != "" {
		st.marks[e.Mark] = key
	}
}

func (st *state) remove(key string) {
	if e := st.all[key]; e != nil && st.marks[e.Mark] == key {
		delete(st.marks, e.Mark)
	}
	delete(st.all, key)
	delete(st.recent, key)
	st.dirty = true
}

// skip makes next skip a message for skipFor.
func (st *state) skip(uid string, now time.Time) {
	if uid != "" {
		st.skipped[uid], st.dirty = now, true
	}
}

// skips reports whether a message is being skipped.
func (st *state) skips(uid string, now time.Time) bool {
	since, ok := st.skipped[uid]
	return ok && !since.After(now) && now.Sub(since) < skipFor
}

// byMark finds the entry of a delivered message by its mark, whatever its unique-id.
func (st *state) byMark(mark string) (key string, e *entry) {
	key, ok := st.marks[mark]
	if !ok || mark == "" {
		return "", nil
	}
	return key, st.all[key]
}

// record stores durably that a message was delivered.
func (st *state) record(account, key string, e *entry) error {
	st.put(key, e)
	st.recent[key] = e
	return st.write(".recent.json", stateFile{Account: account, Seen: st.recent})
}

// writeAll writes all entries to the first file and removes the second.
func (st *state) writeAll(account string) error {
	if !st.dirty {
		return nil
	}
	if err := st.write(".json", stateFile{account, st.all, st.skipped}); err != nil {
		return err
	}
	st.recent, st.dirty = map[string]*entry{}, false
	err := st.fsys.Remove(st.file + ".recent.json")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (st *state) write(ending string, file stateFile) error {
	if err := durable.WriteJSON(st.fsys, st.file+ending, file); err != nil {
		return fmt.Errorf("the record of fetched messages cannot be written: %w", err)
	}
	return nil
}

// prune marks the entries that the server no longer lists, and removes them after forgetAfter.
func (st *state) prune(all []listed, now time.Time) {
	there := map[string]bool{}
	for _, m := range all {
		there[m.uid] = true
	}
	for uid := range st.skipped {
		if !there[uid] || !st.skips(uid, now) {
			delete(st.skipped, uid)
			st.dirty = true
		}
	}
	for key, e := range st.all {
		switch {
		case there[key] && e.Gone.IsZero():
		case there[key]:
			e.Gone, st.dirty = time.Time{}, true
		case e.Gone.IsZero():
			e.Gone, st.dirty = now, true
		case now.Sub(e.Gone) > forgetAfter:
			st.remove(key)
		}
	}
}

// missing reports whether the server no longer lists some message that was recorded. It may have
// given all messages new unique-ids.
func (st *state) missing(all []listed) bool {
	there := 0
	for _, m := range all {
		if st.all[m.uid] != nil {
			there++
		}
	}
	return there < len(st.all)
}

// step is what to do with a message.
type step int

const (
	fetch    step = iota // deliver it
	compare              // deliver it, unless its header shows that it was delivered before
	keep                 // it was delivered, and stays at the server
	drop                 // it was delivered, and must be deleted at the server
	tooLarge             // leave it: it is listed as too large
	skip                 // leave it: it turned out too large within skipFor
)

// next decides what to do with a message.
func (st *state) next(m listed, o *Options, missing bool, now time.Time) step {
	e := st.all[m.uid]
	known := e != nil && m.uid != ""
	switch {
	case known && (e.Size == m.size || e.Size < 0 || m.size < 0):
		return o.after(e, now)
	case o.MaxSize > 0 && m.size > o.MaxSize:
		return tooLarge
	case st.skips(m.uid, now):
		return skip
	case known, missing, m.uid == "":
		// The server may have reused the unique-id, or given a known message a new one.
		return compare
	}
	return fetch
}

// after decides whether a delivered message stays at the server.
func (o *Options) after(e *entry, now time.Time) step {
	if o.Leave && (o.LeaveDays == 0 || now.Sub(e.At) < time.Duration(o.LeaveDays)*24*time.Hour) {
		return keep
	}
	return drop
}

// markFields are the header fields that identify a message. A copy that took another path has other
// Received fields.
var markFields = []string{"received", "message-id", "date", "from", "to", "subject"}

// markOf returns the mark of a message, which identifies it without a unique-id. It is a digest of
// header fields that are the same at each fetch, or "" if these say too little.
func markOf(fields []headerField) string {
	sum, telling := sha256.New(), false
	for _, f := range fields {
		if slices.Contains(markFields, f.name) {
			telling = telling || f.name == "received" || f.name == "message-id"
			fmt.Fprintf(sum, "%s:%s\n", f.name, f.value)
		}
	}
	if !telling {
		return ""
	}
	return base64.RawStdEncoding.EncodeToString(sum.Sum(nil)[:18])
}

// Damaged reads all state files and returns an error for each that cannot be read, by its path.
func Damaged(fsys durable.FS) map[string]error {
	damaged := make(map[string]error)
	names, err := fsys.ReadNames(stateDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		damaged[stateDir] = err
	}
	for _, name := range names {
		if path.Ext(name) != ".json" || durable.IsTemp(name) {
			continue
		}
		if _, err := readState(fsys, path.Join(stateDir, name)); err != nil {
			damaged[path.Join(stateDir, name)] = err
		}
	}
	return damaged
}
