package dns

import (
	"context"
	"errors"
	"sync"
	"time"

	"pillarbox/mailstore/caught"
)

const (
	maxAnswers  = 4096 // of one kind
	keepAnswer  = 5 * time.Minute
	keepFailure = 30 * time.Second
)

var errBusy = errors.New("too many DNS look-ups at a time")

// cache remembers answers, and lets those who ask the same at the same time wait
// for one answer.
type cache[K comparable, V any] struct {
	mu      *sync.Mutex
	answers map[K]*answer[V] // guarded by mu
}

type answer[V any] struct {
	done    chan struct{} // closed when the rest is there
	value   V
	err     error
	expires time.Time
}

func newCache[K comparable, V any]() cache[K, V] {
	return cache[K, V]{mu: new(sync.Mutex), answers: make(map[K]*answer[V])}
}

// get returns the answer for key, from ask unless it is known. When ctx ends
// first, ask goes on for those who come later.
func (c cache[K, V]) get(ctx context.Context, key K, ask func() (V, error)) (V, error) {
	a, err := c.find(key, ask)
	if err != nil {
		return *new(V), err
	}
	select {
	case <-a.done:
		return a.value, a.err
	case <-ctx.Done():
		return *new(V), ctx.Err()
	}
}

func (c cache[K, V]) find(key K, ask func() (V, error)) (*answer[V], error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if a := c.answers[key]; a != nil && (a.pending() || now.Before(a.expires)) {
		return a, nil
	}
	if !c.makeRoom(now) {
		return nil, errBusy
	}
	a := &answer[V]{done: make(chan struct{})}
	c.answers[key] = a
	go func() {
		a.err = caught.Do(func() (err error) { a.value, err = ask(); return err })
		keep := keepAnswer
		if a.err != nil {
			keep = keepFailure
		}
		a.expires = time.Now().Add(keep)
		close(a.done)
	}()
	return a, nil
}

func (a *answer[V]) pending() bool {
	select {
	case <-a.done:
		return false
	default:
		return true
	}
}

// makeRoom keeps the cache bounded: when all in it is fresh, some answer goes,
// but never one that is waited for. The caller holds the lock.
func (c cache[K, V]) makeRoom(now time.Time) bool {
	if len(c.answers) < maxAnswers {
		return true
	}
	for key, a := range c.answers {
		if !a.pending() && !now.Before(a.expires) {
			delete(c.answers, key)
		}
	}
	for key, a := range c.answers {
		if len(c.answers) < maxAnswers {
			break
		}
		if !a.pending() {
			delete(c.answers, key)
		}
	}
	return len(c.answers) < maxAnswers
}
