package queue

import (
	"container/heap"
	"time"

	"pillarbox/mailstore/track"
	"pillarbox/smtp"
	"pillarbox/smtp/dsn"
	"pillarbox/smtp/route"
)

// Expires returns when the queue gives up on a recipient that has this route.
func (it *Item) Expires(rt *route.Route) time.Time { return it.since().Add(expireAfter(rt)) }

// expireAfter is how long mail with this route is tried.
func expireAfter(r *route.Route) time.Duration {
	if r.Schedule.Expire > 0 {
		return r.Schedule.Expire
	}
	return route.DefaultSchedule().Expire
}

// deadline is when a pending recipient needs a report: of delay, or because its time expired.
func (q *Queue) deadline(item *Item, r *Recipient) time.Time {
	at := q.scheduledDeadline(item, r)
	if earliest := q.graceEnd(item); at.Before(earliest) {
		return earliest
	}
	return at
}

func (q *Queue) scheduledDeadline(item *Item, r *Recipient) time.Time {
	rt := q.routeOf(r)
	delay := rt.Schedule.DelayNotice
	if delay > 0 && delay < expireAfter(rt) && !r.DelaySent && q.wantsDelay(item, r) {
		return item.since().Add(delay)
	}
	return item.Expires(rt)
}

func (q *Queue) wantsDelay(item *Item, r *Recipient) bool {
	return !item.From.IsZero() && dsn.Wanted(r.Notify, dsn.OnDelay)
}

// graceEnd is the earliest deadline of a message that an earlier run left. It is zero if the
// message came in this run or startGrace is over.
func (q *Queue) graceEnd(item *Item) time.Time {
	now, runs := q.now().Round(0), time.Since(q.began)
	if runs >= startGrace || now.Sub(item.since()) <= runs {
		return time.Time{}
	}
	return now.Add(startGrace - runs)
}

// handleOverdue makes the reports that are due for a message, and expires recipients.
func (q *Queue) handleOverdue(e *entry) {
	q.watchClock() // perhaps it is overdue only because the clock was set
	l := q.acquire(e.id)
	defer q.release(e.id, l)
	l.mu.Lock()
	defer l.mu.Unlock()
	if q.entryOf(e.id) != e {
		return // it left the queue meanwhile
	}
	if err := q.load(e.id, l); err != nil {
		q.dropUnreadable(e, err)
		return
	}
	now := q.now()
	busy, changed := false, l.dirty
	for i := range l.item.To {
		r := &l.item.To[i]
		if !r.pending() || l.item.Held || now.Before(q.deadline(l.item, r)) {
			continue
		}
		if l.busy[i] { // the attempt's result decides
			busy = true
			continue
		}
		q.delayOrExpire(l.item, r, now)
		changed = true
	}
	for i := range l.item.To {
		changed = changed || l.item.To[i].PendingDSN != ""
	}
	if changed {
		q.sendDSNs(l)
		q.save(e, l)
	} else {
		q.mu.Lock()
		q.fileLocked(e, l)
		q.mu.Unlock()
	}
	if busy {
		q.mu.Lock()
		q.setDeadlineLocked(e, now.Add(diskRetryDelay))
		q.mu.Unlock()
	}
}

// delayOrExpire prepares the report of delay for a recipient, or ends its delivery.
func (q *Queue) delayOrExpire(item *Item, r *Recipient, now time.Time) {
	rt := q.routeOf(r)
	last := q.lastAttempt(r)
	if now.Before(item.Expires(rt)) {
		r.DelaySent, r.PendingDSN = true, dsn.Delayed
		r.Last = last
		return
	}
	r.Last = last // the report names the reason of the last attempt
	item.conclude(r, smtp.Result{Status: smtp.Failed, Reply: last.Reply, MTA: last.MTA})
	q.Log.Warn("message expired", "message_id", item.ID, "from", item.From.String(),
		"to", r.Address.String(), "after", expireAfter(rt), "reply", last.Reply.Error())
	e := itemEvent(track.Expired, item, r)
	e.Text = "not delivered within " + expireAfter(rt).String()
	q.Track.Add(e)
}

// lastAttempt returns why a recipient is pending: its last attempt, or its destination's, or that
// its route waits.
func (q *Queue) lastAttempt(r *Recipient) *Last {
	if r.Last != nil {
		return r.Last
	}
	rt := q.routeOf(r)
	q.mu.Lock()
	defer q.mu.Unlock()
	if d := q.destinations[destinationKey(rt, r.Address.Domain)]; d != nil && d.last != nil {
		return d.last
	}
	reply := smtp.NewReply(451, [3]int{4, 4, 7},
		"No delivery was tried yet: mail for this destination is sent at set times")
	if rt.Hold {
		reply.Text = "No delivery was tried yet: mail for this destination waits until " +
			"its server asks for it"
	}
	return &Last{Time: q.now().Round(0), Reply: *reply}
}

// refile gives a message new slots, after the routes changed.
func (q *Queue) refile(id string) {
	l := q.acquire(id)
	defer q.release(id, l)
	l.mu.Lock()
	defer l.mu.Unlock()
	err := q.load(id, l)
	q.mu.Lock()
	e := q.entries[id]
	if e != nil && err == nil {
		before := make(map[*destination]bool)
		for _, p := range e.slots {
			before[p.dest] = true
		}
		q.fileLocked(e, l)
		for _, p := range e.slots {
			// At a new destination, failures at the old one do not count.
			if p.state == waiting && !before[p.dest] {
				p.due = flushed
				heap.Fix(&p.dest.waiting, p.at)
				q.startWorkersLocked(p.dest)
			}
		}
	}
	q.mu.Unlock()
	if e != nil && err != nil {
		q.dropUnreadable(e, err)
	}
}
