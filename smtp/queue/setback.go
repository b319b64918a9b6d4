package queue

import (
	"time"
)

// All times of the queue are those of the wall clock, since they outlive the process. When that was ahead and is set
// right, they lie in the future: nothing would be tried or given up before the clock has come there again. When it was
// behind and is set right, all messages look old, and would be given up at once; so a jump forward counts for none.

const (
	// clockLook is how long it takes at most until it is seen that the clock was set.
	clockLook = time.Minute
	// clockSlack is by how much it may be corrected without notice.
	clockSlack = 10 * time.Second
	// forwardSlack is the same for forward, where little depends on it.
	forwardSlack = 5 * time.Minute
	// startGrace is how long after a start no message is given up, or reported as delayed, that came before. The clock may
	// still be wrong then, and each message is tried at least once.
	startGrace = 30 * time.Minute
)

// earliestArrival is before all mail of this server: a machine that keeps no time begins in 1970, or when it was made.
func earliestArrival() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// clocks is the wall clock, and the time since the queue was opened, which no setting of the clock changes.
type clocks struct {
	wall    time.Time
	elapsed time.Duration
}

// now is the wall clock.
func (q *Queue) now() time.Time { return q.Now() }

func (q *Queue) clocks() clocks {
	return clocks{q.now().Round(0), time.Since(q.began)}
}

// setBack is by how much the wall clock was set back since earlier; 0 where it was not.
func (c clocks) setBack(earlier clocks) time.Duration {
	back := c.elapsed - earlier.elapsed - c.wall.Sub(earlier.wall)
	if back < clockSlack {
		return 0
	}
	return back
}

// setForward is by how much it was set forward, or how long the machine slept; 0 where it was not.
func (c clocks) setForward(earlier clocks) time.Duration {
	forward := c.wall.Sub(earlier.wall) - (c.elapsed - earlier.elapsed)
	if forward < forwardSlack {
		return 0
	}
	return forward
}

// watchClock puts all times right if the wall clock was set, and returns what it shows. It must be called without a lock.
func (q *Queue) watchClock() time.Time {
	q.seenMu.Lock()
	defer q.seenMu.Unlock()
	now, before := q.clocks(), q.seen
	q.seen = now
	if back := now.setBack(before); back > 0 {
		q.clockSetBack(back)
	}
	if forward := now.setForward(before); forward > 0 {
		q.clockSetForward(forward)
	}
	return now.wall
}

// clockSetForward takes a jump of the clock for no time that has passed. What waits for its turn is tried sooner, which
// does no harm.
func (q *Queue) clockSetForward(forward time.Duration) {
	q.Log.Warn("the clock was set forward, or the machine slept; for mail in the queue this time does not count",
		"by", forward.Round(time.Second).String())
	for _, id := range q.index() {
		q.loadOne(id) // it may have been found at start, and not read yet
		q.changeTimes(id, func(it *Item) { it.Uncounted += min(forward, q.now().Sub(it.since())) })
	}
}

// soon is a time that is not further away than it was meant to be.
func soon(t, now time.Time, wait time.Duration) time.Time {
	if latest := now.Add(wait + wait/4 + again); t.After(latest) {
		return latest
	}
	return t
}

// clockSetBack moves all times by as much as the clock was set back.
func (q *Queue) clockSetBack(back time.Duration) {
	q.Log.Warn("the clock was set back; the times of the queue are set back too", "by", back.Round(time.Second).String())
	q.back.Store(int64(back))
	q.mu.Lock()
	for _, d := range q.destinations {
		if !d.notBefore.IsZero() {
			d.notBefore, d.failedAt = d.notBefore.Add(-back), d.failedAt.Add(-back)
		}
	}
	q.mu.Unlock()
	for _, id := range q.index() {
		q.changeTimes(id, func(it *Item) { q.mend(it) })
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, d := range q.destinations {
		q.start(d)
	}
}

// changeTimes changes the times of a message.
func (q *Queue) changeTimes(id string, change func(*Item)) {
	q.mu.Lock()
	e := q.entries[id]
	q.mu.Unlock()
	if e == nil {
		return // not read yet: loadOne mends it
	}
	l := q.take(id)
	defer q.drop(id, l)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := q.load(id, l); err != nil {
		q.lost(e, err)
		return
	}
	change(l.item)
	q.settleAndPay(e, l, false)
}

// mendOnDisk is mend for what was just read. It is written at once: the bound would move on with each reading.
func (q *Queue) mendOnDisk(it *Item) {
	if !q.mend(it) {
		return
	}
	if err := q.Spool.Update(it.ID, it.Encode()); err != nil {
		q.Log.Error("the state of a message in the queue cannot be written", "id", it.ID, "error", err)
	}
}

// mend puts times right that lie in the future, and reports whether any did. What comes next lies no further away than the
// longest wait.
func (q *Queue) mend(it *Item) (changed bool) {
	now, back := q.now().Round(0), time.Duration(q.back.Load())
	fix := func(t *time.Time, wait time.Duration) {
		latest := soon(*t, now, wait)
		if latest.Equal(*t) {
			return
		}
		if moved := t.Add(-back); soon(moved, now, wait).Equal(moved) {
			latest = moved
		}
		*t, changed = latest, true
	}
	fix(&it.Arrived, 0)
	fix(&it.Released, 0)
	changed = it.mendUncounted(now, back) || changed
	for i := range it.To {
		r := &it.To[i]
		fix(&r.Next, q.routeOf(r).Schedule.Longest())
		if r.Last != nil {
			last := *r.Last // others may have it, too
			fix(&last.Time, 0)
			r.Last = &last
		}
	}
	return changed
}

// mendUncounted puts right what does not count, when the clock was set back by so much after it was set forward, and where
// a message is older than all mail: it came, or was read, before the clock was set.
func (it *Item) mendUncounted(now time.Time, back time.Duration) (changed bool) {
	before := it.Uncounted
	switch longest := now.Sub(it.began()); {
	case it.since().After(now.Add(again)):
		if it.Uncounted -= back; it.Uncounted < 0 || it.Uncounted > longest {
			it.Uncounted = max(0, longest)
		}
	case it.since().Before(earliestArrival()) && now.After(earliestArrival()):
		it.Uncounted = longest
	}
	return it.Uncounted != before
}
