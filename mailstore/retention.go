package mailstore

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// removedAtOnce is how many messages a retention run deletes before it looks whether it is to stop.
const removedAtOnce = 1000

// Rule says when mail may be deleted, in days; 0 is never. If both are set, what comes first counts.
type Rule struct {
	After        int `json:"after"`         // its arrival
	FetchedAfter int `json:"fetched_after"` // it was first fetched
}

// String puts the rule into words: "after 30 days, or 7 days after it was fetched".
func (r Rule) String() string {
	switch {
	case r.After > 0 && r.FetchedAfter > 0:
		return fmt.Sprintf("after %s, or %s after it was fetched", days(r.After), days(r.FetchedAfter))
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

// None reports whether nothing is ever deleted.
func (r Rule) None() bool { return r.After <= 0 && r.FetchedAfter <= 0 }

// Stricter reports whether some message would be deleted earlier than under the other rule.
func (r Rule) Stricter(than Rule) bool {
	sooner := func(a, b int) bool { return a > 0 && (b <= 0 || a < b) }
	return sooner(r.After, than.After) || sooner(r.FetchedAfter, than.FetchedAfter)
}

// Kept is a message as retention sees it.
type Kept struct {
	UID     string
	Size    int64     // as Message has it
	Arrived time.Time // zero: not known
	Fetched time.Time // when all of it was first fetched; zero: not yet, as far as is known
}

// Due is when the rule lets a message be deleted; zero is never. A message of which the time of arrival is not known
// is kept; one that was fetched before it arrived, by the clock, was fetched when it arrived.
func (r Rule) Due(k Kept) (due time.Time) {
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

// later adds days of 24 hours. So many that a time.Time has no room for them are for ever all the same.
func later(t time.Time, days int) time.Time {
	const forEver = 1_000_000
	return t.UTC().AddDate(0, 0, min(days, forEver))
}

// Plan returns the indexes of the messages that the rule lets be deleted now, but not those that it let be deleted at
// the time before; a zero before is no time.
func Plan(rule Rule, all []Kept, before, now time.Time) []int {
	var indexes []int
	for i, k := range all {
		if due := rule.Due(k); !due.IsZero() && !due.After(now) && (before.IsZero() || due.After(before)) {
			indexes = append(indexes, i)
		}
	}
	return indexes
}

// Expired are messages that were deleted, or would be.
type Expired struct {
	Messages int       `json:"messages"`
	Bytes    int64     `json:"bytes"`           // as POP3 counts them
	Oldest   time.Time `json:"oldest,omitzero"` // arrival of the oldest
}

// Add adds up.
func (e Expired) Add(more Expired) Expired {
	oldest := e.Oldest
	if oldest.IsZero() || !more.Oldest.IsZero() && more.Oldest.Before(oldest) {
		oldest = more.Oldest
	}
	return Expired{Messages: e.Messages + more.Messages, Bytes: e.Bytes + more.Bytes, Oldest: oldest}
}

func sum(all []Kept, indexes []int) (e Expired) {
	for _, i := range indexes {
		e = e.Add(Expired{Messages: 1, Bytes: all[i].Size, Oldest: all[i].Arrived})
	}
	return e
}

// WouldExpire says what Expire would delete. It locks nothing. Errors are ErrNoMailbox and those of the file system.
func (s *Store) WouldExpire(dir string, rule Rule, before, now time.Time) (Expired, error) {
	v, err := s.view(dir)
	if err != nil {
		return Expired{}, err
	}
	all, err := s.kept(dir, v, rule)
	return sum(all, Plan(rule, all, before, now)), err
}

// Expire deletes what Plan says, durably, and returns what is gone, after an error too. While it is at work the mailbox
// is in use; one that is in use already is left alone, with ErrInUse. Where nothing is to be deleted, nobody is kept
// waiting. When ctx ends, the rest stays, with the error of ctx. Other errors are those of OpenMaildrop and Remove.
func (s *Store) Expire(ctx context.Context, dir string, rule Rule, before, now time.Time) (gone Expired, err error) {
	due, err := s.WouldExpire(dir, rule, before, now)
	if err != nil || due.Messages == 0 {
		return Expired{}, err
	}
	m, err := s.OpenMaildrop(dir)
	if err != nil {
		return Expired{}, err
	}
	defer m.Close()
	all, err := s.kept(dir, m.view, rule)
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
	}
	if rule.FetchedAfter > 0 {
		return gone, m.compactFetched(false)
	}
	return gone, nil
}

// vanished are those of the messages that are not in the mailbox any more, as far as can be told.
func (s *Store) vanished(dir string, all []Kept, indexes []int) Expired {
	v, err := s.view(dir)
	if err != nil {
		return Expired{}
	}
	there := make(map[string]bool, len(v.messages))
	for _, m := range v.messages {
		there[m.UID] = true
	}
	return sum(all, slices.DeleteFunc(slices.Clone(indexes), func(i int) bool { return there[all[i].UID] }))
}

// kept is what a view holds, as far as the rule wants to know.
func (s *Store) kept(dir string, v *view, rule Rule) ([]Kept, error) {
	var fetched map[string]time.Time
	if rule.FetchedAfter > 0 {
		var err error
		if fetched, _, err = s.readFetched(dir); err != nil {
			return nil, err
		}
	}
	all := make([]Kept, len(v.messages))
	for i, m := range v.messages {
		all[i] = Kept{UID: m.UID, Size: m.Size, Arrived: v.arrived(i), Fetched: fetched[m.UID]}
	}
	return all, nil
}

// arrived is when message i came: what its name says, or the file if the name says nothing. Zero for a name of our
// form with a time that does not exist.
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
