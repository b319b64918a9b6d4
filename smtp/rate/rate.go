// Package rate counts what each account and device has sent in the hour behind
// it. The counts are in memory: after a restart everybody begins with none.
package rate

import (
	"sync"
	"time"
)

const (
	slots = 60
	slot  = time.Minute
	// Window is the time that a count looks back, to within a minute.
	Window = slots * slot
)

// Use is the answer to one Take.
type Use struct {
	OK    bool // it was within the limit and has been counted
	Used  int  // in the hour behind, with this Take if it was OK
	First bool // not OK, for the first time in an hour: the time to tell somebody
}

// Limiter counts by key. Its table is bounded: when it is full, the key that has
// not been used for longest begins anew. Safe for concurrent use.
type Limiter struct {
	start time.Time
	size  int

	mu   sync.Mutex
	keys map[string]*counter // owner: mu
}

// counter is a ring with the count of each minute of the last hour.
type counter struct {
	counts [slots]int32
	total  int
	minute int64     // the newest one in counts
	used   time.Time // when Take was last called
	told   time.Time // when First was last answered
}

// New returns a Limiter that remembers at most size keys, each some 300 octets.
func New(size int) *Limiter {
	return &Limiter{start: time.Now(), size: max(size, 1), keys: make(map[string]*counter)}
}

// Take counts n more for a key, unless that would be more than perHour in the
// last hour: then nothing is counted. A perHour of 0 or less is no limit.
func (l *Limiter) Take(key string, n, perHour int) Use {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.counter(key, now)
	c.used = now
	if perHour > 0 && c.total+n > perHour {
		first := c.told.IsZero() || now.Sub(c.told) >= Window
		if first {
			c.told = now
		}
		return Use{Used: c.total, First: first}
	}
	c.counts[c.minute%slots] += int32(n)
	c.total += n
	return Use{OK: true, Used: c.total}
}

// Used is what a key has sent in the hour behind.
func (l *Limiter) Used(key string) int {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.keys[key]
	if c == nil {
		return 0
	}
	c.advance(l.minute(now))
	return c.total
}

// Forget lets a key begin anew, as after somebody has released it.
func (l *Limiter) Forget(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.keys, key)
}

// counter finds or makes a key's counter, up to date. The caller holds mu.
func (l *Limiter) counter(key string, now time.Time) *counter {
	minute := l.minute(now)
	c := l.keys[key]
	if c == nil {
		if len(l.keys) >= l.size {
			l.evict(now)
		}
		c = &counter{minute: minute}
		l.keys[key] = c
	}
	c.advance(minute)
	return c
}

func (l *Limiter) minute(now time.Time) int64 { return int64(now.Sub(l.start) / slot) }

// advance empties the minutes that have fallen out of the window.
func (c *counter) advance(minute int64) {
	if minute-c.minute >= slots {
		c.counts, c.total, c.minute = [slots]int32{}, 0, minute
		return
	}
	for c.minute < minute {
		c.minute++
		c.total -= int(c.counts[c.minute%slots])
		c.counts[c.minute%slots] = 0
	}
}

// evict drops every key that was not used for an hour or, if there is none, the
// one that was not used for longest.
func (l *Limiter) evict(now time.Time) {
	var oldest string
	var since time.Time
	for key, c := range l.keys {
		if now.Sub(c.used) >= Window {
			delete(l.keys, key)
		} else if oldest == "" || c.used.Before(since) {
			oldest, since = key, c.used
		}
	}
	if len(l.keys) >= l.size {
		delete(l.keys, oldest)
	}
}
