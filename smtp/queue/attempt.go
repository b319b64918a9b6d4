package queue

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"pillarbox/mailstore/track"
	"pillarbox/smtp"
	"pillarbox/smtp/dsn"
	"pillarbox/smtp/route"
)

// errNoMessage is the reason why a state without a message goes into quarantine.
var errNoMessage = fmt.Errorf("%w: its message is missing or not a plain file", ErrCorrupt)

// try makes one attempt for one message and destination. It reports whether the destination was
// reached.
func (q *Queue) try(
	ctx context.Context, d *destination, p *slot, rt *route.Route, via Deliverer,
) (reached bool) {
	e, l := p.entry, p.fresh
	if p.fresh = nil; l == nil {
		l = q.acquire(e.id)
	}
	defer q.release(e.id, l)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := q.load(e.id, l); err != nil {
		q.finishSlot(e, p)
		q.dropUnreadable(e, err)
		return true
	}
	which := q.dueRecipients(d, l, p.due)
	limit := perTransaction(rt)
	reached = true
	var missing bool
	l.setBusy(which, true) // all: others use the item between chunks
	for part := range slices.Chunk(which, limit) {
		if l.dirty || missing || l.removed || l.item.Held || ctx.Err() != nil {
			break
		}
		began := q.now()
		a := smtp.Attempt{
			ID: e.id, Destination: d.key, Domain: l.item.To[part[0]].Address.Domain,
			Envelope: l.item.envelope(part), Size: l.item.Size, Local: l.item.Source.Local,
			Open: func() (io.ReadCloser, error) {
				r, _, err := q.Spool.Open(e.id)
				missing = missing || err != nil && !temporary(err)
				return r, err
			},
		}
		l.mu.Unlock()
		outcome, held := q.deliverContained(ctx, &a, via)
		l.mu.Lock()
		if held {
			q.holdItem(e, l)
		}
		if !missing {
			t := tried{
				dest: d, rt: rt, which: part, manual: p.due == flushed, began: began,
				stopped: ctx.Err() != nil,
			}
			q.applyResults(l, &t, outcome)
			q.recordReach(l, &t, outcome.Unreachable)
			q.logResults(l, &t, outcome)
		}
		if reached = !outcome.Unreachable; !reached {
			break
		}
	}
	l.setBusy(which, false)
	q.finishSlot(e, p)
	if missing {
		q.dropUnreadable(e, q.quarantine(e.id, errNoMessage))
		return reached
	}
	if len(l.busy) == 0 { // the last attempt's report covers all recipients that failed meanwhile
		q.sendDSNs(l)
	}
	q.save(e, l)
	return reached
}

// holdItem admin-holds a message.
func (q *Queue) holdItem(e *entry, l *live) {
	l.item.Held = true
	q.mu.Lock()
	defer q.mu.Unlock()
	e.held = true
}

func (l *live) setBusy(which []int, busy bool) {
	if l.busy == nil {
		l.busy = make(map[int]bool)
	}
	for _, i := range which {
		if busy {
			l.busy[i] = true
		} else {
			delete(l.busy, i)
		}
	}
}

// deliver makes the attempt and lists it in Active meanwhile.
func (q *Queue) deliver(ctx context.Context, a *smtp.Attempt, via Deliverer) smtp.Outcome {
	seen := &Active{ID: a.ID, Destination: a.Destination, Size: a.Size, Since: time.Now()}
	for _, r := range a.Envelope.To {
		seen.To = append(seen.To, r.Address.String())
	}
	q.mu.Lock()
	q.active[seen] = struct{}{}
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.active, seen)
	}()
	return via.Deliver(ctx, *a)
}

// dueRecipients returns the indexes of the recipients at this destination that are due. due is the
// slot's time: flushed makes all of them due.
func (q *Queue) dueRecipients(d *destination, l *live, due int64) (which []int) {
	now := q.now()
	if l.item.Held {
		return nil
	}
	for i := range l.item.To {
		r := &l.item.To[i]
		if !r.pending() || l.busy[i] || destinationKey(q.routeOf(r), r.Address.Domain) != d.key {
			continue
		}
		if !r.Next.After(now) || due == flushed {
			which = append(which, i)
		}
	}
	return which
}

// finishSlot removes a slot from its message after the attempt.
func (q *Queue) finishSlot(e *entry, p *slot) {
	q.mu.Lock()
	defer q.mu.Unlock()
	p.state = gone
	e.slots = slices.DeleteFunc(e.slots, func(other *slot) bool { return other == p })
}

// tried is an attempt that has ended.
type tried struct {
	dest    *destination
	rt      *route.Route
	which   []int // indexes of recipients
	manual  bool  // flush or retry: it was not due, and lengthens no wait
	began   time.Time
	stopped bool // the queue is stopping
}

// applyResults stores the attempt's results in the item.
func (q *Queue) applyResults(l *live, t *tried, outcome smtp.Outcome) {
	now := q.now()
	for n, i := range t.which {
		r := &l.item.To[i]
		result := resultOf(outcome, n)
		if t.stopped && result.Status == smtp.Deferred && result.MTA == "" {
			continue // this server's stop: retried after the next start
		}
		if !t.manual || r.Attempts == 0 {
			r.Attempts++
		} else {
			r.ByHand++
		}
		r.Last = &Last{Time: now.Round(0), Reply: result.Reply, MTA: result.MTA}
		if result.Status == smtp.Deferred {
			r.Next = now.Add(t.rt.Schedule.Wait(r.Attempts, l.item.ID)).Round(0)
		} else {
			l.item.conclude(r, result)
		}
	}
}

func resultOf(outcome smtp.Outcome, n int) smtp.Result {
	if n < len(outcome.Results) {
		return outcome.Results[n]
	}
	return smtp.Result{Reply: *smtp.NewReply(451, [3]int{4, 3, 0}, "No result")}
}

// conclude ends the delivery for a recipient, and sets the report that the sender must get.
func (it *Item) conclude(r *Recipient, result smtp.Result) {
	r.Done, r.Next = doneDelivered, time.Time{}
	if result.Status == smtp.Failed {
		r.Done = doneFailed
	}
	if result.MTA == "" && result.Status == smtp.Delivered {
		result.MTA = "the next server" // else dsn.Required takes it for a local mailbox
	}
	r.PendingDSN = dsn.Required(it.envelope(nil), r.RCPT(), result)
	if it.From.IsZero() && result.Status == smtp.Failed {
		r.PendingDSN = dsn.Failed // Report keeps the message
	}
}

// logResults logs one line for each recipient.
func (q *Queue) logResults(l *live, t *tried, outcome smtp.Outcome) {
	for n, i := range t.which {
		r, result := &l.item.To[i], resultOf(outcome, n)
		args := []any{"message_id", l.item.ID, "from", l.item.From.String(), "to", r.Address.String(),
			"route", t.rt.Name, "server", result.MTA, "reply", result.Reply.Error(),
			"attempt", r.Tries()}
		e := itemEvent(track.Deferred, l.item, r)
		e.Took = max(0, q.now().Sub(t.began))
		e.Route, e.Host, e.Reply, e.Next = t.rt.Name, result.MTA, result.Reply.Error(), r.Next
		switch result.Status {
		case smtp.Delivered:
			e.Kind = track.Relayed
			q.Log.Info("message sent", args...)
		case smtp.Failed:
			e.Kind = track.Failed
			q.Log.Warn("message cannot be delivered", args...)
		default:
			q.Log.Info("message deferred", append(args, "next", r.Next)...)
		}
		q.Track.Add(e)
	}
}

// itemEvent returns an event of a queued message; r may be nil.
func itemEvent(kind track.Kind, item *Item, r *Recipient) track.Event {
	e := track.Event{Kind: kind, ID: item.ID, From: item.From.String(), Size: item.Size}
	if r != nil {
		e.To, e.Count = r.Address.String(), int64(r.Tries())
		if r.Last != nil {
			e.Reply, e.Host = r.Last.Reply.Error(), r.Last.MTA
		}
	}
	return e
}

// recordReach updates the destination's back-off. If it was unreachable, all its messages wait: the
// schedule sets how long after this many failures.
func (q *Queue) recordReach(l *live, t *tried, unreachable bool) {
	if t.stopped {
		return
	}
	now, d := q.now(), t.dest
	q.mu.Lock()
	defer q.mu.Unlock()
	if !unreachable {
		d.failures, d.notBefore, d.last = 0, time.Time{}, nil
		d.proven = true
		d.window++
		return
	}
	first := &l.item.To[t.which[0]]
	d.last = first.Last
	q.recallLocked(d)
	if !t.began.Before(d.failedAt) { // else it failed at the same time as another attempt
		if !t.manual || d.failures == 0 {
			d.failures++
		}
		// After a restart only the message knows how often it failed.
		d.failures = max(d.failures, first.Attempts)
		d.failedAt, d.window = now, firstWindow
		d.notBefore = now.Add(t.rt.Schedule.Wait(d.failures, d.key)).Round(0) // wall clock only
	}
	for _, i := range t.which {
		if r := &l.item.To[i]; r.pending() {
			r.Next = d.notBefore.Round(0)
		}
	}
}

func perTransaction(r *route.Route) int {
	if r.Recipients > 0 {
		return r.Recipients
	}
	return 100
}
