package queue

import (
	"container/heap"
	"math"
	"slices"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp/route"
)

// entry is a message in the index. It holds what scheduling needs; the rest is in the file.
type entry struct {
	id       string
	deadline int64   // when the message is overdue for a report, Unix time in ns
	at       int     // index in Queue.deadlines; -1: in none
	slots    []*slot // one for each destination where it waits
	held     bool
	newer    bool // a newer release wrote its state: see NewerError
}

// slot is a message's place at one destination.
type slot struct {
	entry *entry
	dest  *destination
	fresh *live // item of a message just added: the file need not be read; holds a reference
	due   int64 // Unix time in ns
	at    int   // index in dest.waiting; -1: not there
	state slotState
}

type slotState uint8

const (
	waiting  slotState = iota // in dest.waiting, until due
	released                  // in dest.released: a flush lets it go outside the route's hours
	trying                    // a worker has it
	gone                      // removed; must not be used any more
)

// destination is one queue of messages that share a next hop. Its fields are guarded by Queue.mu.
type destination struct {
	key    string
	domain addr.Domain // of the recipients; with a smart host, of one of them
	route  *route.Route

	waiting  slotHeap
	released []*slot // in the order of their release
	trying   int     // number of workers
	window   int     // workers allowed while it answers; grows
	proven   bool    // it has answered once
	queued   bool    // waits in Queue.waiting for a free worker

	failures  int       // consecutive failures to reach it
	failedAt  time.Time // time of the last one
	notBefore time.Time
	last      *Last // last failed attempt

	wake int64 // next time to check it, Unix time in ns; never: only on an event
	at   int   // index in Queue.wakes
}

const never = math.MaxInt64

// firstWindow is the number of connections that a destination may have before the first success.
const firstWindow = 5

func (d *destination) empty() bool {
	return len(d.waiting) == 0 && len(d.released) == 0 && d.trying == 0
}

// allowance returns the number of workers that the destination may have: one while it cannot be
// reached, otherwise its window.
func (d *destination) allowance() int {
	limit := d.route.Connections
	if limit <= 0 {
		limit = defaultPerDomain
	}
	if d.failures > 0 {
		return 1
	}
	return min(d.window, limit)
}

// next takes the first due slot for an attempt. It returns nil if none is due.
func (d *destination) next(now time.Time) *slot {
	for len(d.released) > 0 {
		p := d.released[0]
		d.released = d.released[1:]
		if p.state == released {
			p.state = trying
			return p
		}
	}
	if len(d.waiting) == 0 || d.waiting[0].due > now.UnixNano() || d.opensAt(now).After(now) {
		return nil
	}
	p := heap.Pop(&d.waiting).(*slot)
	p.state = trying
	return p
}

// opensAt returns when mail may next leave for the destination, now or later. A time far away means
// that only a flush or ATRN lets mail go.
func (d *destination) opensAt(now time.Time) time.Time {
	if d.route.Hold {
		return time.Unix(0, never)
	}
	from := now
	if d.notBefore.After(from) {
		from = d.notBefore
	}
	from = d.route.Windows.Next(from)
	if from.IsZero() {
		return time.Unix(0, never)
	}
	return from
}

// nextWake returns when a worker could start that cannot start now, Unix time in ns.
func (d *destination) nextWake(now time.Time) int64 {
	switch {
	case d.empty() && d.notBefore.After(now):
		return d.notBefore.UnixNano() // pruneLocked removes it then
	case len(d.waiting)+len(d.released) == 0, d.trying > 0 && d.trying >= d.allowance():
		return never
	case len(d.released) > 0:
		return 0
	}
	return max(d.waiting[0].due, d.opensAt(now).UnixNano())
}

// slotHeap has the earliest slot first. Among equals, the older message is first.
type slotHeap []*slot

func (h slotHeap) Len() int { return len(h) }
func (h slotHeap) Less(i, j int) bool {
	if h[i].due != h[j].due {
		return h[i].due < h[j].due
	}
	return h[i].entry.id < h[j].entry.id
}
func (h slotHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i]; h[i].at, h[j].at = i, j }
func (h *slotHeap) Push(x any)   { p := x.(*slot); p.at = len(*h); *h = append(*h, p) }
func (h *slotHeap) Pop() any {
	old := *h
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*h, p.at = old[:len(old)-1], -1
	return p
}

// wakeHeap has the destination first that must be checked next.
type wakeHeap []*destination

func (h wakeHeap) Len() int           { return len(h) }
func (h wakeHeap) Less(i, j int) bool { return h[i].wake < h[j].wake }
func (h wakeHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].at, h[j].at = i, j }
func (h *wakeHeap) Push(x any)        { d := x.(*destination); d.at = len(*h); *h = append(*h, d) }
func (h *wakeHeap) Pop() any {
	old := *h
	d := old[len(old)-1]
	old[len(old)-1] = nil
	*h, d.at = old[:len(old)-1], -1
	return d
}

// deadlineHeap has the message first that is overdue next.
type deadlineHeap []*entry

func (h deadlineHeap) Len() int           { return len(h) }
func (h deadlineHeap) Less(i, j int) bool { return h[i].deadline < h[j].deadline }
func (h deadlineHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].at, h[j].at = i, j }
func (h *deadlineHeap) Push(x any)        { e := x.(*entry); e.at = len(*h); *h = append(*h, e) }
func (h *deadlineHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h, e.at = old[:len(old)-1], -1
	return e
}

// destinationLocked returns the destination of mail for a domain, and creates it if needed.
func (q *Queue) destinationLocked(r *route.Route, domain addr.Domain) *destination {
	key := destinationKey(r, domain)
	d := q.destinations[key]
	if d == nil {
		d = &destination{key: key, domain: domain, window: firstWindow, wake: never}
		q.destinations[key] = d
		heap.Push(&q.wakes, d)
	}
	d.route = r
	return d
}

// pruneLocked forgets an empty destination, unless its back-off must be remembered.
func (q *Queue) pruneLocked(d *destination) {
	if d.empty() && !d.queued && !d.notBefore.After(q.now()) && q.destinations[d.key] == d {
		delete(q.destinations, d.key)
		heap.Remove(&q.wakes, d.at)
	}
}

// fileLocked replaces a message's slots and deadline by those that follow from its item. Slots with
// attempts under way stay.
func (q *Queue) fileLocked(e *entry, l *live) {
	item := l.item
	e.held, e.newer = item.Held, false
	var hurried map[string]slotState // by destination key: what a flush or retry made due stays due
	for _, p := range e.slots {
		if p.state != trying && p.due == flushed {
			if hurried == nil {
				hurried = make(map[string]slotState)
			}
			hurried[p.dest.key] = p.state
		}
	}
	q.removeSlotsLocked(e)
	var deadline time.Time
	soonest := func(at time.Time) {
		if deadline.IsZero() || at.Before(deadline) {
			deadline = at
		}
	}
	for i := range item.To {
		r := &item.To[i]
		if r.PendingDSN != "" {
			soonest(q.now().Add(diskRetryDelay))
		}
		if !r.pending() || e.held {
			continue
		}
		soonest(q.deadline(item, r))
		if !l.busy[i] { // the attempt's end files it
			q.addSlotLocked(e, r, r.Next)
		}
	}
	q.setDeadlineLocked(e, deadline)
	for _, p := range e.slots {
		if p.state != waiting {
			continue
		}
		state, hurry := hurried[p.dest.key]
		if hurry {
			p.due, p.state = flushed, state
		}
		if p.state == released {
			p.dest.released = append(p.dest.released, p)
		} else {
			heap.Push(&p.dest.waiting, p)
		}
		q.startWorkersLocked(p.dest)
	}
}

// addSlotLocked adds the message to the destination of one recipient, due at the given time or
// earlier.
func (q *Queue) addSlotLocked(e *entry, r *Recipient, due time.Time) {
	d := q.destinationLocked(q.routeOf(r), r.Address.Domain)
	at := int64(0)
	if !due.IsZero() {
		at = clampWait(due, q.now(), d.route.Schedule.Wait(r.Attempts, e.id)).UnixNano()
	}
	for _, p := range e.slots {
		if p.dest == d {
			p.due = min(p.due, at)
			return
		}
	}
	e.slots = append(e.slots, &slot{entry: e, dest: d, due: at, at: -1})
}

// removeSlotsLocked removes all slots of a message but those with an attempt under way.
func (q *Queue) removeSlotsLocked(e *entry) {
	rest := e.slots[:0]
	for _, p := range e.slots {
		if p.state == trying {
			rest = append(rest, p)
		} else {
			q.removeSlotLocked(p)
		}
	}
	e.slots = rest
}

// removeSlotLocked removes a slot from its destination.
func (q *Queue) removeSlotLocked(p *slot) {
	if p.state == waiting && p.at >= 0 {
		heap.Remove(&p.dest.waiting, p.at)
	}
	if p.state == released {
		same := func(other *slot) bool { return other == p }
		p.dest.released = slices.DeleteFunc(p.dest.released, same)
	}
	p.state = gone
	q.pruneLocked(p.dest)
}

func (q *Queue) setDeadlineLocked(e *entry, at time.Time) {
	if e.at >= 0 {
		heap.Remove(&q.deadlines, e.at)
	}
	if !at.IsZero() {
		e.deadline = at.UnixNano()
		heap.Push(&q.deadlines, e)
	}
}

// forgetLocked removes a message from the index.
func (q *Queue) forgetLocked(e *entry) {
	q.removeSlotsLocked(e)
	q.setDeadlineLocked(e, time.Time{})
	if q.entries[e.id] == e {
		delete(q.entries, e.id)
	}
}
