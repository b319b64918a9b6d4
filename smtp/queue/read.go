package queue

import (
	"errors"

	"pillarbox/mailstore"
	"pillarbox/mailstore/caught"
)

// errKeptInPlace says that a message is to be put into quarantine, and that this failed. It is tried again.
var errKeptInPlace = errors.New("the message cannot be put into quarantine now")

// temporary reports whether a message must stay in the queue although its files could not be read: the disk, a limit or a
// right may be in the way (EIO, EMFILE, ENOSPC, EACCES), and all of these pass; or a newer release wrote them. Only two answers are final: the message is
// not there, or it was read and cannot be understood.
func temporary(err error) bool {
	return err != nil && (errors.Is(err, errKeptInPlace) ||
		!errors.Is(err, mailstore.ErrNotSpooled) && !errors.Is(err, ErrCorrupt) && !caught.Is(err) && !errors.Is(err, mailstore.ErrDamaged))
}

// state reads the state of a message. A state that is replaced while it is opened looks damaged, so that is not believed
// at once.
func (q *Queue) state(id string) (state []byte, err error) {
	const tries = 4
	for range tries {
		if state, err = q.Spool.State(id); !errors.Is(err, mailstore.ErrDamaged) {
			break
		}
	}
	return state, err
}

// read returns a message's item from its file. A message that was read and cannot be understood goes into quarantine.
func (q *Queue) read(id string) (*Item, error) {
	state, err := q.state(id)
	if err == nil {
		var item *Item
		if err = caught.Do(func() (err error) { item, err = Decode(id, state); return err }); err == nil {
			return item, nil
		}
	}
	switch {
	case errors.Is(err, mailstore.ErrNotSpooled), isNewer(err):
	case temporary(err):
		q.Log.Error("cannot read the state of a message in the queue; this is tried again", "id", id, "error", err)
	default:
		err = q.quarantine(id, err)
	}
	return nil, err
}

// quarantine puts a message aside for good and returns why. If that fails, the error is errKeptInPlace.
func (q *Queue) quarantine(id string, why error) error {
	if err := q.Spool.Quarantine(id); err != nil {
		q.Log.Error("cannot put a message of the queue into quarantine; this is tried again", "id", id, "reason", why, "error", err)
		return errors.Join(errKeptInPlace, err)
	}
	q.Log.Error("message put into queue/quarantine; 'pillarbox admin queue quarantine show' tells more", "id", id, "reason", why)
	caught.Log(q.Log, why, "where the program went wrong with it", "id", id)
	return why
}
