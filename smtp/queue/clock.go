package queue

import (
	"time"
)

// All times in the queue are wall-clock times, because they outlive the process. Setting the clock
// back leaves them in the future: messages would be neither tried nor expired until then. Setting
// it forward makes messages look old, and they would all expire at once; so a jump forward does not
// count.

const (
	// clockCheckInterval is the longest time until a change of the clock is noticed.
	clockCheckInterval = time.Minute
	// clockSlack is a correction backward that needs no action.
	clockSlack = 10 * time.Second
	// forwardSlack is a correction forward that needs no action. It is larger, because less depends
	// on it.
	forwardSlack = 5 * time.Minute
	// startGrace is the time after a start in which no older message expires or is reported as
	// delayed. The clock may still be wrong then, and each message must be tried at least once.
	startGrace = 30 * time.Minute
)

// earliestArrival is older than all mail of this server. Machines that lose their time start in
// 1970, or at their date of manufacture.
func earliestArrival() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// clocks is the wall clock, and the monotonic time since the queue was opened.
type clocks struct {
	wall    time.Time
	elapsed time.Duration
}

func (q *Queue) now() time.Time { return q.Now() }

func (q *Queue) clocks() clocks {
	return clocks{q.now().Round(0), time.Since(q.began)}
}

// setBack returns how far the wall clock was set back since earlier; 0 if it was not.
func (c clocks) setBack(earlier clocks) time.Duration {
	back := c.elapsed - earlier.elapsed - c.wall.Sub(earlier.wall)
	if back < clockSlack {
		return 0
	}
	return back
}

// setForward returns how far the wall clock was set forward since earlier, or how long the machine
// slept; 0 if neither.
func (c clocks) setForward(earlier clocks) time.Duration {
	forward := c.wall.Sub(earlier.wall) - (c.elapsed - earlier.elapsed)
	if forward < forwardSlack {
		return 0
	}
	return forward
}

// watchClock adjusts all times if the wall clock was set, and returns the wall clock. The caller
// must hold no lock.
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

// clockSetForward excludes a jump of the clock from the time until expiry. Due times stay: a try
// that comes early does no harm.
func (q *Queue) clockSetForward(forward time.Duration) {
	q.Log.Warn("the clock was set forward or the machine slept; queued mail expires no earlier",
		"by", forward.Round(time.Second).String())
	for _, id := range q.index() {
		q.loadOne(id) // Open found it, but Run may not have read it yet
		q.changeTimes(id, func(it *Item) { it.Uncounted += min(forward, q.now().Sub(it.since())) })
	}
}

// clampWait returns t, but not later than the longest wait from now allows.
func clampWait(t, now time.Time, wait time.Duration) time.Time {
	if latest := now.Add(wait + wait/4 + diskRetryDelay); t.After(latest) {
		return latest
	}
	return t
}

// clockSetBack moves all times back as far as the clock.
func (q *Queue) clockSetBack(back time.Duration) {
	q.Log.Warn("the clock was set back; the queue's times were moved back too",
		"by", back.Round(time.Second).String())
	q.back.Store(int64(back))
	q.mu.Lock()
	for _, d := range q.destinations {
		if !d.notBefore.IsZero() {
			d.notBefore, d.failedAt = d.notBefore.Add(-back), d.failedAt.Add(-back)
		}
	}
	q.mu.Unlock()
	for _, id := range q.index() {
		q.changeTimes(id, func(it *Item) { q.fixTimes(it) })
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, d := range q.destinations {
		q.startWorkersLocked(d)
	}
}

// changeTimes changes the times of a message and saves it.
func (q *Queue) changeTimes(id string, change func(*Item)) {
	q.mu.Lock()
	e := q.entries[id]
	q.mu.Unlock()
	if e == nil {
		return // not read yet: loadOne will fix it
	}
	l := q.acquire(id)
	defer q.release(id, l)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := q.load(id, l); err != nil {
		q.dropUnreadable(e, err)
		return
	}
	change(l.item)
	q.save(e, l)
}

// fixTimesOnDisk is fixTimes for an item just read. It saves at once: each later read would compute
// a later bound.
func (q *Queue) fixTimesOnDisk(it *Item) {
	if !q.fixTimes(it) {
		return
	}
	if err := q.Spool.Update(it.ID, it.Encode()); err != nil {
		q.Log.Error("cannot write the state of a queued message", "message_id", it.ID, "error", err)
	}
}

// fixTimes corrects times that lie in the future, and reports whether it changed any. The next
// attempt is then no later than the schedule's longest wait.
func (q *Queue) fixTimes(it *Item) (changed bool) {
	now, back := q.now().Round(0), time.Duration(q.back.Load())
	fix := func(t *time.Time, wait time.Duration) {
		latest := clampWait(*t, now, wait)
		if latest.Equal(*t) {
			return
		}
		if moved := t.Add(-back); clampWait(moved, now, wait).Equal(moved) {
			latest = moved
		}
		*t, changed = latest, true
	}
	fix(&it.Arrived, 0)
	fix(&it.Released, 0)
	changed = it.fixUncounted(now, back) || changed
	for i := range it.To {
		r := &it.To[i]
		fix(&r.Next, q.routeOf(r).Schedule.Longest())
		if r.Last != nil {
			last := *r.Last // it may be shared
			fix(&last.Time, 0)
			r.Last = &last
		}
	}
	return changed
}

// fixUncounted corrects Uncounted in two cases. The clock was set back by this much after it was
// set forward; or the message seems older than all mail, since the clock was wrong when it arrived
// or was read.
func (it *Item) fixUncounted(now time.Time, back time.Duration) (changed bool) {
	before := it.Uncounted
	switch longest := now.Sub(it.began()); {
	case it.since().After(now.Add(diskRetryDelay)):
		if it.Uncounted -= back; it.Uncounted < 0 || it.Uncounted > longest {
			it.Uncounted = max(0, longest)
		}
	case it.since().Before(earliestArrival()) && now.After(earliestArrival()):
		it.Uncounted = longest
	}
	return it.Uncounted != before
}
