package fetch

import (
	"cmp"
	"context"
	"sync"
	"time"

	"pillarbox/cmd/internal/config"
)

const (
	firstBackOff = 5 * time.Minute // after a failure of an entry without every and at
	maxBackOff   = 4 * time.Hour   // the longest rest of an entry that keeps failing
)

// entry is the state of a configured entry. Its fields are guarded by Scheduler.mu.
type entry struct {
	since    time.Time // when it was first seen
	last     *Result   // nil: none yet; never changed after it is set
	failures int       // in a row
	demanded bool      // Now was called
	running  bool
}

// entryLocked returns the state of an entry.
func (s *Scheduler) entryLocked(name string, now time.Time) *entry {
	if s.entries[name] == nil {
		s.entries[name] = &entry{since: now}
	}
	return s.entries[name]
}

// startDue starts every due entry and returns the time until the next one. sent means that mail
// was just sent to another server.
func (s *Scheduler) startDue(
	ctx context.Context, running *sync.WaitGroup, sent bool,
) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, rest := time.Now(), checkInterval
	names := map[string]bool{}
	for _, cfg := range s.config.Load().Entries {
		names[cfg.Name] = true
		e := s.entryLocked(cfg.Name, now)
		if e.running {
			continue
		}
		due := e.due(&cfg, now)
		byTime := !due.IsZero() && !now.Before(due)
		bySending := sent && cfg.WithEachDelivery && !now.Before(e.restsUntil(&cfg))
		if e.demanded || byTime || bySending {
			e.demanded, e.running = false, true
			running.Go(func() { s.runEntry(ctx, cfg, e) })
		} else if !due.IsZero() {
			rest = min(rest, due.Sub(now))
		}
	}
	for name, e := range s.entries {
		if !names[name] && !e.running {
			delete(s.entries, name)
		}
	}
	return rest
}

// due returns when an entry is to be asked by its times; zero means never.
func (e *entry) due(cfg *config.Fetch, now time.Time) time.Time {
	var last time.Time
	switch {
	case e.last != nil:
		last = e.last.Started
	case len(cfg.At) > 0:
		last = e.since
	}
	next := nextTime(cfg, last, now)
	if rest := e.restsUntil(cfg); next.Before(rest) && !next.IsZero() && !last.After(now) {
		next = rest
	}
	return next
}

// restsUntil returns when an entry may be tried again after its last run.
func (e *entry) restsUntil(cfg *config.Fetch) time.Time {
	if e.last == nil {
		return time.Time{}
	}
	return e.last.Ended.Add(backOff(cfg, e.failures))
}

// nextTime returns when an entry is due by its times; zero means never. last is the start of its
// last run, or zero. For an entry with times of day that never ran, last is when it was first seen.
func nextTime(cfg *config.Fetch, last, now time.Time) time.Time {
	switch {
	case last.After(now): // the clock was set back
		return nextTime(cfg, now, now)
	case len(cfg.At) > 0:
		if last.IsZero() {
			last = now
		}
		return nextTimeOfDay(cfg.At, last)
	case cfg.Every == 0:
		return time.Time{}
	case last.IsZero():
		return now
	}
	return last.Add(cfg.Every)
}

// nextTimeOfDay returns the first of the times of day after a moment. A time that a day skips
// because summer time begins comes an hour later. A time that a day has twice comes once.
func nextTimeOfDay(at []time.Duration, after time.Time) (next time.Time) {
	year, month, day := after.Date()
	for add := range 3 {
		for _, of := range at {
			t := time.Date(year, month, day+add, int(of/time.Hour), int(of%time.Hour/time.Minute),
				int(of%time.Minute/time.Second), 0, after.Location())
			if t.After(after) && (next.IsZero() || t.Before(next)) {
				next = t
			}
		}
	}
	return next
}

// backOff returns how long an entry rests after a number of failures in a row. An entry with times
// of day keeps to them.
func backOff(cfg *config.Fetch, failures int) time.Duration {
	if failures == 0 || len(cfg.At) > 0 {
		return 0
	}
	wait := cmp.Or(cfg.Every, firstBackOff)
	for range min(failures-1, 16) {
		wait = min(2*wait, max(maxBackOff, cfg.Every))
	}
	return wait
}
