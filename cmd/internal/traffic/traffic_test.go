package traffic

import (
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/track"
)

// Each kind of event is counted where it belongs, others are not.
func TestDay(t *testing.T) {
	c := New()
	for _, kind := range []track.Kind{track.Accepted, track.Delivered, track.Delivered, track.Relayed,
		track.Fetched, track.Refused, track.Failed, track.LoginFailed, track.Connected, track.Queued} {
		c.Read(&track.Event{Kind: kind, Size: 100, Time: time.Now()})
	}
	got := c.Today()
	want := Day{
		Since: got.Since, Accepted: Count{1, 100}, Delivered: Count{2, 200}, Relayed: Count{1, 100},
		Fetched: Count{1, 100}, Refused: 1, Failed: 1, LoginsFailed: 1,
	}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if len(kinds()) != 7 {
		t.Errorf("%d kinds are looked for", len(kinds()))
	}
}

// A day ends at midnight, with and without an event.
func TestMidnight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New()
		read := func() { c.Read(&track.Event{Kind: track.Refused, Time: time.Now()}) }
		time.Sleep(time.Until(midnight(time.Now().Add(24*time.Hour))) - time.Second)
		read()
		if got := c.Today(); got.Refused != 1 || got.Complete {
			t.Errorf("before midnight: %+v", got)
		}
		time.Sleep(2 * time.Second)
		read()
		if got := c.Today(); got.Refused != 1 || !got.Complete || time.Since(got.Since) != time.Second {
			t.Errorf("after midnight: %+v", got)
		}
		time.Sleep(24 * time.Hour)
		if got := c.Today(); got.Refused != 0 {
			t.Errorf("a day later: %+v", got)
		}
	})
}

// After a restart the counts of the day go on. Each event counts once, and none of yesterday.
func TestRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys, quiet := mailtest.NewPowerFS(), slog.New(slog.DiscardHandler)
		log := track.Open(fsys, track.Options{}, quiet)
		time.Sleep(time.Until(midnight(time.Now().Add(24*time.Hour))) - 3*time.Hour)
		for range 20 { // from 3 h before midnight to 7 h after it
			log.Add(track.Event{Kind: track.Accepted, Size: 10})
			log.Add(track.Event{Kind: track.Connected})
			time.Sleep(30 * time.Minute)
		}
		log.Close()
		c := New()
		log = track.Open(fsys, track.Options{}, quiet, c.Read)
		log.Add(track.Event{Kind: track.Accepted, Size: 1})
		log.Flush()
		if got := c.Today(); got.Accepted != (Count{1, 1}) || got.Complete {
			t.Errorf("before: %+v", got)
		}
		if err := c.Restore(t.Context(), fsys); err != nil {
			t.Fatal(err)
		}
		if got := c.Today(); got.Accepted != (Count{15, 141}) || !got.Complete {
			t.Errorf("after: %+v", got)
		}
		log.Close()
	})
}

// If the events cannot be read, the counts stay incomplete. If midnight passes meanwhile, those of
// yesterday are not added.
func TestRestoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		power := mailtest.NewPowerFS()
		log := track.Open(power, track.Options{}, slog.New(slog.DiscardHandler))
		time.Sleep(time.Hour)
		log.Add(track.Event{Kind: track.Accepted})
		log.Close()
		time.Sleep(time.Hour)
		c := New()
		broken := mailtest.NewFailFS(power)
		broken.Start(mailtest.From(1, os.ErrPermission))
		if err := c.Restore(t.Context(), broken); err == nil || c.Today().Complete {
			t.Errorf("%v, %+v", err, c.Today())
		}
		time.Sleep(24 * time.Hour)
		c.Today()
		if err := c.Restore(t.Context(), power); err != nil || c.Today().Accepted.Messages != 0 {
			t.Errorf("%v, %+v", err, c.Today())
		}
	})
}
