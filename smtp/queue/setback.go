package queue

import (
	"time"
)

// All times of the queue are those of the wall clock, since they outlive the process. When that was ahead and is set
// right, they lie in the future: nothing would be tried or given up before the clock has come there again.

const (
	// clockLook is how long it takes at most until it is seen that the clock was set.
	clockLook = time.Minute
	// clockSlack is by how much it may be corrected without notice.
	clockSlack = 10 * time.Second
)

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
		q.setItemBack(id)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, d := range q.destinations {
		q.start(d)
	}
}

func (q *Queue) setItemBack(id string) {
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
	q.mend(l.item)
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
