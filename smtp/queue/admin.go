package queue

import (
	"cmp"
	"container/heap"
	"fmt"
	"math"
	"slices"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/track"
	"pillarbox/smtp"
)

// flushed is the due time of a slot that must be tried now, although its recipients are not due.
const flushed = math.MinInt64

// Filter chooses messages. Its zero value chooses all of them.
type Filter struct {
	IDs    []string      `json:"ids,omitempty"`
	Domain addr.Domain   `json:"domain,omitempty"` // of a pending recipient
	To     addr.Address  `json:"to,omitzero"`      // a pending recipient
	From   addr.Address  `json:"from,omitzero"`
	Null   bool          `json:"null,omitempty"`  // null reverse-path: mostly reports
	Older  time.Duration `json:"older,omitempty"` // arrived at least this long ago
	Held   bool          `json:"held,omitempty"`  // only admin-held messages
}

// all reports whether the filter chooses every message.
func (f *Filter) all() bool {
	return len(f.IDs) == 0 && f.Domain == "" && f.To.IsZero() && f.From.IsZero() &&
		!f.Null && f.Older == 0 && !f.Held
}

// Chooses reports whether the filter chooses a message.
func (f *Filter) Chooses(it *Item, now time.Time) bool {
	switch {
	case len(f.IDs) > 0 && !slices.Contains(f.IDs, it.ID),
		f.Held && !it.Held,
		f.Null && !it.From.IsZero(),
		f.Older > 0 && now.Sub(it.Arrived) < f.Older,
		!f.From.IsZero() && f.From.Fold() != it.From.Fold():
		return false
	}
	return (f.Domain == "" && f.To.IsZero()) || slices.ContainsFunc(it.To, func(r Recipient) bool {
		return r.pending() && (f.Domain == "" || r.Address.Domain == f.Domain) &&
			(f.To.IsZero() || r.Address.Fold() == f.To.Fold())
	})
}

// index returns the IDs of all messages, in the order of their arrival.
func (q *Queue) index() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := slices.Clone(q.ids)
	for id := range q.entries {
		all = append(all, id)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// intersect returns those of ids that are named too.
func intersect(ids, named []string) []string {
	wanted := make(map[string]bool, len(named))
	for _, id := range named {
		wanted[id] = true
	}
	return slices.DeleteFunc(ids, func(id string) bool { return !wanted[id] })
}

// List returns the messages that f chooses, oldest first, and how many there are. At most limit are
// returned; 0 means no limit. Messages of a newer release (see Newer) are left out. If f names such
// a message by its ID, the error is a *NewerError.
func (q *Queue) List(f Filter, limit int) (items []*Item, count int, err error) {
	now := q.now()
	ids := q.index()
	if f.all() && limit > 0 && len(ids) > limit { // one page must not read 100,000 files
		count, ids = len(ids)-limit, ids[:limit]
	}
	named := f.IDs
	if f.IDs = nil; len(named) > 0 { // 100,000 may be named
		ids = intersect(ids, named)
	}
	for _, id := range ids {
		state, err := q.state(id)
		if temporary(err) {
			return nil, 0, err
		} else if err != nil {
			continue // it left, or goes into quarantine at its next try
		}
		it, err := Decode(id, state)
		if isNewer(err) && len(named) > 0 {
			return nil, 0, err
		}
		if err != nil || !f.Chooses(it, now) {
			continue
		}
		if count++; limit == 0 || len(items) < limit {
			items = append(items, it)
		}
	}
	return items, count, nil
}

// Action is what an administrator does to a message.
type Action string

const (
	Retry   Action = "retry"   // try now, within the route's hours and limits
	Flush   Action = "flush"   // try now, outside the route's hours, and ETRN-held mail too
	Hold    Action = "hold"    // admin-hold until Release
	Release Action = "release" // end a Hold, and restart the time until expiry
	Remove  Action = "remove"  // delete without a report
	Bounce  Action = "bounce"  // return to the sender
)

// Do applies action to all messages that f chooses. It returns how many messages it changed.
func (q *Queue) Do(action Action, f Filter) (count int, err error) {
	if action == Flush && f.all() {
		return q.flush(func(*destination) bool { return true }), nil
	}
	items, _, err := q.List(f, 0)
	if err != nil {
		return 0, err
	}
	for _, it := range items {
		done, err := q.do(action, it.ID)
		if err != nil {
			return count, err
		}
		if done {
			count++
		}
	}
	return count, nil
}

func (q *Queue) do(action Action, id string) (done bool, err error) {
	if q.entryOf(id) == nil {
		q.loadOne(id) // Open found it, and Run has not read it yet
	}
	l := q.acquire(id)
	defer q.release(id, l)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := q.load(id, l); temporary(err) {
		return false, err
	} else if err != nil {
		return false, nil // it left the queue
	}
	e := q.entryOf(id)
	if e == nil {
		return false, nil
	}
	switch action {
	case Retry, Flush:
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.expediteLocked(e, action == Flush) > 0, nil
	case Hold, Release:
		return q.hold(e, l, action == Hold)
	case Remove:
		if err := q.Spool.Remove(id); err != nil {
			return false, err
		}
		l.removed = true
		q.mu.Lock()
		defer q.mu.Unlock()
		q.forgetLocked(e)
		q.Log.Warn("message removed from the queue by an administrator",
			"message_id", id, "from", l.item.From.String())
		q.Track.Add(itemEvent(track.Removed, l.item, nil))
		return true, nil
	case Bounce:
		return q.bounce(e, l), nil
	}
	return false, fmt.Errorf("%q: unknown action for queued messages", action)
}

// expediteLocked makes a message due now, and returns at how many destinations. If ignoreHours
// is false, closed and ETRN-holding destinations are left out.
func (q *Queue) expediteLocked(e *entry, ignoreHours bool) (count int) {
	for _, p := range slices.Clone(e.slots) {
		d := p.dest
		if p.state != waiting || !ignoreHours && (d.route.Hold || !d.route.Windows.Open(q.now())) {
			continue
		}
		count++
		d.notBefore = time.Time{}
		p.due = flushed
		if ignoreHours {
			heap.Remove(&d.waiting, p.at)
			p.state = released
			d.released = append(d.released, p)
		} else {
			heap.Fix(&d.waiting, p.at)
		}
		q.startWorkersLocked(d)
	}
	q.wakeUp()
	return count
}

// expediteAllLocked makes all messages of a destination due now.
func (q *Queue) expediteAllLocked(d *destination) {
	d.notBefore = time.Time{}
	for _, p := range d.waiting {
		p.due = flushed
	}
	heap.Init(&d.waiting)
	q.startWorkersLocked(d)
}

// flush releases all messages at some destinations, and returns how many.
func (q *Queue) flush(which func(*destination) bool) (count int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, d := range q.destinations {
		if !which(d) {
			continue
		}
		d.notBefore = time.Time{}
		older := func(a, b *slot) int { return cmp.Compare(a.entry.id, b.entry.id) }
		slices.SortFunc(d.waiting, older)
		for _, p := range d.waiting {
			p.due, p.state, p.at = flushed, released, -1
			d.released = append(d.released, p)
			count++
		}
		d.waiting = nil
		q.startWorkersLocked(d)
	}
	q.wakeUp()
	return count
}

// recallLocked makes released messages wait again, because their destination is unreachable.
func (q *Queue) recallLocked(d *destination) {
	for _, p := range d.released {
		if p.state == released {
			p.state, p.due = waiting, q.now().UnixNano()
			heap.Push(&d.waiting, p)
		}
	}
	d.released = nil
}

// FlushETRN starts the delivery of ETRN-held mail (RFC 1985) for the domains that match. It returns
// the number of messages; one for two domains counts twice.
func (q *Queue) FlushETRN(match func(addr.Domain) bool) (count int) {
	return q.flush(func(d *destination) bool { return d.route.Hold && match(d.domain) })
}

// hold admin-holds a message or releases it.
func (q *Queue) hold(e *entry, l *live, hold bool) (done bool, err error) {
	if l.item.Held == hold {
		return false, nil
	}
	l.item.Held = hold
	if !hold {
		l.item.Release(q.now())
		for i := range l.item.To {
			l.item.To[i].Next = time.Time{}
		}
	}
	q.mu.Lock()
	e.held = hold
	q.mu.Unlock()
	q.sendDSNs(l)
	q.save(e, l)
	if l.dirty {
		return false, fmt.Errorf("%s: its state cannot be written now; the queue will retry", e.id)
	}
	kind := track.Released
	if hold {
		kind = track.Held
	}
	q.Track.Add(itemEvent(kind, l.item, nil))
	return true, nil
}

// bounce ends the delivery for all pending recipients and reports the failure to the sender.
// Recipients with an attempt under way are left out.
func (q *Queue) bounce(e *entry, l *live) (done bool) {
	reply := smtp.NewReply(554, [3]int{5, 0, 0}, "Returned by the administrator")
	for i := range l.item.To {
		r := &l.item.To[i]
		if !r.pending() || l.busy[i] {
			continue
		}
		done = true
		r.Last = &Last{Time: q.now().Round(0), Reply: *reply}
		l.item.conclude(r, smtp.Result{Status: smtp.Failed, Reply: *reply})
		q.Track.Add(itemEvent(track.Failed, l.item, r))
	}
	if done {
		q.Log.Warn("message returned to its sender by an administrator",
			"message_id", e.id, "from", l.item.From.String())
		q.sendDSNs(l)
		q.save(e, l)
	}
	return done
}

// Active is an attempt under way.
type Active struct {
	ID          string    `json:"id"`
	Destination string    `json:"destination"`
	To          []string  `json:"to"`
	Size        int64     `json:"size"` // octets
	Since       time.Time `json:"since"`
}

// Active lists the attempts under way, the longest first.
func (q *Queue) Active() []Active {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := make([]Active, 0, len(q.active))
	for a := range q.active {
		all = append(all, *a)
	}
	slices.SortFunc(all, func(a, b Active) int { return a.Since.Compare(b.Since) })
	return all
}

// Destination describes one queue of messages that share a next hop.
type Destination struct {
	Key       string    `json:"key"`
	Route     string    `json:"route"`
	Waiting   int       `json:"waiting"`
	Trying    int       `json:"trying"`
	ETRNHeld  bool      `json:"kept,omitempty"`      // its mail is ETRN-held
	Failures  int       `json:"failures,omitempty"`  // consecutive, to reach it
	NotBefore time.Time `json:"not_before,omitzero"` // back-off because of Failures
	Last      *Last     `json:"last,omitempty"`
}

// Destinations lists the destinations, the longest queue first.
func (q *Queue) Destinations() []Destination {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	all := make([]Destination, 0, len(q.destinations))
	for _, d := range q.destinations {
		if d.empty() {
			continue
		}
		info := Destination{
			Key: d.key, Route: d.route.Name, Waiting: len(d.waiting) + len(d.released),
			Trying: d.trying, ETRNHeld: d.route.Hold, Failures: d.failures, Last: d.last,
		}
		if d.notBefore.After(now) {
			info.NotBefore = d.notBefore
		}
		all = append(all, info)
	}
	slices.SortFunc(all, func(a, b Destination) int {
		return cmp.Or(cmp.Compare(b.Waiting, a.Waiting), cmp.Compare(a.Key, b.Key))
	})
	return all
}
