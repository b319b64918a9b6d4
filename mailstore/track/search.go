package track

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"pillarbox/mailstore/durable"
)

// Query says which events Search returns. Empty fields do not restrict it. Names match in any case.
type Query struct {
	// Name is the whole of one of an event's names: ID, trace code, Message-ID, an address, a user,
	// an IP address, a host name; or the domain of one of its addresses.
	Name string
	// IDs are IDs of messages. Reports about them match too.
	IDs []string
	// From and To are addresses, or domains.
	From, To string
	// Subject has words. Each must be the beginning of a word of the subject.
	Subject      string
	Kinds        []Kind
	Since, Until time.Time
	Limit        int // the newest events; 0: all
}

// Result is what Search found.
type Result struct {
	Events  []Event // in the order of their times
	More    bool    // the limit left out older events
	Damaged int64   // octets that could not be read
}

// Search returns the events that match. A server may write at the same time; Log.Flush makes its
// latest events visible.
func Search(ctx context.Context, fsys durable.FS, q Query) (Result, error) {
	files, err := list(fsys)
	if err != nil {
		return Result{}, err
	}
	s := search{ctx: ctx, m: newMatcher(q), limit: q.Limit}
	for _, f := range slices.Backward(files) {
		if s.full() {
			break
		}
		if !s.m.days(f.day) {
			continue
		}
		if err := s.file(fsys, f); err != nil {
			return Result{}, err
		}
	}
	if s.limit > 0 && len(s.found) > s.limit {
		s.found, s.more = s.found[:s.limit], true
	}
	slices.Reverse(s.found)
	slices.SortStableFunc(s.found, func(a, b Event) int { return a.Time.Compare(b.Time) })
	return Result{Events: s.found, More: s.more, Damaged: s.damaged}, nil
}

// Walk calls visit for each event that matches, in no order, and returns the number of octets that
// could not be read. It keeps no events in memory. visit must not keep e. Query.Limit does not count.
func Walk(
	ctx context.Context, fsys durable.FS, q Query, visit func(e *Event),
) (damaged int64, err error) {
	files, err := list(fsys)
	s := search{ctx: ctx, m: newMatcher(q), visit: visit}
	for _, f := range files {
		if err == nil && s.m.days(f.day) {
			err = s.file(fsys, f)
		}
	}
	return s.damaged, err
}

// search is one Search or Walk.
type search struct {
	ctx     context.Context
	m       *matcher
	limit   int
	visit   func(*Event) // of Walk; nil: the events are in found
	found   []Event      // the newest first
	more    bool
	damaged int64
	u       unpacker
}

// full reports whether enough is found. One event more than the limit tells that there are more.
func (s *search) full() bool { return s.limit > 0 && len(s.found) > s.limit }

func (s *search) file(fsys durable.FS, f eventFile) error {
	if !f.packed {
		records, err := readFile(fsys, f.name)
		if err == nil && len(records) == 0 { // it may have been packed meanwhile
			f.name, f.packed = fileName(f.day, f.number, packSuffix), true
			return s.packed(fsys, f.name)
		}
		s.records(records)
		return errors.Join(err, s.ctx.Err())
	}
	return s.packed(fsys, f.name)
}

// records adds the events that match, the newest first. It decodes no more than the limit needs.
func (s *search) records(records []byte) {
	var matches [][]byte
	for len(records) > 0 {
		payload, rest, damaged := next(records)
		s.damaged += int64(damaged)
		if payload == nil || !s.m.matches(payload) {
			records = rest
			continue
		}
		if s.visit != nil {
			e := decode(payload)
			s.visit(&e)
		} else {
			matches = append(matches, payload)
		}
		records = rest
	}
	for _, payload := range slices.Backward(matches) {
		if s.full() {
			return
		}
		s.found = append(s.found, decode(payload))
	}
}

func (s *search) packed(fsys durable.FS, name string) error {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted meanwhile
	} else if err != nil {
		return err
	}
	defer f.Close()
	blocks, err := readIndex(f)
	indexed := err == nil
	if !indexed {
		blocks = blocksOf(f)
		s.damaged++
	}
	for _, b := range slices.Backward(blocks) {
		if err := s.ctx.Err(); err != nil || s.full() {
			return err
		}
		if indexed && !s.m.mayHave(b) {
			continue
		}
		records, err := s.u.block(f, b.offset)
		if err != nil {
			s.damaged += blockSize
		}
		s.records(records)
	}
	return nil
}

// matcher is a Query in a form that is quick to compare.
type matcher struct {
	name     []byte
	remote   netip.Addr // if name is one
	ids      map[string]bool
	from, to []byte
	words    [][]byte
	kinds    [lastKind]bool
	anyKind  bool
	min, max int64
	keys     []uint64 // all must be in a block
	anyKeys  []uint64 // one of them must be in a block, if there are any
}

func newMatcher(q Query) *matcher {
	name := strings.Trim(strings.TrimSpace(q.Name), "<>")
	m := &matcher{
		name: []byte(name), from: []byte(q.From), to: []byte(q.To),
		ids: make(map[string]bool), anyKind: len(q.Kinds) == 0, max: 1<<63 - 1,
	}
	m.remote, _ = netip.ParseAddr(name)
	if !q.Since.IsZero() {
		m.min = q.Since.UnixMicro()
	}
	if !q.Until.IsZero() {
		m.max = q.Until.UnixMicro()
	}
	for _, k := range q.Kinds {
		m.kinds[k] = true
	}
	for word := range wordsOf([]byte(q.Subject)) {
		m.words = append(m.words, word)
		if len(word) >= minPrefix {
			m.keys = append(m.keys, keyOf(word[:minPrefix]))
		}
	}
	for _, name := range [][]byte{m.name, m.from, m.to} {
		if len(name) > 0 {
			m.keys = append(m.keys, keyOf(bytes.TrimPrefix(name, []byte("@"))))
		}
	}
	for _, id := range q.IDs {
		m.ids[strings.ToLower(id)] = true
		m.anyKeys = append(m.anyKeys, keyOf([]byte(id)))
	}
	return m
}

// days reports whether a file of this day can have matching events. An event may be written shortly
// after its day has ended.
func (m *matcher) days(day string) bool {
	at, err := time.Parse(dayLayout, day)
	if err != nil {
		return true
	}
	const slack = time.Hour
	return at.Add(24*time.Hour).UnixMicro() >= m.min && at.Add(-slack).UnixMicro() <= m.max
}

// mayHave reports whether a block can have matching events.
func (m *matcher) mayHave(b block) bool {
	if b.max < m.min || b.min > m.max {
		return false
	}
	for _, key := range m.keys {
		if !b.filter.has(key) {
			return false
		}
	}
	return len(m.anyKeys) == 0 || slices.ContainsFunc(m.anyKeys, b.filter.has)
}

// matches reports whether a record matches.
func (m *matcher) matches(payload []byte) bool {
	at := int64(binary.LittleEndian.Uint64(payload[1:]))
	kind := Kind(payload[0])
	if at < m.min || at > m.max || !m.anyKind && (kind >= lastKind || !m.kinds[kind]) {
		return false
	}
	name, id := len(m.name) == 0, len(m.ids) == 0
	from, to, subject := len(m.from) == 0, len(m.to) == 0, len(m.words) == 0
	for tag, f := range fieldsOf(payload) {
		value := f.text
		switch tag {
		case tagID, tagParent:
			name = name || bytes.EqualFold(value, m.name)
			id = id || m.ids[strings.ToLower(string(value))]
		case tagTrace, tagMessageID, tagUser, tagHost:
			name = name || bytes.EqualFold(value, m.name)
		case tagFrom:
			name = name || isAddress(value, m.name)
			from = from || isAddress(value, m.from)
		case tagTo, tagTarget:
			name = name || isAddress(value, m.name)
			to = to || isAddress(value, m.to)
		case tagRemote:
			a, _ := netip.AddrFromSlice(value)
			name = name || m.remote.IsValid() && a == m.remote
		case tagSubject:
			subject = subject || m.inSubject(value)
		}
	}
	return name && id && from && to && subject
}

// isAddress reports whether the address is the wanted one, or of the wanted domain.
func isAddress(address, want []byte) bool {
	if bytes.EqualFold(address, want) {
		return true
	}
	at := bytes.LastIndexByte(address, '@')
	return at >= 0 && bytes.EqualFold(address[at+1:], bytes.TrimPrefix(want, []byte("@")))
}

func (m *matcher) inSubject(subject []byte) bool {
	for _, want := range m.words {
		found := false
		for word := range wordsOf(subject) {
			found = found || len(word) >= len(want) && bytes.EqualFold(word[:len(want)], want)
		}
		if !found {
			return false
		}
	}
	return true
}
