package dns

import (
	"context"
	"errors"
	"sync"
	"time"

	"pillarbox/mailstore/caught"
)

const (
	maxAnswers  = 4096 // per kind
	keepAnswer  = 5 * time.Minute
	keepFailure = 30 * time.Second
)

var errBusy = errors.New("too many concurrent DNS lookups")

// cache stores answers. Concurrent callers with the same question wait for one answer.
type cache[K comparable, V any] struct {
	mu      *sync.Mutex
	answers map[K]*answer[V] // guarded by mu
}

type answer[V any] struct {
	done    chan struct{} // closed when the other fields are set
	value   V
	err     error
	expires time.Time
}

func newCache[K comparable, V any]() cache[K, V] {
	return cache[K, V]{mu: new(sync.Mutex), answers: make(map[K]*answer[V])}
}

// get returns the answer for key, and calls ask if it is not cached. If ctx ends first, ask
// continues for later callers.
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
	if !c.makeRoomLocked(now) {
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

// makeRoomLocked keeps the cache bounded. If all answers are fresh it drops an arbitrary one, but
// never one that is still pending.
func (c cache[K, V]) makeRoomLocked(now time.Time) bool {
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
