// Package traffic counts the mail of the current day and of the last 24 hours, for "pillarbox admin
// status", "top" and the page.
//
// Start with Counter. Counter.Read is a reader of package track, which calls it for every event.
// Counter.Restore counts the events that an earlier server stored.
package traffic

import (
	"context"
	"sync"
	"time"

	"pillarbox/mailstore/durable"
	"pillarbox/mailstore/track"
)

// Count is a number of messages and their octets.
type Count struct {
	Messages int64 `json:"messages"`
	Octets   int64 `json:"octets"`
}

func (c *Count) add(octets int64) {
	c.Messages++
	c.Octets += octets
}

// Day is what happened on a day. A message to three mailboxes is accepted once and delivered three
// times.
type Day struct {
	Since     time.Time `json:"since"`     // its begin in local time
	Complete  bool      `json:"complete"`  // the events from before the start of the server are in
	Accepted  Count     `json:"accepted"`  // taken from clients and programs
	Delivered Count     `json:"delivered"` // put into mailboxes
	Relayed   Count     `json:"relayed"`   // taken by other servers
	Fetched   Count     `json:"fetched"`   // by POP3
	Refused   int64     `json:"refused"`   // commands and messages
	Failed    int64     `json:"failed"`    // recipients that got a message back, or badmail
	// LoginsFailed are failed logins.
	LoginsFailed int64 `json:"logins_failed"`
}

// kinds are the events that add counts.
func kinds() []track.Kind {
	return []track.Kind{track.Accepted, track.Delivered, track.Relayed, track.Fetched, track.Refused,
		track.Failed, track.LoginFailed}
}

func (d *Day) add(e *track.Event) {
	switch e.Kind {
	case track.Accepted:
		d.Accepted.add(e.Size)
	case track.Delivered:
		d.Delivered.add(e.Size)
	case track.Relayed:
		d.Relayed.add(e.Size)
	case track.Fetched:
		d.Fetched.add(e.Size)
	case track.Refused:
		d.Refused++
	case track.Failed:
		d.Failed++
	case track.LoginFailed:
		d.LoginsFailed++
	}
}

// Counter counts events. It is safe for concurrent use.
type Counter struct {
	started time.Time

	mu       sync.Mutex
	day      Day            // owner: mu
	hours    map[int64]Hour // owner: mu; by their begin in Unix seconds
	restored bool           // owner: mu; the hours from before the start are counted
}

// New returns a Counter that has counted nothing. Restore must be given the events from before New.
func New() *Counter {
	now := time.Now()
	return &Counter{started: now, day: Day{Since: midnight(now)}, hours: make(map[int64]Hour)}
}

// midnight is the begin of the day in local time.
func midnight(now time.Time) time.Time {
	year, month, day := now.Local().Date()
	return time.Date(year, month, day, 0, 0, 0, 0, time.Local)
}

// Read counts an event. It is a track.Reader.
func (c *Counter) Read(e *track.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turnLocked(e.Time)
	c.day.add(e)
	c.countHourLocked(e)
}

// turnLocked begins a new day after midnight. The counts of a new day are complete.
func (c *Counter) turnLocked(now time.Time) {
	if begin := midnight(now); begin.After(c.day.Since) {
		c.day = Day{Since: begin, Complete: true}
	}
}

// Today returns the counts of the current day.
func (c *Counter) Today() Day {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turnLocked(time.Now())
	return c.day
}

// step is the time whose events Restore has in memory at once.
const step = time.Hour

// Restore counts the events of today and of the last 24 hours from before New. It takes some
// seconds, and must be called at most once. The counts stay incomplete if it fails.
func (c *Counter) Restore(ctx context.Context, fsys durable.FS) error {
	today := midnight(c.started)
	begin := firstHour(c.started)
	if today.Before(begin) { // on the day that has 25 hours
		begin = today
	}
	var before Day
	end := c.started.Truncate(time.Microsecond)
	for from := begin; from.Before(end); from = from.Add(step) {
		until := from.Add(step)
		if until.After(end) {
			until = end
		}
		q := track.Query{Kinds: kinds(), Since: from, Until: until.Add(-time.Microsecond)}
		found, err := track.Search(ctx, fsys, q)
		if err != nil {
			return err
		}
		c.restoreHours(found.Events)
		for i := range found.Events {
			if !found.Events[i].Time.Before(today) {
				before.add(&found.Events[i])
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.restored = true
	if c.day.Since.Equal(today) { // else midnight has passed meanwhile
		c.day = sum(c.day, before)
	}
	return nil
}

// sum adds the counts from before the start to those from then on.
func sum(day, before Day) Day {
	for _, pair := range []struct{ to, from *Count }{
		{&day.Accepted, &before.Accepted}, {&day.Delivered, &before.Delivered},
		{&day.Relayed, &before.Relayed}, {&day.Fetched, &before.Fetched},
	} {
		pair.to.Messages += pair.from.Messages
		pair.to.Octets += pair.from.Octets
	}
	day.Refused += before.Refused
	day.Failed += before.Failed
	day.LoginsFailed += before.LoginsFailed
	day.Complete = true
	return day
}
