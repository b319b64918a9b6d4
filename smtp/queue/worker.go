package queue

import (
	"container/heap"
	"context"
	"slices"
	"time"

	"pillarbox/smtp/route"
)

// schedule starts work as it becomes due. It is the only goroutine that waits for the next due
// time.
func (q *Queue) schedule(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		case <-timer.C:
		}
		now := q.watchClock()
		overdue, next := q.startDue(now)
		for _, e := range overdue {
			q.overdue <- e // does not block: startDue counted the free places
		}
		timer.Reset(next.Sub(now))
	}
}

// wakeUp makes schedule compute the next due time. It does not block.
func (q *Queue) wakeUp() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

const (
	// batch is how many overdue messages may wait for a reporter.
	batch = 100
	// reporters is the number of goroutines that handle overdue messages. A report may wait for a
	// slow disk or for the DNS of the sender's domain; this must not delay attempts.
	reporters = 4
)

// reportOverdue handles overdue messages until ctx ends.
func (q *Queue) reportOverdue(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-q.overdue:
			q.contain(e.id, func() { q.handleOverdue(e) })
			q.wakeUp() // there is room for another
		}
	}
}

// startDue starts workers for all due destinations. It returns the overdue messages, and the time
// of the next call.
func (q *Queue) startDue(now time.Time) (overdue []*entry, next time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.wakes) > 0 && q.wakes[0].wake <= now.UnixNano() {
		d := q.wakes[0]
		before := d.wake
		q.startWorkersLocked(d)
		if d.wake == before { // it waits for a free worker, which will start it
			q.setWakeLocked(d, never)
		}
		q.pruneLocked(d)
	}
	room := batch - len(q.overdue)
	for len(q.deadlines) > 0 && q.deadlines[0].deadline <= now.UnixNano() && len(overdue) < room {
		overdue = append(overdue, heap.Pop(&q.deadlines).(*entry))
	}
	next = now.Add(clockCheckInterval)
	if len(q.wakes) > 0 && q.wakes[0].wake < next.UnixNano() {
		next = time.Unix(0, q.wakes[0].wake)
	}
	if len(q.deadlines) > 0 && q.deadlines[0].deadline < next.UnixNano() && len(overdue) < room {
		next = time.Unix(0, q.deadlines[0].deadline)
	}
	return overdue, next
}

// total is the limit for all workers together.
func (q *Queue) total() int {
	if total := q.config.Load().Connections; total > 0 {
		return total
	}
	return defaultTotal
}

// startWorkersLocked starts as many workers for a destination as it may have now.
func (q *Queue) startWorkersLocked(d *destination) {
	now := q.now()
	d.notBefore = clampWait(d.notBefore, now, d.route.Schedule.Longest())
	total := q.total()
	for q.running != nil && !q.config.Load().Closed && d.trying < q.allowanceLocked(d) {
		if q.trying >= total {
			if !d.queued && d.nextWake(now) <= now.UnixNano() {
				q.enqueueForWorkerLocked(d)
			}
			break
		}
		p := d.next(now)
		if p == nil {
			break
		}
		d.trying++
		q.trying++
		running := q.running
		q.work.Go(func() { q.tryAll(running, d, p) })
	}
	q.setWakeLocked(d, d.nextWake(now))
}

// allowanceLocked returns the number of workers that a destination may have now. While more than
// half of all workers are in use, a destination gets one until it has answered once.
func (q *Queue) allowanceLocked(d *destination) int {
	if !d.proven && q.trying > q.total()/2 {
		return 1
	}
	return d.allowance()
}

// enqueueForWorkerLocked lets a destination wait for a free worker. Destinations that were
// unreachable last time come last.
func (q *Queue) enqueueForWorkerLocked(d *destination) {
	d.queued = true
	at := len(q.waiting)
	if d.failures == 0 {
		failed := func(other *destination) bool { return other.failures > 0 }
		if first := slices.IndexFunc(q.waiting, failed); first >= 0 {
			at = first
		}
	}
	q.waiting = slices.Insert(q.waiting, at, d)
}

func (q *Queue) setWakeLocked(d *destination, wake int64) {
	d.wake = wake
	heap.Fix(&q.wakes, d.at)
}

// tryAll is one worker. It makes one attempt after the other for a destination, until none is due
// or other destinations wait for a worker.
func (q *Queue) tryAll(ctx context.Context, d *destination, p *slot) {
	for p != nil {
		q.tryContained(ctx, d, p, q.currentRoute(d), q.Deliver)
		p = q.nextSlot(d)
	}
}

func (q *Queue) currentRoute(d *destination) *route.Route {
	q.mu.Lock()
	defer q.mu.Unlock()
	return d.route
}

// nextSlot returns the worker's next slot. nil means that the worker ends, and lets waiting
// destinations start.
func (q *Queue) nextSlot(d *destination) *slot {
	q.mu.Lock()
	defer q.mu.Unlock()
	sending := q.running != nil && !q.config.Load().Closed
	if sending && len(q.waiting) == 0 && d.trying <= q.allowanceLocked(d) {
		if p := d.next(q.now()); p != nil {
			return p
		}
	}
	d.trying--
	q.trying--
	for len(q.waiting) > 0 && q.trying < q.total() { // the first may have no work left
		other := q.waiting[0]
		q.waiting = q.waiting[1:]
		other.queued = false
		q.startWorkersLocked(other)
		q.pruneLocked(other)
	}
	q.startWorkersLocked(d)
	q.pruneLocked(d)
	q.wakeUp()
	return nil
}
