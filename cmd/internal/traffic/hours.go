package traffic

import (
	"time"

	"pillarbox/mailstore/track"
)

// Hour is what happened in one hour.
type Hour struct {
	Since time.Time `json:"since"`
	// Known is false for an hour from before the start of the server whose events were not read.
	Known     bool  `json:"known"`
	Delivered int64 `json:"delivered"` // messages into mailboxes
	Relayed   int64 `json:"relayed"`   // messages to other servers
	Refused   int64 `json:"refused"`
}

// hoursShown is the number of hours that are kept, the current one among them.
const hoursShown = 24

// firstHour is the begin of the earliest hour that is kept.
func firstHour(now time.Time) time.Time {
	return now.Truncate(time.Hour).Add(-(hoursShown - 1) * time.Hour)
}

func (c *Counter) restoreHours(events []track.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range events {
		c.countHourLocked(&events[i])
	}
}

func (c *Counter) countHourLocked(e *track.Event) {
	begin := e.Time.Truncate(time.Hour)
	h := c.hours[begin.Unix()]
	switch e.Kind {
	case track.Delivered:
		h.Delivered++
	case track.Relayed:
		h.Relayed++
	case track.Refused:
		h.Refused++
	default:
		return
	}
	if len(c.hours) > 2*hoursShown { // the clock may jump
		clear(c.hours)
	}
	c.hours[begin.Unix()] = h
}

// Hours returns the last 24 hours, the current one last.
func (c *Counter) Hours() []Hour {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	var all []Hour
	for begin := firstHour(now); !begin.After(now); begin = begin.Add(time.Hour) {
		h := c.hours[begin.Unix()]
		h.Since, h.Known = begin, c.restored || !begin.Before(c.started.Truncate(time.Hour))
		all = append(all, h)
	}
	for key := range c.hours {
		if key < firstHour(now).Unix() {
			delete(c.hours, key)
		}
	}
	return all
}
