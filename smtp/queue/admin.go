package queue

import (
	"cmp"
	"container/heap"
	"fmt"
	"math"
	"slices"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
)

// flushed is the time of a place whose message is to be tried although its recipients' times have not come.
const flushed = math.MinInt64

// Filter chooses messages. The zero value is all.
type Filter struct {
	IDs    []string      `json:"ids,omitempty"`
	Domain addr.Domain   `json:"domain,omitempty"` // of a recipient that is not done
	To     addr.Address  `json:"to,omitzero"`      // a recipient that is not done
	From   addr.Address  `json:"from,omitzero"`
	Null   bool          `json:"null,omitempty"`  // without a sender: reports, mostly
	Older  time.Duration `json:"older,omitempty"` // arrived at least so long ago
	Held   bool          `json:"held,omitempty"`  // only those that are held
}

// all reports whether every message is chosen.
func (f *Filter) all() bool {
	return len(f.IDs) == 0 && f.Domain == "" && f.To.IsZero() && f.From.IsZero() && !f.Null && f.Older == 0 && !f.Held
}

// Chooses reports whether a message is chosen.
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
		return r.waits() && (f.Domain == "" || r.Address.Domain == f.Domain) && (f.To.IsZero() || r.Address.Fold() == f.To.Fold())
	})
}

// ids are the messages in the index, in the order of their arrival.
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

// List returns the messages that are chosen, oldest first, at most limit of them, and how many there are; 0 is no limit. Those of Newer
// are not among them; if f names one, the error is a *NewerError.
func (q *Queue) List(f Filter, limit int) (items []*Item, count int, err error) {
	now := q.now()
	ids := q.index()
	if f.all() && limit > 0 && len(ids) > limit { // nobody reads 100,000 files to see a page
		count, ids = len(ids)-limit, ids[:limit]
	}
	if len(f.IDs) > 0 {
		ids = slices.DeleteFunc(ids, func(id string) bool { return !slices.Contains(f.IDs, id) })
	}
	for _, id := range ids {
		state, err := q.state(id)
		if temporary(err) {
			return nil, 0, err
		} else if err != nil {
			continue // it has left, or goes into quarantine when its turn comes
		}
		it, err := Decode(id, state)
		if isNewer(err) && len(f.IDs) > 0 {
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

// Action is what is done to a message by hand.
type Action string

// The actions.
const (
	Retry   Action = "retry"   // now, as far as the route's hours and the other limits permit
	Flush   Action = "flush"   // now, whatever the hour, and from where it is kept for remote-triggered delivery
	Hold    Action = "hold"    // until Release
	Release Action = "release" // from Hold
	Remove  Action = "remove"  // without telling anybody
	Bounce  Action = "bounce"  // back to the sender
)

// Do does something to all messages that are chosen and returns to how many.
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
		q.loadOne(id) // it was found at start, and its turn has not come
	}
	l := q.take(id)
	defer q.drop(id, l)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := q.load(id, l); temporary(err) {
		return false, err
	} else if err != nil {
		return false, nil // it has left
	}
	e := q.entryOf(id)
	if e == nil {
		return false, nil
	}
	switch action {
	case Retry, Flush:
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.hurry(e, action == Flush) > 0, nil
	case Hold, Release:
		return q.hold(e, l, action == Hold)
	case Remove:
		if err := q.Spool.Remove(id); err != nil {
			return false, err
		}
		l.over = true
		q.mu.Lock()
		defer q.mu.Unlock()
		q.forget(e)
		q.Log.Warn("message removed from the queue by hand", "id", id, "from", l.item.From.String())
		return true, nil
	case Bounce:
		return q.bounce(e, l), nil
	}
	return false, fmt.Errorf("%q is nothing that can be done to a message", action)
}

// hurry makes a message's turn come now, and returns for how many destinations. It needs mu held.
func (q *Queue) hurry(e *entry, whateverTheHour bool) (count int) {
	for _, p := range slices.Clone(e.places) {
		d := p.dest
		if p.state != waiting || !whateverTheHour && (d.route.Hold || !d.route.Windows.Open(q.now())) {
			continue
		}
		count++
		d.notBefore = time.Time{}
		p.due = flushed
		if whateverTheHour {
			heap.Remove(&d.waiting, p.at)
			p.state = released
			d.released = append(d.released, p)
		} else {
			heap.Fix(&d.waiting, p.at)
		}
		q.start(d)
	}
	q.wakeUp()
	return count
}

// tryAnew makes the turn of all come that waits for a destination. It needs mu held.
func (q *Queue) tryAnew(d *destination) {
	d.notBefore = time.Time{}
	for _, p := range d.waiting {
		p.due = flushed
	}
	heap.Init(&d.waiting)
	q.start(d)
}

// flush lets everything go that waits for some destinations.
func (q *Queue) flush(which func(*destination) bool) (count int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, d := range q.destinations {
		if !which(d) {
			continue
		}
		d.notBefore = time.Time{}
		slices.SortFunc(d.waiting, func(a, b *place) int { return cmp.Compare(a.entry.id, b.entry.id) })
		for _, p := range d.waiting {
			p.due, p.state, p.at = flushed, released, -1
			d.released = append(d.released, p)
			count++
		}
		d.waiting = nil
		q.start(d)
	}
	q.wakeUp()
	return count
}

// recall makes what was let go wait again for a destination that cannot be reached. It needs mu held.
func (q *Queue) recall(d *destination) {
	for _, p := range d.released {
		if p.state == released {
			p.state, p.due = waiting, q.now().UnixNano()
			heap.Push(&d.waiting, p)
		}
	}
	d.released = nil
}

// FlushETRN starts the delivery of what is kept for a remote trigger (ETRN, RFC 1985), for the domains that match, or for a
// route. kept says that there is such a route at all.
func (q *Queue) FlushETRN(match func(addr.Domain) bool) (count int) {
	return q.flush(func(d *destination) bool { return d.route.Hold && match(d.domain) })
}

// Waiting counts what waits for the domains that match.
func (q *Queue) CountETRN(match func(addr.Domain) bool) (count int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, d := range q.destinations {
		if d.route.Hold && match(d.domain) {
			count += len(d.waiting)
		}
	}
	return count
}

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
	q.settle(e, l)
	if l.dirty {
		return false, fmt.Errorf("%s: cannot be written now; it will be as soon as that is possible", e.id)
	}
	return true, nil
}

// bounce gives a message back to its sender.
func (q *Queue) bounce(e *entry, l *live) (done bool) {
	reply := smtp.NewReply(554, [3]int{5, 0, 0}, "Given back by the administrator")
	for i := range l.item.To {
		r := &l.item.To[i]
		if !r.waits() || l.taken[i] {
			continue
		}
		done = true
		r.Last = &Last{Time: q.now().Round(0), Reply: *reply}
		l.item.conclude(r, smtp.Result{Status: smtp.Failed, Reply: *reply})
	}
	if done {
		q.Log.Warn("message given back by hand", "id", e.id, "from", l.item.From.String())
		q.settle(e, l)
	}
	return done
}

// Active is an attempt that is under way.
type Active struct {
	ID          string    `json:"id"`
	Destination string    `json:"destination"`
	To          []string  `json:"to"`
	Size        int64     `json:"size"` // octets
	Since       time.Time `json:"since"`
}

// Active lists what is being delivered now, the longest first.
func (q *Queue) Active() []Active {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := make([]Active, 0, len(q.active))
	for a := range q.active {
		all = append(all, Active{ID: a.id, Destination: a.dest, To: a.to, Size: a.size, Since: a.since})
	}
	slices.SortFunc(all, func(a, b Active) int { return a.Since.Compare(b.Since) })
	return all
}

// Destination is what messages wait for together.
type Destination struct {
	Key       string    `json:"key"`
	Route     string    `json:"route"`
	Waiting   int       `json:"waiting"`
	Trying    int       `json:"trying"`
	ETRNHeld  bool      `json:"kept,omitempty"`      // for remote-triggered delivery
	Failures  int       `json:"failures,omitempty"`  // in a row, to reach it
	NotBefore time.Time `json:"not_before,omitzero"` // because of these
	Last      *Last     `json:"last,omitempty"`
}

// Destinations lists what messages wait for, the longest queue first.
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
			Key: d.key, Route: d.route.Name, Waiting: len(d.waiting) + len(d.released), Trying: d.trying,
			ETRNHeld: d.route.Hold, Failures: d.failures, Last: d.last,
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
