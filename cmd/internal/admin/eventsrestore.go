package admin

import (
	"context"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/track"
)

// unwritten is how long before a crash events may not have been written.
const unwritten = 5 * time.Second

// restoredRule is the Rule of an Accepted that was restored.
const restoredRule = "unknown: the event was restored after a crash"

// EventsEnd returns the time of the newest event. A server asks at its start, before it adds events.
func (o *Service) EventsEnd(ctx context.Context) time.Time {
	newest, err := track.Search(ctx, o.Root, track.Query{Limit: 1})
	if err != nil || len(newest.Events) == 0 {
		return time.Time{}
	}
	return newest.Events[0].Time
}

// RestoreEvents adds the events of messages that arrived shortly before end or later, and that a
// crash kept from being written. end is the result of EventsEnd; until is the start of the server.
// The message itself says no more than its ID and its mailbox.
func (o *Service) RestoreEvents(ctx context.Context, end, until time.Time) error {
	if end.IsZero() {
		return nil
	}
	since := end.Add(-unwritten).Truncate(time.Second)
	there, err := o.arrivedBetween(ctx, since, until)
	if err != nil || len(there) == 0 {
		return err
	}
	var ids []string
	for _, e := range there {
		ids = append(ids, e.ID)
	}
	known, err := track.Search(ctx, o.Root, track.Query{IDs: ids, Kinds: []track.Kind{track.Accepted}})
	if err != nil {
		return err
	}
	told := make(map[string]bool)
	for _, e := range known.Events {
		told[e.ID] = true
	}
	begun := make(map[string]bool) // its Accepted is restored
	for _, e := range there {
		if told[e.ID] {
			continue
		}
		if !begun[e.ID] {
			begun[e.ID] = true
			o.addEvent(track.Event{
				Time: e.Time, Kind: track.Accepted, ID: e.ID, Size: e.Size, Count: 1, Rule: restoredRule,
			})
		}
		o.addEvent(e)
	}
	return nil
}

// arrivedBetween returns where messages are that arrived in a period.
func (o *Service) arrivedBetween(
	ctx context.Context, since, until time.Time,
) (there []track.Event, err error) {
	add := func(kind track.Kind, id, to string, size int64) {
		at := mailstore.IDTime(id)
		if !at.IsZero() && !at.Before(since) && at.Before(until) {
			there = append(there, track.Event{Time: at, Kind: kind, ID: id, To: to, Size: size})
		}
	}
	domains, err := o.Dir.Domains()
	if err != nil {
		return nil, err
	}
	for _, domain := range domains {
		boxes, err := o.Dir.MailboxesAsFound(domain)
		if err != nil {
			continue // a damaged domain is told of elsewhere
		}
		for _, box := range boxes {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			info, err := o.Root.Lstat(box.Dir)
			if err != nil || info.ModTime().Before(since) {
				continue // no message came
			}
			files, _ := o.Root.ReadNames(box.Dir)
			for _, file := range files {
				if name, ok := mailstore.ParseName(file); ok {
					add(track.Delivered, name.ID, box.Address.String(), name.Size)
				}
			}
		}
	}
	queued, _, err := o.Store.Spool().List(false)
	for _, id := range queued {
		add(track.Queued, id, "", 0)
	}
	return there, err
}
