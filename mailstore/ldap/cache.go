package ldap

import (
	"crypto/hmac"
	"crypto/sha256"
	"sync"
	"time"
)

// maxCached limits each cache. A small office has fewer users.
const maxCached = 10_000

// cache maps questions to answers, at most maxCached.
type cache[T any] struct {
	mu  sync.Mutex
	all map[string]T // guarded by mu
}

func (c *cache[T]) get(question string) (T, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.all[question]
	return v, ok
}

func (c *cache[T]) put(question string, v T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = make(map[string]T)
	}
	for old := range c.all {
		if _, there := c.all[question]; there || len(c.all) < maxCached {
			break
		}
		delete(c.all, old)
	}
	c.all[question] = v
}

// dropIf forgets an answer for which is returns true.
func (c *cache[T]) dropIf(question string, is func(T) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := c.all[question]; ok && is(v) {
		delete(c.all, question)
	}
}

// found is the answer to a lookup: a person, no entry, or an unusable entry.
type found struct {
	person  Person
	missing bool
	bad     error // an ErrUnusable, or nil
	at      time.Time
}

// negativeTTL is how long "not found" and an unusable entry are cached: long enough to absorb a
// client that tries many names, and too short to be noticed when a user is added.
const negativeTTL = 10 * time.Second

// proven is a password that was right. Each login has one entry, so a new password replaces the old
// one.
type proven struct {
	digest [sha256.Size]byte
	person Person
	at     time.Time
}

func (p proven) by(digest [sha256.Size]byte) bool { return hmac.Equal(p.digest[:], digest[:]) }

// recent reports whether at is less than d ago and not in the future: a clock that was set back
// must not keep an answer for ever.
func recent(at time.Time, d time.Duration) bool {
	age := time.Since(at)
	return age >= 0 && age < d
}
