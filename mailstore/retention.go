package mailstore

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// removedAtOnce is the number of messages that Expire deletes before it checks its context.
const removedAtOnce = 1000

// Rule is a retention rule, in days; 0 means never. If both are set, the earlier time counts.
type Rule struct {
	After        int `json:"after"`         // after its arrival
	FetchedAfter int `json:"fetched_after"` // after its first fetch
}

// String describes the rule, for example "after 30 days, or 7 days after it was fetched".
func (r Rule) String() string {
	switch {
	case r.After > 0 && r.FetchedAfter > 0:
		return fmt.Sprintf("after %s, or %s after it was fetched",
			days(r.After), days(r.FetchedAfter))
	case r.After > 0:
		return "after " + days(r.After)
	case r.FetchedAfter > 0:
		return days(r.FetchedAfter) + " after it was fetched"
	}
	return "never"
}

func days(n int) string {
	if n == 1 {
		return "1 day"
	}
	return fmt.Sprintf("%d days", n)
}

// None reports whether the rule never deletes mail.
func (r Rule) None() bool { return r.After <= 0 && r.FetchedAfter <= 0 }

// Stricter reports whether the rule deletes some message earlier than the other rule.
func (r Rule) Stricter(than Rule) bool {
	sooner := func(a, b int) bool { return a > 0 && (b <= 0 || a < b) }
	return sooner(r.After, than.After) || sooner(r.FetchedAfter, than.FetchedAfter)
}

// Candidate is a message that a Rule is applied to.
type Candidate struct {
	UID     string
	Size    int64     // as in Message
	Arrived time.Time // zero: unknown
	Fetched time.Time // when it was first fetched completely; zero: not known to be
}

// Due returns when the rule permits the deletion of a message; zero means never. A message without
// a time of arrival is kept. A fetch before the arrival, by the clock, counts as a fetch at the
// arrival.
func (r Rule) Due(k Candidate) (due time.Time) {
	if k.Arrived.IsZero() {
		return time.Time{}
	}
	if r.After > 0 {
		due = later(k.Arrived, r.After)
	}
	if r.FetchedAfter > 0 && !k.Fetched.IsZero() {
		fetched := k.Fetched
		if fetched.Before(k.Arrived) {
			fetched = k.Arrived
		}
		if next := later(fetched, r.FetchedAfter); due.IsZero() || next.Before(due) {
			due = next
		}
	}
	return due
}

// later adds days of 24 hours. A larger number than time.Time can hold is capped.
func later(t time.Time, days int) time.Time {
	const forEver = 1_000_000
	return t.UTC().AddDate(0, 0, min(days, forEver))
}

// Plan returns the indexes of the messages that the rule permits to delete now, but did not permit
// to delete at the time before. A zero before excludes no message.
func Plan(rule Rule, all []Candidate, before, now time.Time) []int {
	var indexes []int
	for i, k := range all {
		due := rule.Due(k)
		if !due.IsZero() && !due.After(now) && (before.IsZero() || due.After(before)) {
			indexes = append(indexes, i)
		}
	}
	return indexes
}

// Expired counts messages that were deleted, or would be.
type Expired struct {
	Messages int       `json:"messages"`
	Bytes    int64     `json:"bytes"`           // as POP3 counts them
	Oldest   time.Time `json:"oldest,omitzero"` // arrival of the oldest
}

// Add returns the sum of both.
func (e Expired) Add(more Expired) Expired {
	oldest := e.Oldest
	if oldest.IsZero() || !more.Oldest.IsZero() && more.Oldest.Before(oldest) {
		oldest = more.Oldest
	}
	return Expired{
		Messages: e.Messages + more.Messages, Bytes: e.Bytes + more.Bytes, Oldest: oldest,
	}
}

func sum(all []Candidate, indexes []int) (e Expired) {
	for _, i := range indexes {
		e = e.Add(Expired{Messages: 1, Bytes: all[i].Size, Oldest: all[i].Arrived})
	}
	return e
}

// WouldExpire returns what Expire would delete. It takes no lock. Errors are ErrNoMailbox and those
// of the file system.
func (s *Store) WouldExpire(dir string, rule Rule, before, now time.Time) (Expired, error) {
	v, err := s.view(dir)
	if err != nil {
		return Expired{}, err
	}
	all, err := s.candidates(dir, v, rule)
	return sum(all, Plan(rule, all, before, now)), err
}

// Expire deletes the messages that Plan returns, durably. It also returns the deleted ones after an
// error. It opens the maildrop only if there is a message to delete; if a session has it open, the
// error is ErrInUse. When ctx ends, the other messages stay and the error is that of ctx. Other
// errors are those of OpenMaildrop and Remove.
func (s *Store) Expire(
	ctx context.Context, dir string, rule Rule, before, now time.Time, deleted func(Candidate),
) (gone Expired, err error) {
	due, err := s.WouldExpire(dir, rule, before, now)
	if err != nil || due.Messages == 0 {
		return Expired{}, err
	}
	m, err := s.OpenMaildrop(dir)
	if err != nil {
		return Expired{}, err
	}
	defer m.Close()
	all, err := s.candidates(dir, m.view, rule)
	if err != nil {
		return Expired{}, err
	}
	for some := range slices.Chunk(Plan(rule, all, before, now), removedAtOnce) {
		if ctx.Err() != nil {
			return gone, ctx.Err()
		}
		if err := m.Remove(some); err != nil {
			return gone.Add(s.vanished(dir, all, some)), err
		}
		gone = gone.Add(sum(all, some))
		for _, i := range some {
			deleted(all[i])
		}
	}
	if rule.FetchedAfter > 0 {
		return gone, m.compactFetched(false)
	}
	return gone, nil
}

// vanished counts those of the messages that are no longer in the mailbox.
func (s *Store) vanished(dir string, all []Candidate, indexes []int) Expired {
	v, err := s.view(dir)
	if err != nil {
		return Expired{}
	}
	there := make(map[string]bool, len(v.messages))
	for _, m := range v.messages {
		there[m.UID] = true
	}
	return sum(all, slices.DeleteFunc(slices.Clone(indexes), func(i int) bool {
		return there[all[i].UID]
	}))
}

// candidates returns the messages of a view, with the fetch times if the rule needs them.
func (s *Store) candidates(dir string, v *view, rule Rule) ([]Candidate, error) {
	var fetched map[string]time.Time
	if rule.FetchedAfter > 0 {
		var err error
		if fetched, _, err = s.readFetched(dir); err != nil {
			return nil, err
		}
	}
	all := make([]Candidate, len(v.messages))
	for i, m := range v.messages {
		all[i] = Candidate{UID: m.UID, Size: m.Size, Arrived: v.arrived(i), Fetched: fetched[m.UID]}
	}
	return all, nil
}

// arrived returns when message i arrived: the time in its name, or the file's modification time if
// the name has none. It is zero if the name has an impossible time.
func (v *view) arrived(i int) time.Time {
	id := v.messages[i].UID
	if !isID(id) {
		name, foreign := v.file(i)
		switch {
		case len(name) >= idLen && isID(name[:idLen]):
			id = name[:idLen]
		case foreign != nil:
			return foreign.id.mtime
		default:
			return time.Time{}
		}
	}
	return IDTime(id)
}
