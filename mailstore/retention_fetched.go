package mailstore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"pillarbox/mailstore/durable"
)

// fetchedFile is the file in a mailbox that lists the fetched messages, one on a line:
//
//	2026-11-22T10:00:00Z P3_20261122095802471100000017
//
// Each session appends its lines with one write. They are not synced: a message whose line is lost
// in a power cut counts as not fetched and stays longer. Invalid lines are ignored. If the name
// belongs to something else than a regular file, or the file is larger than maxFetched, reading
// fails and no message is deleted by its fetch time.
const fetchedFile = "fetched"

// maxFetched is the largest size of a fetchedFile in octets: lines for more than a million
// messages.
const maxFetched = 64 << 20

// fetchedSlack is how many bytes of obsolete lines a fetchedFile may have.
const fetchedSlack = 64 << 10

// RecordFetched records that these messages were fetched completely, unless they were removed
// through m. The indexes are those of Messages. Errors are those of the file system.
func (m *Maildrop) RecordFetched(indexes []int, now time.Time) error {
	lines := []byte("\n") // ends a partial line that a crash may have left
	for _, i := range indexes {
		if m.has(i) {
			lines = appendFetched(lines, m.view.messages[i].UID, now)
		}
	}
	if len(lines) == 1 {
		return nil
	}
	if err := m.store.checkMailbox(m.dir); err != nil {
		return err
	}
	name := path.Join(m.dir, fetchedFile)
	if err := m.store.regularOrNone(name); err != nil {
		return err
	}
	const flag = os.O_WRONLY | os.O_APPEND | os.O_CREATE | syscall.O_NONBLOCK
	f, err := m.store.fsys.OpenFile(name, flag, filePerm)
	if err != nil {
		return err
	}
	_, err = f.Write(lines)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return m.compactFetched(true)
}

// has reports whether message i was not removed through m.
func (m *Maildrop) has(i int) bool { return m.removed == nil || !m.removed[i] }

func appendFetched(lines []byte, uid string, at time.Time) []byte {
	lines = at.UTC().AppendFormat(lines, time.RFC3339)
	lines = append(lines, ' ')
	lines = append(lines, uid...)
	return append(lines, '\n')
}

// regularOrNone refuses a file that an append could follow or block on, such as a symbolic link or
// a pipe, and a file that is too large.
func (s *Store) regularOrNone(name string) error {
	fi, err := s.fsys.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w: not a regular file", name, ErrDamaged)
	}
	if err == nil && fi.Size() > maxFetched {
		err = fmt.Errorf("%s: %w: it has %d octets", name, ErrDamaged, fi.Size())
	}
	return err
}

// readFetched returns when each message was first fetched, by unique-id, and the size of the file.
func (s *Store) readFetched(dir string) (at map[string]time.Time, size int64, err error) {
	name := path.Join(dir, fetchedFile)
	if err := s.regularOrNone(name); err != nil {
		return nil, 0, err
	}
	text, err := durable.ReadSmall(s.fsys, name, maxFetched)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	return parseFetched(text), int64(len(text)), nil
}

// parseFetched parses the lines of a fetchedFile. The earliest line of a message counts.
func parseFetched(text []byte) map[string]time.Time {
	at := make(map[string]time.Time)
	for line := range bytes.Lines(text) {
		line, whole := bytes.CutSuffix(line, []byte("\n"))
		stamp, uid, found := strings.Cut(string(line), " ")
		t, err := time.Parse(time.RFC3339, stamp)
		if !whole || !found || err != nil || uid == "" {
			continue
		}
		if first, ok := at[uid]; !ok || t.Before(first) {
			at[uid] = t
		}
	}
	return at
}

// compactFetched rewrites the file without the messages that are gone. onlyMuch means that it does
// so only if the file has become much too large.
func (m *Maildrop) compactFetched(onlyMuch bool) error {
	name := path.Join(m.dir, fetchedFile)
	fi, err := m.store.fsys.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	const line = len(time.RFC3339) + idLen
	if onlyMuch && fi.Size() < int64(2*line*len(m.view.messages)+fetchedSlack) {
		return nil
	}
	at, size, err := m.store.readFetched(m.dir)
	if err != nil {
		return err
	}
	there := make(map[string]bool, len(m.view.messages))
	for i, msg := range m.view.messages {
		there[msg.UID] = m.has(i)
	}
	maps.DeleteFunc(at, func(uid string, _ time.Time) bool { return !there[uid] })
	var lines []byte
	for _, uid := range slices.Sorted(maps.Keys(at)) {
		lines = appendFetched(lines, uid, at[uid])
	}
	if int64(len(lines)) == size {
		return nil
	}
	return durable.WriteFile(m.store.fsys, name, lines, filePerm)
}
