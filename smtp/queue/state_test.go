package queue

import (
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/smtp/route"
)

// TestState: held messages count as held, and only the others have an age.
func TestState(t *testing.T) {
	bubble(t, func(w *world) {
		if s := w.q.State(); s != (State{}) {
			t.Errorf("empty: %+v", s)
		}
		table := w.table
		table.Routes = []route.Route{{
			Name: "branch", Domains: []string{"branch.example"}, Hold: true,
			SmartHost: []route.Host{{Name: "mx.branch.example"}}, Schedule: route.DefaultSchedule(),
		}}
		w.q.SetConfig(Config{Routes: &table})
		w.set(all(later))
		first := w.send("anna@office.example", "a@one.example")
		w.send("anna@office.example", "b@branch.example")
		began := time.Now()
		time.Sleep(time.Hour)
		w.send("anna@office.example", "c@two.example")
		synctest.Wait()
		s := w.q.State()
		if s.Messages != 3 || s.Held != 0 || s.ETRNHeld != 1 ||
			s.Oldest.Sub(began).Abs() > time.Second {
			t.Errorf("%+v", s)
		}
		if _, err := w.q.Do(Hold, Filter{IDs: []string{first}}); err != nil {
			t.Fatal(err)
		}
		s = w.q.State()
		if s.Messages != 3 || s.Held != 1 || s.ETRNHeld != 1 ||
			s.Oldest.Sub(began.Add(time.Hour)).Abs() > time.Second {
			t.Errorf("with the oldest held: %+v", s)
		}
	})
}
