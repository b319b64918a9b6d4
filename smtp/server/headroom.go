package server

import (
	"errors"
	"sync/atomic"
)

const (
	// headerOwn is the number of header octets that every session may hold.
	headerOwn = 64 << 10
	// headersInAll is the number of octets beyond headerOwn that all sessions together may hold.
	// Without this limit, a thousand clients that never finish a header of 256 KiB would take all
	// memory.
	headersInAll = 32 << 20
	headerStep   = 32 << 10 // a session reserves them in steps of this size
)

var errHeadroom = errors.New("too many large headers at the same time")

// headroom counts the memory that large headers use. The zero value is ready for use.
type headroom struct{ used atomic.Int64 }

// headerHold is the part of it that one message uses.
type headerHold struct {
	room *headroom
	held int64
}

// cover reserves memory for a header of size octets.
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

// release gives the memory back.
func (h *headerHold) release() {
	h.room.used.Add(-h.held)
	h.held = 0
}
