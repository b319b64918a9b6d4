package queue

import (
	"container/heap"
	"math"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp/route"
)

// entry is a message as the index knows it: what is needed to find its time, and no more. Everything else is in its file.
type entry struct {
	id       string
	deadline int64    // when its sender is to be told something, as Unix time in nanoseconds
	at       int      // in the heap of deadlines; -1: in none
	places   []*place // one for each destination that it waits for
	held     bool
	newer    bool // a newer release wrote its state: see NewerError
}

// place is a message's turn at a destination.
type place struct {
	entry *entry
	dest  *destination
	fresh *live // of a message that has just come, whose file need not be read; holds a reference
	due   int64 // Unix time in nanoseconds
	at    int   // in the heap of its destination; -1: it is not in it
	state placeState
}

type placeState uint8

const (
	waiting  placeState = iota // in dest.waiting
	released                   // in dest.released: a flush lets it go whatever the hour
	trying                     // with a worker
	gone                       // of no use any more
)

// destination is what messages wait for together.
type destination struct {
	key    string
	domain addr.Domain // of its recipients; of one of them, where a smart host takes several
	route  *route.Route

	waiting  placeHeap
	released []*place // first come, first served
	trying   int      // workers
	window   int      // workers that it may have, as long as all goes well
	proven   bool     // it has answered
	queued   bool     // among those that wait for a worker of the whole queue

	failures  int       // in a row, to reach it
	failedAt  time.Time // the last one
	notBefore time.Time
	last      *Last // why

	wake int64 // when it is to be looked at again, as Unix time in nanoseconds; never: not by itself
	at   int   // in the heap of destinations
}

const never = math.MaxInt64

// firstWindow is how many connections a destination gets before one of them has succeeded.
const firstWindow = 5

func (d *destination) empty() bool {
	return len(d.waiting) == 0 && len(d.released) == 0 && d.trying == 0
}

// allowance is how many workers the destination may have: one while it cannot be reached, then slowly more.
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

// next takes the place whose turn it is, or nil.
func (d *destination) next(now time.Time) *place {
	for len(d.released) > 0 {
		p := d.released[0]
		d.released = d.released[1:]
		if p.state == released {
			p.state = trying
			return p
		}
	}
	if len(d.waiting) == 0 || d.waiting[0].due > now.UnixNano() || d.opens(now).After(now) {
		return nil
	}
	p := heap.Pop(&d.waiting).(*place)
	p.state = trying
	return p
}

// opens is from when on mail for it may leave; a time far away where only a flush lets it go.
func (d *destination) opens(now time.Time) time.Time {
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

// nextWake is when something can be done for it that cannot be done now.
func (d *destination) nextWake(now time.Time) int64 {
	switch {
	case d.empty() && d.notBefore.After(now):
		return d.notBefore.UnixNano() // to be forgotten
	case len(d.waiting)+len(d.released) == 0, d.trying > 0 && d.trying >= d.allowance():
		return never
	case len(d.released) > 0:
		return 0
	}
	return max(d.waiting[0].due, d.opens(now).UnixNano())
}

// placeHeap has the earliest in front; of equals, the message that arrived first.
type placeHeap []*place

func (h placeHeap) Len() int { return len(h) }
func (h placeHeap) Less(i, j int) bool {
	if h[i].due != h[j].due {
		return h[i].due < h[j].due
	}
	return h[i].entry.id < h[j].entry.id
}
func (h placeHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i]; h[i].at, h[j].at = i, j }
func (h *placeHeap) Push(x any)   { p := x.(*place); p.at = len(*h); *h = append(*h, p) }
func (h *placeHeap) Pop() any {
	old := *h
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*h, p.at = old[:len(old)-1], -1
	return p
}

// wakeHeap has the destination in front that is to be looked at first.
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

// deadlineHeap has the message in front whose sender is to hear of it first.
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
