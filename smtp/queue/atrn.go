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

// Errors of Claim.
var (
	ErrNoMail = errors.New("no mail waits for these domains")
	ErrBusy   = errors.New("the mail for these domains is being sent, or cannot be sent now")
)

// ATRNSession reserves the ETRN-held mail (route.Route.Hold) of some domains. Run sends it over the
// connection on which the other server gave ATRN (RFC 2645), and ends the reservation. The caller
// must call Run.
type ATRNSession struct {
	queue    *Queue
	messages []heldMessage
}

// heldMessage is a message and the destination where it is ETRN-held.
type heldMessage struct{ id, key string }

// Claim claims the ETRN-held mail of all domains that match. A domain can have one claim at a time.
// Errors: ErrNoMail, ErrBusy.
func (q *Queue) Claim(match func(r *route.Route, domain addr.Domain) bool) (*ATRNSession, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := &ATRNSession{queue: q}
	busy := q.running == nil || len(q.ids) > 0 // Run has not read all states yet
	for key, d := range q.destinations {
		if !d.route.Hold || !match(d.route, d.domain) {
			continue
		}
		if q.claimed[key] {
			return nil, ErrBusy
		}
		busy = busy || d.trying > 0 || len(d.released) > 0
		for _, p := range d.waiting {
			t.messages = append(t.messages, heldMessage{p.entry.id, key})
		}
	}
	if len(t.messages) == 0 && !busy {
		return nil, ErrNoMail
	}
	if len(t.messages) == 0 || q.running == nil {
		return nil, ErrBusy
	}
	slices.SortFunc(t.messages, func(a, b heldMessage) int {
		return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.key, b.key))
	})
	for _, m := range t.messages {
		q.claimed[m.key] = true
	}
	return t, nil
}

// Messages returns how many messages are claimed. One for two domains counts twice.
func (t *ATRNSession) Messages() int { return len(t.messages) }

// Run sends the messages one by one, the oldest first. It ends after the last, when the other side
// is unreachable, or when the queue stops. Deferred messages and new ones stay ETRN-held.
func (t *ATRNSession) Run(via Deliverer) {
	defer t.unclaim()
	q := t.queue
	q.mu.Lock()
	running := q.running
	if running != nil {
		q.work.Add(1)
		defer q.work.Done()
	}
	q.mu.Unlock()
	for _, m := range t.messages {
		if running == nil || !t.send(running, m, via) {
			return
		}
	}
}

// send sends one message, and reports whether the next one is worth a try.
func (t *ATRNSession) send(ctx context.Context, m heldMessage, via Deliverer) bool {
	q := t.queue
	q.mu.Lock()
	d, p := q.destinations[m.key], q.heldSlotLocked(m)
	stop := q.running == nil
	if stop || p == nil {
		q.mu.Unlock()
		return !stop
	}
	heap.Remove(&d.waiting, p.at)
	p.state, p.due = trying, flushed
	d.trying++
	rt := d.route
	q.mu.Unlock()

	reached := q.tryContained(ctx, d, p, rt, via)

	q.mu.Lock()
	defer q.mu.Unlock()
	d.trying--
	q.startWorkersLocked(d)
	q.pruneLocked(d)
	q.wakeUp()
	return reached
}

// heldSlotLocked returns the slot of a claimed message; nil if it no longer waits.
func (q *Queue) heldSlotLocked(m heldMessage) *slot {
	d, e := q.destinations[m.key], q.entries[m.id]
	if d == nil || e == nil || !d.route.Hold {
		return nil
	}
	i := slices.IndexFunc(e.slots, func(p *slot) bool { return p.dest == d && p.state == waiting })
	if i < 0 {
		return nil
	}
	return e.slots[i]
}

func (t *ATRNSession) unclaim() {
	t.queue.mu.Lock()
	defer t.queue.mu.Unlock()
	for _, m := range t.messages {
		delete(t.queue.claimed, m.key)
	}
}
