package queue

import (
	"context"

	"pillarbox/mailstore/caught"
	"pillarbox/smtp"
	"pillarbox/smtp/route"
)

// tryContained is try for a message that may cause a panic. After a panic the message is in
// quarantine, and the destination counts as reached: it is not at fault.
func (q *Queue) tryContained(
	ctx context.Context, d *destination, p *slot, rt *route.Route, via Deliverer,
) (reached bool) {
	reached = true
	id := p.entry.id
	q.contain(id, func() { reached = q.try(ctx, d, p, rt, via) })
	return reached
}

// contain runs do, which works on one message. A panic puts the message into quarantine; otherwise
// it would end the server again at each try and each start. The caller must hold neither Queue.mu
// nor a live.mu. It may hold Queue.seenMu, as watchClock does, if do does not take that.
func (q *Queue) contain(id string, do func()) {
	err := caught.Do(func() error { do(); return nil })
	if err == nil {
		return
	}
	l := q.acquire(id)
	defer q.release(id, l)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.removed {
		q.quarantine(id, err)
		l.removed, l.dirty = true, false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if e := q.entries[id]; e != nil {
		for _, p := range e.slots {
			if p.state == trying {
				p.state = gone
			}
		}
		e.slots = nil
		q.forgetEverywhereLocked(e)
	}
}

// forgetEverywhereLocked removes a message from the index, whatever the state of its slots.
func (q *Queue) forgetEverywhereLocked(e *entry) {
	for _, d := range q.destinations {
		for _, p := range append(append([]*slot{}, d.waiting...), d.released...) {
			if p.entry == e {
				q.removeSlotLocked(p)
			}
		}
	}
	q.forgetLocked(e)
}

// deliverContained makes an attempt. held reports that it caused a panic; the caller must then
// admin-hold the message.
func (q *Queue) deliverContained(
	ctx context.Context, a *smtp.Attempt, via Deliverer,
) (outcome smtp.Outcome, held bool) {
	err := caught.Do(func() error { outcome = q.deliver(ctx, a, via); return nil })
	if err == nil {
		return outcome, false
	}
	caught.Log(q.Log, err, "a queued message is held: the program fails when it sends it; "+
		"'pillarbox admin queue release' tries again",
		"message_id", a.ID, "destination", a.Destination)
	reply := smtp.NewReply(451, [3]int{4, 3, 0},
		"The message cannot be sent because of a fault in this server; it is held")
	return a.SameForAll(smtp.Result{Reply: *reply}), true
}
