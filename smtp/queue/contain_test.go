package queue

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/smtp"
)

// quarantined returns the names of the files in quarantine.
func (w *world) quarantined() (n int) {
	w.t.Helper()
	entries, err := os.ReadDir(filepath.Join(w.dir, "queue", "quarantine"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".eml") {
			n++
		}
	}
	return n
}

// A message that causes a panic when it is sent is held, now and after a restart. Other messages
// are sent, also to the same destination. Release tries it again.
func TestPanicWhenSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		w.set(func(a smtp.Attempt) smtp.Outcome { panic("what is this header?") })
		bad := w.send("a@us.example", "b@x.example", "c@y.example")
		synctest.Wait()
		w.set(all(delivered))
		w.send("a@us.example", "d@x.example")
		w.wantLen(1)
		w.clear()
		w.stop()
		w.open()
		time.Sleep(time.Hour)
		w.saw("after a restart", &w.log)
		items, _, err := w.q.List(Filter{Held: true}, 0)
		// The first attempt ended in a panic, so the second was not made.
		blamed := func(r Recipient) bool {
			return r.Last != nil && strings.Contains(r.Last.Reply.Text, "because of a fault in this server")
		}
		if err != nil || len(items) != 1 || items[0].ID != bad || !slices.ContainsFunc(items[0].To, blamed) {
			t.Fatalf("held: %v, %v", items, err)
		}
		if n, err := w.q.Do(Release, Filter{IDs: []string{bad}}); n != 1 || err != nil {
			t.Errorf("released %d, %v", n, err)
		}
		w.wantLen(0)
		if n := w.quarantined(); n != 0 {
			t.Errorf("%d in quarantine", n)
		}
	})
}

// A message that causes a panic in its report or in work on its state goes into quarantine. No lock
// stays held, and no worker is missing.
func TestPanicWhenReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		w.q.Report = func(n DSNRequest) error {
			if n.Item.From == address("bad@us.example") {
				panic("what is this header?")
			}
			return w.report(n)
		}
		w.set(all(refused))
		for range 3 {
			w.send("bad@us.example", "b@x.example")
			w.send("good@us.example", "b@x.example")
			synctest.Wait()
		}
		w.wantLen(0)
		if n := w.quarantined(); n != 3 {
			t.Errorf("%d in quarantine, want 3", n)
		}
		if told := w.told(); len(told) != 3 {
			t.Errorf("told %q", told)
		}
		w.q.mu.Lock()
		defer w.q.mu.Unlock()
		if w.q.trying != 0 || len(w.q.entries)+len(w.q.live)+len(w.q.deadlines) != 0 {
			t.Errorf("left: %d workers, %d entries, %d live, %d deadlines", w.q.trying, len(w.q.entries), len(w.q.live), len(w.q.deadlines))
		}
	})
}

// A panic while the clock check expires a message and reports it is contained too.
func TestPanicWhenGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		w.set(unreachable)
		w.q.Report = func(DSNRequest) error { panic("what is this header?") }
		w.send("a@us.example", "b@x.example")
		time.Sleep(10 * 24 * time.Hour)
		w.wantLen(0)
		if n := w.quarantined(); n != 1 {
			t.Errorf("%d in quarantine", n)
		}
		w.set(all(delivered))
		w.send("a@us.example", "b@y.example")
		w.wantLen(0)
	})
}
