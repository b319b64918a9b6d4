package auth

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// quiet is how long no password hash runs before the memory of the hashes is
// given back to the system.
const quiet = 20 * time.Second

// slots bounds the password hashes that run at once: each takes 19 MiB. Slots go
// around the networks that wait, one at a time, so that a network that guesses
// delays itself. Networks without a recent wrong login come first; every fourth
// slot goes to the others, so that they are slow and never stuck.
type slots struct {
	idle func() // gives memory back; called when no hash has run for quiet

	mu     sync.Mutex
	free   int            // owner: mu
	total  int            // owner: mu
	lines  [2][]*slotLine // owner: mu; the preferred ones first; each in the order of its turn
	turn   int            // owner: mu; counts slots given while both kinds wait
	resume *time.Timer    // owner: mu; calls idle
}

// slotLine is the waiting line of one network, never empty.
type slotLine struct {
	network netip.Prefix
	waiting []chan struct{}
}

func newSlots(n int, idle func()) *slots { return &slots{idle: idle, free: n, total: n} }

// acquire waits for a slot. Each acquire without an error wants one release.
func (s *slots) acquire(ctx context.Context, network netip.Prefix, preferred bool) error {
	s.mu.Lock()
	if s.free > 0 {
		s.free--
		s.mu.Unlock()
		return nil
	}
	ready := make(chan struct{})
	s.join(kindOf(preferred), network, ready)
	s.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
	}
	if !s.abandon(kindOf(preferred), network, ready) { // it was given in this moment
		s.release()
	}
	return fmt.Errorf("%w: %w", ErrTemporary, ctx.Err())
}

func kindOf(preferred bool) int {
	if preferred {
		return 0
	}
	return 1
}

// join puts a waiter at the end of its network's line. The caller holds mu.
func (s *slots) join(kind int, network netip.Prefix, ready chan struct{}) {
	for _, l := range s.lines[kind] {
		if l.network == network {
			l.waiting = append(l.waiting, ready)
			return
		}
	}
	s.lines[kind] = append(s.lines[kind], &slotLine{network, []chan struct{}{ready}})
}

// abandon takes a waiter out of its line. It reports false when the waiter had a slot already.
func (s *slots) abandon(kind int, network netip.Prefix, ready chan struct{}) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-ready:
		return false
	default:
	}
	for i, l := range s.lines[kind] {
		if l.network != network {
			continue
		}
		l.waiting = slices.DeleteFunc(l.waiting, func(w chan struct{}) bool { return w == ready })
		if len(l.waiting) == 0 {
			s.lines[kind] = slices.Delete(s.lines[kind], i, i+1)
		}
		break
	}
	return true
}

// release gives a slot to the next waiter, or back.
func (s *slots) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if next := s.next(); next != nil {
		close(next)
		return
	}
	if s.free++; s.free == s.total {
		s.rest()
	}
}

// next takes out the waiter whose turn it is; nil: none waits. The caller holds mu.
func (s *slots) next() chan struct{} {
	const share = 4 // one slot of so many goes to those that are not preferred
	kind := 0
	switch {
	case len(s.lines[0]) == 0 && len(s.lines[1]) == 0:
		return nil
	case len(s.lines[0]) == 0:
		kind = 1
	case len(s.lines[1]) > 0:
		if s.turn++; s.turn%share == 0 {
			kind = 1
		}
	}
	line := s.lines[kind][0]
	next := line.waiting[0]
	line.waiting = line.waiting[1:]
	s.lines[kind] = slices.Delete(s.lines[kind], 0, 1)
	if len(line.waiting) > 0 {
		s.lines[kind] = append(s.lines[kind], line)
	}
	return next
}

// rest plans to give back the memory of the hashes. The caller holds mu.
func (s *slots) rest() {
	if s.idle == nil {
		return
	}
	if s.resume != nil {
		s.resume.Stop()
	}
	s.resume = time.AfterFunc(quiet, s.idle)
}
