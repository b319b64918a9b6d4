package queue

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"slices"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp/route"
)

// Why nothing can be claimed.
var (
	ErrNoMail = errors.New("nothing is kept for these domains")
	ErrBusy   = errors.New("what is kept for these domains is being sent, or cannot be now")
)

// ATRNSession is what is kept for some domains (route.Route.Hold), claimed to be sent over one connection, whose other side asked
// for it (ATRN, RFC 2645). It must be run, which gives the claim back.
type ATRNSession struct {
	queue *Queue
	kept  []kept
}

// kept is a message and the destination that it is kept for.
type kept struct{ id, key string }

// Claim claims what is kept for the domains that match. Of two claims to the same domain the second fails. Errors:
// ErrNoMail, ErrBusy.
func (q *Queue) Claim(match func(r *route.Route, domain addr.Domain) bool) (*ATRNSession, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := &ATRNSession{queue: q}
	busy := q.running == nil || len(q.ids) > 0 // not all is read yet
	for key, d := range q.destinations {
		if !d.route.Hold || !match(d.route, d.domain) {
			continue
		}
		if q.claimed[key] {
			return nil, ErrBusy
		}
		busy = busy || d.trying > 0 || len(d.released) > 0
		for _, p := range d.waiting {
			t.kept = append(t.kept, kept{p.entry.id, key})
		}
	}
	if len(t.kept) == 0 && !busy {
		return nil, ErrNoMail
	}
	if len(t.kept) == 0 || q.running == nil {
		return nil, ErrBusy
	}
	slices.SortFunc(t.kept, func(a, b kept) int { return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.key, b.key)) })
	for _, k := range t.kept {
		q.claimed[k.key] = true
	}
	return t, nil
}

// Messages is how many there are to be sent; one for two domains counts twice.
func (t *ATRNSession) Messages() int { return len(t.kept) }

// Run sends one message after the other, the oldest first, until all are sent, one finds the other side unreachable, or
// the queue is told to stop. What is deferred stays kept, and what comes meanwhile.
func (t *ATRNSession) Run(via Deliverer) {
	defer t.giveBack()
	q := t.queue
	q.mu.Lock()
	running := q.running
	if running != nil {
		q.work.Add(1)
		defer q.work.Done()
	}
	q.mu.Unlock()
	for _, k := range t.kept {
		if running == nil || !t.send(running, k, via) {
			return
		}
	}
}

// send sends one message and reports whether there is any sense in the next.
func (t *ATRNSession) send(ctx context.Context, k kept, via Deliverer) bool {
	q := t.queue
	q.mu.Lock()
	d, p := q.destinations[k.key], q.keptPlace(k)
	stop := q.running == nil
	if stop || p == nil {
		q.mu.Unlock()
		return !stop
	}
	heap.Remove(&d.waiting, p.at)
	p.state, p.due = trying, flushed
	d.trying++
	way := d.route
	q.mu.Unlock()

	reached := q.tryContained(ctx, d, p, way, via)

	q.mu.Lock()
	defer q.mu.Unlock()
	d.trying--
	q.start(d)
	q.prune(d)
	q.wakeUp()
	return reached
}

// keptPlace is where a message waits that was claimed; nil where it does no more. It needs mu held.
func (q *Queue) keptPlace(k kept) *place {
	d, e := q.destinations[k.key], q.entries[k.id]
	if d == nil || e == nil || !d.route.Hold {
		return nil
	}
	i := slices.IndexFunc(e.places, func(p *place) bool { return p.dest == d && p.state == waiting })
	if i < 0 {
		return nil
	}
	return e.places[i]
}

func (t *ATRNSession) giveBack() {
	t.queue.mu.Lock()
	defer t.queue.mu.Unlock()
	for _, k := range t.kept {
		delete(t.queue.claimed, k.key)
	}
}
