package queue

import (
	"context"

	"pillarbox/mailstore/caught"
	"pillarbox/smtp"
	"pillarbox/smtp/route"
)

// tryContained is try for a message that may bring the program to a panic. Then it is
// put aside, and counts as reached: the destination is not to blame.
func (q *Queue) tryContained(ctx context.Context, d *destination, p *place, way *route.Route, via Deliverer) (reached bool) {
	reached = true
	id := p.entry.id
	q.contain(id, func() { reached = q.try(ctx, d, p, way, via) })
	return reached
}

// contain does something to a message. A panic puts the message aside, into the
// quarantine, so that it does not end the server now, at the next try, or at the next
// start. It must be called without a lock.
func (q *Queue) contain(id string, do func()) {
	err := caught.Do(func() error { do(); return nil })
	if err == nil {
		return
	}
	l := q.take(id)
	defer q.drop(id, l)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over {
		q.quarantine(id, err)
		l.over, l.dirty = true, false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if e := q.entries[id]; e != nil {
		for _, p := range e.places {
			if p.state == trying {
				p.state = gone
			}
		}
		e.places = nil
		q.forgetWhole(e)
	}
}

// forgetWhole takes a message out of the index whatever state its places are in. It
// needs mu held.
func (q *Queue) forgetWhole(e *entry) {
	for _, d := range q.destinations {
		for _, p := range append(append([]*place{}, d.waiting...), d.released...) {
			if p.entry == e {
				q.unplace(p)
			}
		}
	}
	q.forget(e)
}

// deliverContained makes an attempt. Where it comes to a panic, the message is held
// until an administrator releases it; held reports that.
func (q *Queue) deliverContained(ctx context.Context, a *smtp.Attempt, via Deliverer) (outcome smtp.Outcome, held bool) {
	err := caught.Do(func() error { outcome = q.deliver(ctx, a, via); return nil })
	if err == nil {
		return outcome, false
	}
	caught.Log(q.Log, err, "a message in the queue is held: the program goes wrong when it is sent; 'pillarbox admin queue release' tries again",
		"id", a.ID, "destination", a.Destination)
	reply := smtp.NewReply(451, [3]int{4, 3, 0}, "The message cannot be sent: a mistake of this server's program; it is held")
	return a.SameForAll(smtp.Result{Reply: *reply}), true
}
