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
	// forgetAfter is how long a message is remembered that the server lists no more: it might have lost its unique-ids, or
	// its mind.
	forgetAfter = 30 * 24 * time.Hour
	// leaveFor is how long a message is passed over whose end did not come within the limit.
	leaveFor = 24 * time.Hour
	maxState = 256 << 20 // octets of a file: maxMessages with the longest unique-ids take less
)

// state is what was fetched from a mailbox. It is kept in two files, so that little has to be written after each message:
// all of it in one, and what was added since that was written in the other.
type state struct {
	fsys   durable.FS
	file   string // below the data directory, without ending
	all    map[string]*entry
	recent map[string]*entry
	marks  map[string]string    // the keys in all by mark
	left   map[string]time.Time // by unique-id, when a message was found to be too large though it was listed as smaller
	dirty  bool                 // all is not what the first file holds
}

// entry is a message that was delivered. Its key is the unique-id, or a space, which stands in no unique-id, and the mark.
type entry struct {
	Size int64     `json:"size"`           // as listed; -1: not said
	Mark string    `json:"mark,omitempty"` // see markOf
	At   time.Time `json:"at"`             // when it was delivered
	Gone time.Time `json:"gone,omitzero"`  // since when it is not listed any more
}

// stateFile is the form of both files.
type stateFile struct {
	Account string            `json:"account"` // "user@host": the unique-ids of another mailbox mean nothing
	Seen    map[string]*entry `json:"seen"`
	// Left is of the one file only. A release that does not know it tries these messages again.
	Left map[string]time.Time `json:"left,omitempty"`
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,80}(\.[A-Za-z0-9_-]{1,40}){0,10}$`)

// stateName is a file name for an entry of the configuration, whose name may be anything.
func stateName(name string) string {
	if plainName.MatchString(name) && len(name) <= 120 {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return "x" + base64.RawURLEncoding.EncodeToString(sum[:18])
}

// mend puts right what was written while the clock was ahead: a message would be left at the server, or remembered, until
// the clock has come there again.
func (st *state) mend(now time.Time) {
	for _, e := range st.all {
		for _, t := range []*time.Time{&e.At, &e.Gone} {
			if t.After(now) {
				*t, st.dirty = now, true
			}
		}
	}
}

// loadState reads what was fetched; nothing, where there is no file, or one about another mailbox.
func loadState(fsys durable.FS, name, account string) (*state, error) {
	st := &state{fsys: fsys, file: path.Join(stateDir, stateName(name)), all: map[string]*entry{}, recent: map[string]*entry{}, marks: map[string]string{}, left: map[string]time.Time{}}
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
		if f.Account == account {
			for key, e := range f.Seen {
				if e != nil {
					st.put(key, e)
				}
			}
			maps.Copy(st.left, f.Left)
			st.dirty = ending != ".json" // what a crash left is to be folded in
		}
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
			Class: ErrDelivery, Text: "what was fetched before cannot be read from " + name,
			Hint: "take the file from a backup; or delete the file, and everything is fetched anew", Err: err,
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

// leave makes next pass over a message for a while.
func (st *state) leave(uid string, now time.Time) {
	if uid != "" {
		st.left[uid], st.dirty = now, true
	}
}

// leaves reports whether a message is passed over.
func (st *state) leaves(uid string, now time.Time) bool {
	since, ok := st.left[uid]
	return ok && !since.After(now) && now.Sub(since) < leaveFor
}

// byMark finds a message that was delivered under whatever unique-id.
func (st *state) byMark(mark string) (key string, e *entry) {
	key, ok := st.marks[mark]
	if !ok || mark == "" {
		return "", nil
	}
	return key, st.all[key]
}

// note keeps, durably, that a message was delivered.
func (st *state) note(account, key string, e *entry) error {
	st.put(key, e)
	st.recent[key] = e
	return st.write(".recent.json", stateFile{Account: account, Seen: st.recent})
}

// fold writes everything into the one file.
func (st *state) fold(account string) error {
	if !st.dirty {
		return nil
	}
	if err := st.write(".json", stateFile{account, st.all, st.left}); err != nil {
		return err
	}
	st.recent, st.dirty = map[string]*entry{}, false
	if err := st.fsys.Remove(st.file + ".recent.json"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (st *state) write(ending string, file stateFile) error {
	if err := durable.WriteJSON(st.fsys, st.file+ending, file); err != nil {
		return fmt.Errorf("what was fetched cannot be noted: %w", err)
	}
	return nil
}

// prune marks what the server lists no more, and forgets it after some time.
func (st *state) prune(all []listed, now time.Time) {
	there := map[string]bool{}
	for _, m := range all {
		there[m.uid] = true
	}
	for uid := range st.left {
		if !there[uid] || !st.leaves(uid, now) {
			delete(st.left, uid)
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

// missing reports whether the server does not list what it listed: it may have given everything new unique-ids.
func (st *state) missing(all []listed) bool {
	there := 0
	for _, m := range all {
		if st.all[m.uid] != nil {
			there++
		}
	}
	return there < len(st.all)
}

// step is what is to be done with a message.
type step int

const (
	fetch   step = iota // deliver it
	compare             // deliver it, unless its header shows that it was delivered before
	keep                // nothing: it was delivered, and stays
	drop                // it was delivered, and goes
	refuse              // nothing: it is too large
	pass                // nothing: it turned out too large lately
)

// next decides about a message.
func (st *state) next(m listed, o *Options, missing bool, now time.Time) step {
	e := st.all[m.uid]
	known := e != nil && m.uid != ""
	switch {
	case known && (e.Size == m.size || e.Size < 0 || m.size < 0):
		return o.after(e, now)
	case o.MaxSize > 0 && m.size > o.MaxSize:
		return refuse
	case st.leaves(m.uid, now):
		return pass
	case known, missing, m.uid == "":
		return compare // the server may have given the unique-id away a second time, or another one to a known message
	}
	return fetch
}

// after says whether a message that was delivered stays.
func (o *Options) after(e *entry, now time.Time) step {
	if o.Leave && (o.LeaveDays == 0 || now.Sub(e.At) < time.Duration(o.LeaveDays)*24*time.Hour) {
		return keep
	}
	return drop
}

// markFields tell messages apart: one that came by another way has other Received fields.
var markFields = []string{"received", "message-id", "date", "from", "to", "subject"}

// markOf is what a message is known by without a unique-id: a digest of fields that stay the same however often it is
// fetched; "" where there is too little.
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

// Damaged reads all files of what was fetched, and says what is wrong with each that cannot be read.
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
