package queue

import (
	"time"

	"pillarbox/mailstore"
)

// State is how full the queue is.
type State struct {
	Messages int // all of them
	Held     int // admin-held
	ETRNHeld int // held for a server that fetches them, and for no other destination
	// Oldest is when the oldest message arrived that is in none of the two ways held; zero without
	// one.
	Oldest time.Time
}

// State returns how full the queue is. It reads no file.
func (q *Queue) State() (s State) {
	q.mu.Lock()
	defer q.mu.Unlock()
	oldest := ""
	s.Messages = len(q.entries)
	for _, id := range q.ids { // not read yet
		if q.entries[id] == nil {
			s.Messages++
		}
	}
	for id, e := range q.entries {
		switch {
		case e.held:
			s.Held++
		case e.onlyETRNHeld():
			s.ETRNHeld++
		case oldest == "" || id < oldest: // IDs are in the order of arrival
			oldest = id
		}
	}
	if oldest != "" {
		s.Oldest = mailstore.IDTime(oldest)
	}
	return s
}

// onlyETRNHeld reports whether every destination of the message is fetched by ETRN. It needs
// Queue.mu held.
func (e *entry) onlyETRNHeld() bool {
	for _, p := range e.slots {
		if p.dest == nil || !p.dest.route.Hold {
			return false
		}
	}
	return len(e.slots) > 0
}
