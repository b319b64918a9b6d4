package queue

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"pillarbox/mailstore"
	"pillarbox/smtp"
	"pillarbox/smtp/dsn"
	"pillarbox/smtp/route"
)

// live is an item that somebody works on: attempts for several destinations, the clock, an administrator.
type live struct {
	refs int // guarded by the queue's mu

	mu    lock
	item  *Item        // nil: not read yet
	taken map[int]bool // recipients that an attempt is under way for
	dirty bool         // the item is not on disk as it is; it stays in memory until it is
	over  bool         // it has left the queue
}

func newLive(item *Item) *live { return &live{mu: make(lock, 1), item: item} }

// lock is a mutex that is held while the disk works and a report is delivered. Waiting for it is waiting for a channel, so
// that a test in virtual time does not stand still while it is held.
type lock chan struct{}

func (l lock) Lock()   { l <- struct{}{} }
func (l lock) Unlock() { <-l }

// take gives a message's item to be worked on; drop gives it back.
func (q *Queue) take(id string) *live {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.live[id]
	if l == nil {
		l = newLive(nil)
		q.live[id] = l
	}
	l.refs++
	return l
}

func (q *Queue) drop(id string, l *live) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.letGo(id, l)
}

// letGo needs the queue's mu held.
func (q *Queue) letGo(id string, l *live) {
	if l.refs--; l.refs == 0 && !l.dirty && q.live[id] == l {
		delete(q.live, id)
	}
}

// load reads the item unless it is there. It needs l.mu held, like all below.
func (q *Queue) load(id string, l *live) error {
	if l.over {
		return mailstore.ErrNotSpooled
	}
	if l.item == nil {
		item, err := q.read(id)
		if err != nil {
			return err
		}
		q.mendOnDisk(item)
		l.item = item
	}
	return nil
}

// lost takes a message out of the index whose item cannot be had, or makes it come back later.
func (q *Queue) lost(e *entry, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !temporary(err) {
		q.forget(e)
		return
	}
	q.unplaceAll(e)
	q.comeBack(e, err) // it gets its places then
}

// settle commits what an item has become and gives the message its new places. What is owed to its sender is paid before.
func (q *Queue) settle(e *entry, l *live) { q.settleAndPay(e, l, true) }

func (q *Queue) settleAndPay(e *entry, l *live, pay bool) {
	if l.over {
		return // taken away by hand meanwhile
	}
	if pay {
		q.pay(l)
	}
	err := q.commit(l)
	q.mu.Lock()
	defer q.mu.Unlock()
	l.dirty = err != nil
	switch {
	case err != nil:
		q.Log.Error("the state of a message in the queue cannot be written; this is tried again", "id", e.id, "error", err)
		q.unplaceAll(e)
		q.setDeadline(e, q.now().Add(again))
	case l.over:
		q.forget(e)
	default:
		q.file(e, l)
	}
	q.wakeUp()
}

func (q *Queue) commit(l *live) error {
	if !l.item.finished() {
		return q.Spool.Update(l.item.ID, l.item.Encode())
	}
	err := q.Spool.Remove(l.item.ID)
	l.over = err == nil
	return err
}

// pay makes the reports that are owed. What cannot be made now stays owed.
func (q *Queue) pay(l *live) {
	for _, action := range []dsn.Action{dsn.Failed, dsn.Relayed, dsn.Delayed} {
		notice := DSNRequest{Item: l.item, Action: action}
		var owed []*Recipient
		for i := range l.item.To {
			if r := &l.item.To[i]; r.PendingDSN == action {
				owed = append(owed, r)
				notice.Recipients = append(notice.Recipients, *r)
				notice.RetryUntil = l.item.Expires(q.routeOf(r))
			}
		}
		if len(owed) == 0 {
			continue
		}
		// A panic of the report's is contained with the whole message: without a report it must not go.
		if err := q.Report(notice); err != nil {
			q.Log.Error("a report to the sender cannot be made; this is tried again", "id", l.item.ID, "report", action, "error", err)
			continue
		}
		for _, r := range owed {
			r.PendingDSN = ""
		}
	}
}

// errNoMessage is why a state goes into quarantine that has no message.
var errNoMessage = fmt.Errorf("%w: its message is missing, or is no plain file", ErrCorrupt)

// attempt is one that is under way.
type attempt struct {
	id    string
	dest  string
	to    []string
	since time.Time
	size  int64
}

// try brings one message to one destination, and reports whether that could be reached.
func (q *Queue) try(ctx context.Context, d *destination, p *place, way *route.Route, via Deliverer) (reached bool) {
	e, l := p.entry, p.fresh
	if p.fresh = nil; l == nil {
		l = q.take(e.id)
	}
	defer q.drop(e.id, l)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := q.load(e.id, l); err != nil {
		q.leave(e, p)
		q.lost(e, err)
		return true
	}
	which := q.dueFor(d, l, p.due)
	limit := perTransaction(way)
	reached = true
	var missing bool
	l.mark(which, true) // all of them: between the parts others work on the message
	for part := range slices.Chunk(which, limit) {
		if l.dirty || missing || l.over || l.item.Held || ctx.Err() != nil {
			break
		}
		began := q.now()
		a := smtp.Attempt{
			ID: e.id, Destination: d.key, Domain: l.item.To[part[0]].Address.Domain, Envelope: l.item.envelope(part), Size: l.item.Size, Local: l.item.Source.Local,
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
			q.holdBack(e, l)
		}
		if !missing {
			t := tried{dest: d, way: way, which: part, byHand: p.due == flushed, began: began, stopped: ctx.Err() != nil}
			q.apply(l, &t, outcome)
			q.noteReach(l, &t, outcome.Unreachable)
			q.say(l, &t, outcome)
		}
		if reached = !outcome.Unreachable; !reached {
			break
		}
	}
	l.mark(which, false)
	q.leave(e, p)
	if missing {
		q.lost(e, q.quarantine(e.id, errNoMessage))
		return reached
	}
	// Who failed elsewhere at the same time is told in the same report.
	q.settleAndPay(e, l, len(l.taken) == 0)
	return reached
}

// holdBack holds a message as an administrator would.
func (q *Queue) holdBack(e *entry, l *live) {
	l.item.Held = true
	q.mu.Lock()
	defer q.mu.Unlock()
	e.held = true
}

func (l *live) mark(which []int, taken bool) {
	if l.taken == nil {
		l.taken = make(map[int]bool)
	}
	for _, i := range which {
		if taken {
			l.taken[i] = true
		} else {
			delete(l.taken, i)
		}
	}
}

// deliver makes the attempt, where it can be seen.
func (q *Queue) deliver(ctx context.Context, a *smtp.Attempt, via Deliverer) smtp.Outcome {
	seen := &attempt{id: a.ID, dest: a.Destination, since: time.Now(), size: a.Size}
	for _, r := range a.Envelope.To {
		seen.to = append(seen.to, r.Address.String())
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

// dueFor are the recipients that a message is to be brought to now. A place that was let go by a flush has been given the
// time of the flush.
func (q *Queue) dueFor(d *destination, l *live, since int64) (which []int) {
	now := q.now()
	if l.item.Held {
		return nil
	}
	for i := range l.item.To {
		r := &l.item.To[i]
		if !r.waits() || l.taken[i] || destinationKey(q.routeOf(r), r.Address.Domain) != d.key {
			continue
		}
		if !r.Next.After(now) || since == flushed {
			which = append(which, i)
		}
	}
	return which
}

// leave takes a place that was tried out of its message.
func (q *Queue) leave(e *entry, p *place) {
	q.mu.Lock()
	defer q.mu.Unlock()
	p.state = gone
	e.places = slices.DeleteFunc(e.places, func(other *place) bool { return other == p })
}

// tried is an attempt that has ended.
type tried struct {
	dest    *destination
	way     *route.Route
	which   []int // recipients
	byHand  bool  // it was not its turn: that lengthens no wait
	began   time.Time
	stopped bool // the server ends
}

// apply notes what came of an attempt.
func (q *Queue) apply(l *live, t *tried, outcome smtp.Outcome) {
	now := q.now()
	for n, i := range t.which {
		r := &l.item.To[i]
		result := resultOf(outcome, n)
		if t.stopped && result.Status == smtp.Deferred && result.MTA == "" {
			continue // not the other side's fault; it begins anew at the next start
		}
		if !t.byHand || r.Attempts == 0 {
			r.Attempts++
		}
		r.Last = &Last{Time: now.Round(0), Reply: result.Reply, MTA: result.MTA}
		if result.Status == smtp.Deferred {
			r.Next = now.Add(t.way.Schedule.Wait(r.Attempts, l.item.ID)).Round(0)
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

// conclude notes that nothing is left to be tried for a recipient, and what its sender is owed.
func (it *Item) conclude(r *Recipient, result smtp.Result) {
	r.Done, r.Next = doneDelivered, time.Time{}
	if result.Status == smtp.Failed {
		r.Done = doneFailed
	}
	if result.MTA == "" && result.Status == smtp.Delivered {
		result.MTA = "the next server" // PendingDSN would take it for a mailbox here
	}
	r.PendingDSN = dsn.Required(it.envelope(nil), r.RCPT(), result)
	if it.From.IsZero() && result.Status == smtp.Failed {
		r.PendingDSN = dsn.Failed // to be kept aside
	}
}

// say writes the lines of the log.
func (q *Queue) say(l *live, t *tried, outcome smtp.Outcome) {
	for n, i := range t.which {
		r, result := &l.item.To[i], resultOf(outcome, n)
		args := []any{"id", l.item.ID, "from", l.item.From.String(), "to", r.Address.String(), "route", t.way.Name,
			"server", result.MTA, "reply", result.Reply.Error(), "attempt", r.Attempts}
		switch result.Status {
		case smtp.Delivered:
			q.Log.Info("message sent", args...)
		case smtp.Failed:
			q.Log.Warn("message cannot be delivered", args...)
		default:
			q.Log.Info("message deferred", append(args, "next", r.Next)...)
		}
	}
}

// noteReach notes whether a destination could be reached. If not, all wait that is for it, as long as a message does that
// failed as often.
func (q *Queue) noteReach(l *live, t *tried, unreachable bool) {
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
	q.recall(d)
	if !t.began.Before(d.failedAt) { // else it failed together with another
		if !t.byHand || d.failures == 0 {
			d.failures++
		}
		d.failures = max(d.failures, first.Attempts) // after a restart the message remembers better
		d.failedAt, d.window = now, firstWindow
		d.notBefore = now.Add(t.way.Schedule.Wait(d.failures, d.key)).Round(0) // the wall clock's, as all times here
	}
	for _, i := range t.which {
		if r := &l.item.To[i]; r.waits() {
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
