package server

import (
	"errors"
	"sync/atomic"
)

const (
	// headerOwn is what every session may hold of a header, in octets.
	headerOwn = 64 << 10
	// headersInAll is what all sessions together may hold beyond that. Without a bound, a
	// thousand clients that never finish a header of 256 KiB would take all memory.
	headersInAll = 32 << 20
	headerStep   = 32 << 10 // is taken at a time
)

var errHeadroom = errors.New("too many large headers at the same time")

// headroom is the memory that is left for large headers. The zero value is ready for use.
type headroom struct{ used atomic.Int64 }

// headerHold is the part of the headroom that one message holds.
type headerHold struct {
	room *headroom
	held int64
}

// cover makes sure that a header of so many octets may be held.
func (h *headerHold) cover(size int) error {
	for int64(size) > headerOwn+h.held {
		if h.room.used.Add(headerStep) > headersInAll {
			h.room.used.Add(-headerStep)
			return errHeadroom
		}
		h.held += headerStep
	}
	return nil
}

// release gives everything back.
func (h *headerHold) release() {
	h.room.used.Add(-h.held)
	h.held = 0
}
