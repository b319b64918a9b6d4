// Package rate counts what each account and device sent in the last hour. The server and the sender
// of reports ask a Limiter before they accept or send (Take). The counts are only in memory: after
// a restart every count is 0.
package rate

import (
	"sync"
	"time"
)

const (
	slots = 60
	slot  = time.Minute
	// Window is the time span of a count, exact to a minute.
	Window = slots * slot
)

// Use is the result of Take.
type Use struct {
	OK    bool // within the limit, and counted
	Used  int  // in the last hour, including this Take if OK
	First bool // not OK for the first time in an hour: the caller should notify a person now
}

// Limiter counts by key. Its table is bounded: if it is full, the key that was not used for the
// longest time is dropped and starts again at 0. It is safe for concurrent use.
type Limiter struct {
	start time.Time
	size  int

	mu   sync.Mutex
	keys map[string]*counter // owner: mu
}

// counter is a ring with a count for each minute of the last hour.
type counter struct {
	counts   [slots]int32
	total    int
	minute   int64     // the newest minute in counts
	used     time.Time // when Take was last called
	reported time.Time // when First was last true
}

// New returns a Limiter for at most size keys, about 300 octets each.
func New(size int) *Limiter {
	return &Limiter{start: time.Now(), size: max(size, 1), keys: make(map[string]*counter)}
}

// Take adds n to the count of key, unless the count of the last hour would exceed perHour; then it
// adds nothing. A perHour of 0 or less means no limit.
func (l *Limiter) Take(key string, n, perHour int) Use {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.counterLocked(key, now)
	c.used = now
	if perHour > 0 && c.total+n > perHour {
		first := c.reported.IsZero() || now.Sub(c.reported) >= Window
		if first {
			c.reported = now
		}
		return Use{Used: c.total, First: first}
	}
	c.counts[c.minute%slots] += int32(n)
	c.total += n
	return Use{OK: true, Used: c.total}
}

// Used returns the count of key in the last hour.
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

// Forget resets the count of key, for example after an administrator released it.
func (l *Limiter) Forget(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.keys, key)
}

// counterLocked returns the counter of key, up to date. It makes one if there is none.
func (l *Limiter) counterLocked(key string, now time.Time) *counter {
	minute := l.minute(now)
	c := l.keys[key]
	if c == nil {
		if len(l.keys) >= l.size {
			l.evictLocked(now)
		}
		c = &counter{minute: minute}
		l.keys[key] = c
	}
	c.advance(minute)
	return c
}

func (l *Limiter) minute(now time.Time) int64 { return int64(now.Sub(l.start) / slot) }

// advance clears the minutes that are outside the window.
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

// evictLocked drops every key that was not used for an hour. If there is none, it drops the key
// that was not used for the longest time.
func (l *Limiter) evictLocked(now time.Time) {
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
