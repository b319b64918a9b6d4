package durable

import "sync"

// Syncer lets concurrent callers that sync the same thing share one sync. The zero value is ready
// to use; it must not be copied.
type Syncer struct {
	mu sync.Mutex
	// For each key at most one batch runs, and at most one gathers callers meanwhile.
	running   map[string]*batch
	gathering map[string]*batch
}

// batch is one sync and its callers.
type batch struct {
	done chan struct{}
	err  error // set before done is closed
}

// Do calls sync, or waits for another caller's sync with the same key that begins after this call,
// and returns its error. A running sync does not count: it may have missed the caller's change. All
// callers that share a sync get its error.
func (s *Syncer) Do(key string, sync func() error) error {
	b, prev, leader := s.join(key)
	if !leader {
		<-b.done
		return b.err
	}
	if prev != nil {
		<-prev.done
	}
	s.begin(key, b)
	defer s.end(key, b)
	b.err = sync()
	return b.err
}

// join joins the gathering batch. The caller that opens a batch leads it, once prev is done; prev
// may be nil.
func (s *Syncer) join(key string) (b, prev *batch, leader bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.gathering[key]; b != nil {
		return b, nil, false
	}
	if s.gathering == nil {
		s.gathering, s.running = make(map[string]*batch), make(map[string]*batch)
	}
	b = &batch{done: make(chan struct{})}
	s.gathering[key] = b
	return b, s.running[key], true
}

func (s *Syncer) begin(key string, b *batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.gathering, key)
	s.running[key] = b
}

func (s *Syncer) end(key string, b *batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The next batch begins only after done is closed, so running[key] is still b.
	delete(s.running, key)
	close(b.done)
}
