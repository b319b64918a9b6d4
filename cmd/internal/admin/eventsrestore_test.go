package admin

import (
	"testing"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/track"
)

// TestRestoreEvents checks that a message whose events were not written gets them once, and that no
// other message gets any.
func TestRestoreEvents(t *testing.T) {
	o := quotaOffice(t)
	box, err := o.Dir.Mailbox(mustAddress(t, o, "anna@office.example"))
	if err != nil {
		t.Fatal(err)
	}
	if end := o.EventsEnd(t.Context()); !end.IsZero() {
		t.Errorf("without events they end at %v", end)
	}
	putOld(t, o, box.Dir, time.Now().Add(-time.Hour), 1)
	known := o.Store.NewID(time.Now())
	at := mailstore.IDTime(known)
	if err := track.Append(o.Root, track.Event{Time: at, Kind: track.Accepted, ID: known}); err != nil {
		t.Fatal(err)
	}
	putOld(t, o, box.Dir, at, 2)
	for range 2 {
		if err := o.RestoreEvents(t.Context(), o.EventsEnd(t.Context()), at.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	found, err := track.FindStories(t.Context(), o.Root, track.Query{Name: "anna@office.example"}, 10)
	if err != nil || len(found.Messages) != 1 || len(found.Messages[0].Events) != 2 {
		t.Fatalf("%+v, %v", found, err)
	}
	if e := found.Messages[0].Events[0]; e.Kind != track.Accepted || e.Rule != restoredRule || !e.Time.Equal(at) {
		t.Errorf("restored: %+v", e)
	}
}
