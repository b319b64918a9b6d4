package queue

import (
	"errors"

	"pillarbox/mailstore"
	"pillarbox/mailstore/caught"
)

// errNotQuarantined means that a message belongs in quarantine but could not be moved there. The
// queue retries.
var errNotQuarantined = errors.New("cannot move the message into quarantine now")

// temporary reports whether a message must stay in the queue although its files could not be read.
// Causes that pass are the disk, limits and permissions (EIO, EMFILE, ENOSPC, EACCES), and states
// of a newer release. Two errors are final: the message does not exist, or it was read and is
// invalid.
func temporary(err error) bool {
	return err != nil && (errors.Is(err, errNotQuarantined) ||
		!errors.Is(err, mailstore.ErrNotSpooled) && !errors.Is(err, ErrCorrupt) &&
			!caught.Is(err) && !errors.Is(err, mailstore.ErrDamaged))
}

// state reads the state of a message. It retries if the state looks damaged: it may have been
// replaced while it was opened.
func (q *Queue) state(id string) (state []byte, err error) {
	const tries = 4
	for range tries {
		if state, err = q.Spool.State(id); !errors.Is(err, mailstore.ErrDamaged) {
			break
		}
	}
	return state, err
}

// read reads a message's item from its file. An invalid state goes into quarantine with its
// message.
func (q *Queue) read(id string) (*Item, error) {
	state, err := q.state(id)
	if err == nil {
		var item *Item
		err = caught.Do(func() (err error) { item, err = Decode(id, state); return err })
		if err == nil {
			return item, nil
		}
	}
	switch {
	case errors.Is(err, mailstore.ErrNotSpooled), isNewer(err):
	case temporary(err):
		q.Log.Error("cannot read the state of a queued message; will retry", "message_id", id, "error", err)
	default:
		err = q.quarantine(id, err)
	}
	return nil, err
}

// quarantine moves a message into quarantine and returns why. If that fails, the error is
// errNotQuarantined.
func (q *Queue) quarantine(id string, why error) error {
	if err := q.Spool.Quarantine(id); err != nil {
		q.Log.Error("cannot move a queued message into quarantine; will retry",
			"message_id", id, "reason", why, "error", err)
		return errors.Join(errNotQuarantined, err)
	}
	q.Log.Error("message put into queue/quarantine; "+
		"'pillarbox admin queue quarantine show' shows it",
		"message_id", id, "reason", why)
	caught.Log(q.Log, why, "the message caused a panic here", "message_id", id)
	return why
}
