package metrics

import (
	"sync"
	"time"
)

// Sample is an answer of a Sampler.
type Sample[T any] struct {
	Value T
	Known bool // there is an answer, maybe an old one
	Fresh bool // the look that was due for this call has succeeded
}

// Sampler asks a function that may wait for the disk. At most one call runs at a time, however
// often Get is called, so a disk that does not answer costs one goroutine. It is safe for concurrent
// use.
type Sampler[T any] struct {
	age, patience time.Duration
	look          func() (T, error)

	mu      sync.Mutex
	value   T             // owner: mu
	known   bool          // owner: mu
	failed  bool          // owner: mu; the last look
	at      time.Time     // owner: mu; when the last look succeeded
	running chan struct{} // owner: mu; closed when the look has ended; nil: none runs
}

// NewSampler returns a Sampler that asks look if its answer is older than age, and waits for it as
// long as patience. A nil look has no answers.
func NewSampler[T any](age, patience time.Duration, look func() (T, error)) *Sampler[T] {
	return &Sampler[T]{age: age, patience: patience, look: look}
}

// Get returns the latest answer.
func (s *Sampler[T]) Get() Sample[T] {
	if s.look == nil {
		return Sample[T]{Fresh: true}
	}
	s.mu.Lock()
	if s.known && !s.failed && time.Since(s.at) < s.age {
		defer s.mu.Unlock()
		return Sample[T]{s.value, true, true}
	}
	running := s.running
	if running == nil {
		running = make(chan struct{})
		s.running = running
		go s.run(running)
	}
	s.mu.Unlock()

	timer := time.NewTimer(s.patience)
	defer timer.Stop()
	select {
	case <-running:
	case <-timer.C:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := s.running != running && !s.failed
	return Sample[T]{s.value, s.known, fresh}
}

func (s *Sampler[T]) run(running chan struct{}) {
	value, err := s.look()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = err != nil
	if err == nil {
		s.value, s.known, s.at = value, true, time.Now()
	}
	s.running = nil
	close(running)
}
