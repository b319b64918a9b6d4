package absence

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
)

const (
	// File has the automatic answers that were sent. It is a file of the data directory.
	File     = "answers.json"
	lockFile = ".answers.lock"
	// maxSent is the number of answers that are remembered. The oldest are forgotten first.
	maxSent = 5000
)

// Memory remembers which sender got an automatic answer of which mailbox, and when. It is safe for
// concurrent use, also by several processes. If the file is lost, a sender may get one answer more.
type Memory struct{ file *durable.JSONFile[sent] }

// sent are the times of answers, by key.
type sent map[string]time.Time

type content struct {
	Sent sent `json:"sent"`
}

// OpenMemory returns the Memory of a data directory. It reads nothing yet.
func OpenMemory(fsys durable.FS) *Memory {
	return &Memory{durable.NewJSONFile(fsys, File, lockFile, parse)}
}

// Report makes the memory report to d when its file cannot be read, and returns m. It must be called
// before any other method.
func (m *Memory) Report(d *durable.DamageReporter) *Memory {
	m.file.Report(d)
	return m
}

// Check returns an error if the file cannot be read.
func (m *Memory) Check() error {
	_, err := m.file.Load()
	return err
}

func parse(text []byte) (sent, error) {
	var c content
	err := durable.DecodeStrict(text, &c)
	return c.Sent, err
}

// Key identifies the answers of one kind from a mailbox to a sender. what tells several answers of a
// mailbox apart: "" for the absence notice. The sender is not stored in clear.
func Key(mailbox, sender addr.Address, what string) string {
	sum := sha256.Sum256([]byte(sender.Fold().String() + "\x00" + what))
	return mailbox.Fold().String() + " " + hex.EncodeToString(sum[:10])
}

// Sent reports whether an answer with this key was sent since a time.
func (m *Memory) Sent(key string, since time.Time) (bool, error) {
	all, err := m.file.Load()
	return all.has(key, since), err
}

func (s sent) has(key string, since time.Time) bool {
	at, ok := s[key]
	return ok && !at.Before(since.Truncate(time.Second))
}

// Take remembers an answer that is sent now, and reports whether it may be sent: none was since a
// time. It forgets answers that no interval needs any more. If it returns an error, nothing must be
// sent.
func (m *Memory) Take(key string, since, now time.Time) (may bool, err error) {
	oldest := now.AddDate(0, 0, -maxDays)
	err = m.file.Change(func(before sent) (any, error) {
		if before.has(key, since) {
			may = false
			return nil, nil
		}
		may = true
		all := make(sent, len(before)+1)
		for k, at := range before {
			if at.After(oldest) && !at.After(now) { // the clock may have been set back
				all[k] = at
			}
		}
		all[key] = now.UTC().Truncate(time.Second)
		all.shrink()
		return content{all}, nil
	})
	return may && err == nil, err
}

// shrink forgets the oldest answers of a memory that is too large.
func (s sent) shrink() {
	if len(s) <= maxSent {
		return
	}
	keys := make([]string, 0, len(s))
	for k := range s {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int {
		return cmp.Or(s[a].Compare(s[b]), strings.Compare(a, b))
	})
	for _, k := range keys[:len(s)-maxSent*9/10] {
		delete(s, k)
	}
}
