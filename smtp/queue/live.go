package queue

import (
	"pillarbox/mailstore"
	"pillarbox/mailstore/durable"
	"pillarbox/smtp/dsn"
)

// live is an item in memory. Attempts for several destinations, reporters and administrators share
// it. The caller of a function with a *live parameter holds l.mu, except of acquire, release and
// releaseLocked.
type live struct {
	refs int // guarded by Queue.mu

	mu   durable.Mutex
	item *Item        // nil: not read yet
	busy map[int]bool // indexes of recipients with an attempt under way
	// dirty means that the item changed and is not on disk: it must stay in memory until it is. Each
	// writer has a reference, so releaseLocked may read it without mu when the last one is gone.
	dirty   bool
	removed bool // the message has left the queue
}

func newLive(item *Item) *live { return &live{mu: durable.NewMutex(), item: item} }

// acquire returns a message's live item and counts a reference. Call release afterwards.
func (q *Queue) acquire(id string) *live {
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

func (q *Queue) release(id string, l *live) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.releaseLocked(id, l)
}

func (q *Queue) releaseLocked(id string, l *live) {
	if l.refs--; l.refs == 0 && !l.dirty && q.live[id] == l {
		delete(q.live, id)
	}
}

// load reads the item if it is not in memory.
func (q *Queue) load(id string, l *live) error {
	if l.removed {
		return mailstore.ErrNotSpooled
	}
	if l.item == nil {
		item, err := q.read(id)
		if err != nil {
			return err
		}
		q.fixTimesOnDisk(item)
		l.item = item
	}
	return nil
}

// dropUnreadable removes a message with a missing or corrupt item from the index. If the error may
// pass, it schedules another try.
func (q *Queue) dropUnreadable(e *entry, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !temporary(err) {
		q.forgetLocked(e)
		return
	}
	q.removeSlotsLocked(e)
	q.retryLoadLocked(e, err) // it gets its slots then
}

// save commits the item, then files the message under its destinations again. A finished message
// leaves the queue. Call sendDSNs before save if reports may be pending.
func (q *Queue) save(e *entry, l *live) {
	if l.removed {
		return // removed by an administrator meanwhile
	}
	err := q.commit(l)
	q.mu.Lock()
	defer q.mu.Unlock()
	l.dirty = err != nil
	switch {
	case err != nil:
		q.Log.Error("cannot write the state of a queued message; will retry",
			"message_id", e.id, "error", err)
		q.removeSlotsLocked(e)
		q.setDeadlineLocked(e, q.now().Add(diskRetryDelay))
	case l.removed:
		q.forgetLocked(e)
	default:
		q.fileLocked(e, l)
	}
	q.wakeUp()
}

// commit makes the item durable, or removes the message if it is finished.
func (q *Queue) commit(l *live) error {
	if !l.item.finished() {
		return q.Spool.Update(l.item.ID, l.item.Encode())
	}
	err := q.Spool.Remove(l.item.ID)
	l.removed = err == nil
	return err
}

// sendDSNs makes the pending reports. A report that cannot be made now stays pending.
func (q *Queue) sendDSNs(l *live) {
	if l.removed {
		return
	}
	for _, action := range []dsn.Action{dsn.Failed, dsn.Relayed, dsn.Delayed} {
		request := DSNRequest{Item: l.item, Action: action}
		var pending []*Recipient
		for i := range l.item.To {
			if r := &l.item.To[i]; r.PendingDSN == action {
				pending = append(pending, r)
				request.Recipients = append(request.Recipients, *r)
				request.RetryUntil = l.item.Expires(q.routeOf(r))
			}
		}
		if len(pending) == 0 {
			continue
		}
		// A panic in Report is contained with the whole message: the message must not leave
		// unreported.
		if err := q.Report(request); err != nil {
			q.Log.Error("cannot make a report to the sender; will retry",
				"message_id", l.item.ID, "report", action, "error", err)
			continue
		}
		for _, r := range pending {
			r.PendingDSN = ""
		}
	}
}
