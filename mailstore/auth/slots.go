package auth

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// idleDelay is the time without a password hash after which its memory is returned to the system.
const idleDelay = 20 * time.Second

// slots limits the password hashes that run at once, since each takes 19 MiB. Waiting networks take
// turns, one slot each, so a network that guesses delays only itself. Networks without a recent
// wrong login go first. Every fourth slot goes to the others, so that they are slow but never
// stuck.
type slots struct {
	idle func() // returns memory to the system; called when no hash has run for idleDelay

	mu    sync.Mutex
	free  int // guarded by mu
	total int // guarded by mu
	// queues is guarded by mu: the preferred class first, each in the order of its turns.
	queues    [2][]*waitQueue
	handed    int         // guarded by mu; slots handed out while both classes waited
	idleTimer *time.Timer // guarded by mu; calls idle
}

// waitQueue holds the waiters of one network; it is never empty.
type waitQueue struct {
	network netip.Prefix
	waiting []chan struct{}
}

func newSlots(n int, idle func()) *slots { return &slots{idle: idle, free: n, total: n} }

// acquire waits for a slot. Each acquire without an error needs one release.
func (s *slots) acquire(ctx context.Context, network netip.Prefix, preferred bool) error {
	s.mu.Lock()
	if s.free > 0 {
		s.free--
		s.mu.Unlock()
		return nil
	}
	ready := make(chan struct{})
	s.enqueueLocked(classOf(preferred), network, ready)
	s.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
	}
	if !s.abandon(classOf(preferred), network, ready) { // it got the slot at the same moment
		s.release()
	}
	return fmt.Errorf("%w: %w", ErrTemporary, ctx.Err())
}

func classOf(preferred bool) int {
	if preferred {
		return 0
	}
	return 1
}

// enqueueLocked puts a waiter at the end of its network's queue.
func (s *slots) enqueueLocked(class int, network netip.Prefix, ready chan struct{}) {
	for _, l := range s.queues[class] {
		if l.network == network {
			l.waiting = append(l.waiting, ready)
			return
		}
	}
	s.queues[class] = append(s.queues[class], &waitQueue{network, []chan struct{}{ready}})
}

// abandon removes a waiter from its queue. It reports false if the waiter had already got a slot.
func (s *slots) abandon(class int, network netip.Prefix, ready chan struct{}) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-ready:
		return false
	default:
	}
	for i, l := range s.queues[class] {
		if l.network != network {
			continue
		}
		l.waiting = slices.DeleteFunc(l.waiting, func(w chan struct{}) bool { return w == ready })
		if len(l.waiting) == 0 {
			s.queues[class] = slices.Delete(s.queues[class], i, i+1)
		}
		break
	}
	return true
}

// release hands the slot to the next waiter, or frees it.
func (s *slots) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if next := s.nextLocked(); next != nil {
		close(next)
		return
	}
	if s.free++; s.free == s.total {
		s.scheduleIdleLocked()
	}
}

// nextLocked removes the next waiter from its queue and returns it; nil means that none waits.
func (s *slots) nextLocked() chan struct{} {
	const share = 4 // every fourth slot goes to the networks that are not preferred
	class := 0
	switch {
	case len(s.queues[0]) == 0 && len(s.queues[1]) == 0:
		return nil
	case len(s.queues[0]) == 0:
		class = 1
	case len(s.queues[1]) > 0:
		if s.handed++; s.handed%share == 0 {
			class = 1
		}
	}
	queue := s.queues[class][0]
	next := queue.waiting[0]
	queue.waiting = queue.waiting[1:]
	s.queues[class] = slices.Delete(s.queues[class], 0, 1)
	if len(queue.waiting) > 0 {
		s.queues[class] = append(s.queues[class], queue)
	}
	return next
}

// scheduleIdleLocked schedules the return of the hashes' memory.
func (s *slots) scheduleIdleLocked() {
	if s.idle == nil {
		return
	}
	if s.idleTimer != nil {
		s.idleTimer.Stop()
	}
	s.idleTimer = time.AfterFunc(idleDelay, s.idle)
}
