package queue

import (
	"container/heap"
	"time"

	"pillarbox/smtp"
	"pillarbox/smtp/dsn"
	"pillarbox/smtp/route"
)

// GivenUp is when a message is given up that still waits then for a recipient of this route.
func (it *Item) Expires(way *route.Route) time.Time { return it.since().Add(expiry(way)) }

// expiry is how long mail is tried.
func expiry(r *route.Route) time.Duration {
	if r.Schedule.Expire > 0 {
		return r.Schedule.Expire
	}
	return route.DefaultSchedule().Expire
}

// deadline is when a recipient that waits is to be looked at without an attempt: to tell the sender that it takes longer, or that
// it is given up.
func (q *Queue) deadline(item *Item, r *Recipient) time.Time {
	at := q.deadlineOf(item, r)
	if earliest := q.earliest(item); at.Before(earliest) {
		return earliest
	}
	return at
}

func (q *Queue) deadlineOf(item *Item, r *Recipient) time.Time {
	way := q.routeOf(r)
	if delay := way.Schedule.DelayNotice; delay > 0 && delay < expiry(way) && !r.Told && q.wantsDelay(item, r) {
		return item.since().Add(delay)
	}
	return item.Expires(way)
}

func (q *Queue) wantsDelay(item *Item, r *Recipient) bool {
	return !item.From.IsZero() && dsn.Wanted(r.Notify, dsn.OnDelay)
}

// earliest is before when a message that an earlier run has left is not given up.
func (q *Queue) earliest(item *Item) time.Time {
	now, runs := q.now().Round(0), time.Since(q.began)
	if runs >= startGrace || now.Sub(item.since()) <= runs {
		return time.Time{}
	}
	return now.Add(startGrace - runs)
}

// remind does for a message whose time has come what is to be done.
func (q *Queue) remind(e *entry) {
	q.watchClock() // what makes it overdue may be the clock alone
	l := q.take(e.id)
	defer q.drop(e.id, l)
	l.mu.Lock()
	defer l.mu.Unlock()
	if q.entryOf(e.id) != e {
		return // it has left meanwhile
	}
	if err := q.load(e.id, l); err != nil {
		q.lost(e, err)
		return
	}
	now := q.now()
	busy, changed := false, l.dirty
	for i := range l.item.To {
		r := &l.item.To[i]
		if !r.waits() || l.item.Held || now.Before(q.deadline(l.item, r)) {
			continue
		}
		if l.taken[i] { // what comes of the attempt decides
			busy = true
			continue
		}
		q.fallDue(l.item, r, now)
		changed = true
	}
	for i := range l.item.To {
		changed = changed || l.item.To[i].PendingDSN != ""
	}
	if changed {
		q.settle(e, l)
	} else {
		q.mu.Lock()
		q.file(e, l)
		q.mu.Unlock()
	}
	if busy {
		q.mu.Lock()
		q.setDeadline(e, now.Add(again))
		q.mu.Unlock()
	}
}

// fallDue tells the sender that a recipient's message takes longer, or gives it up.
func (q *Queue) fallDue(item *Item, r *Recipient, now time.Time) {
	way := q.routeOf(r)
	last := q.lastOf(r)
	if now.Before(item.Expires(way)) {
		r.Told, r.PendingDSN = true, dsn.Delayed
		r.Last = last
		return
	}
	r.Last = last // the reason of the last try is the one that helps
	item.conclude(r, smtp.Result{Status: smtp.Failed, Reply: last.Reply, MTA: last.MTA})
	q.Log.Warn("message given up", "id", item.ID, "from", item.From.String(), "to", r.Address.String(), "after", expiry(way), "reply", last.Reply.Error())
}

// lastOf is why a recipient waits: the last attempt for it, or for its destination, or the route's ways.
func (q *Queue) lastOf(r *Recipient) *Last {
	if r.Last != nil {
		return r.Last
	}
	way := q.routeOf(r)
	q.mu.Lock()
	defer q.mu.Unlock()
	if d := q.destinations[destinationKey(way, r.Address.Domain)]; d != nil && d.last != nil {
		return d.last
	}
	reply := smtp.NewReply(451, [3]int{4, 4, 7}, "There was no try yet: mail for this destination leaves at set times")
	if way.Hold {
		reply.Text = "There was no try yet: mail for this destination is kept until its server asks for it"
	}
	return &Last{Time: q.now().Round(0), Reply: *reply}
}

// refile gives a message new places by its item.
func (q *Queue) refile(id string) {
	l := q.take(id)
	defer q.drop(id, l)
	l.mu.Lock()
	defer l.mu.Unlock()
	err := q.load(id, l)
	q.mu.Lock()
	e := q.entries[id]
	if e != nil && err == nil {
		before := make(map[*destination]bool)
		for _, p := range e.places {
			before[p.dest] = true
		}
		q.file(e, l)
		for _, p := range e.places {
			if p.state == waiting && !before[p.dest] { // another way: what failed on the old one does not count
				p.due = flushed
				heap.Fix(&p.dest.waiting, p.at)
				q.start(p.dest)
			}
		}
	}
	q.mu.Unlock()
	if e != nil && err != nil {
		q.lost(e, err)
	}
}
