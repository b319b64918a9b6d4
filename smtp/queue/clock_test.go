package queue

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/smtp"
	"pillarbox/smtp/route"
)

const years = 4 * 365 * 24 * time.Hour

// TestClockSetRight runs a queue while the clock is years ahead. Then the clock is corrected, at
// once or with a restart between. Waiting and new mail is sent as if the clock had always been
// right.
func TestClockSetRight(t *testing.T) {
	for name, test := range map[string]struct {
		restart bool
		answer  func(smtp.Attempt) smtp.Outcome
		fresh   bool // another message comes after the clock is right
	}{
		"unreachable":                       {false, unreachable, false},
		"unreachable, another comes":        {false, unreachable, true},
		"unreachable, restart":              {true, unreachable, false},
		"unreachable, restart, another":     {true, unreachable, true},
		"deferred by the other side":        {false, all(later), false},
		"deferred, restart":                 {true, all(later), false},
		"deferred, restart, another comes":  {true, all(later), true},
		"deferred by it, and another comes": {false, all(later), true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				w.table.Default.Schedule = route.Schedule{Retries: []time.Duration{10 * time.Minute}, Expire: 48 * time.Hour}
				w.ahead.Store(int64(years))
				w.set(test.answer)
				w.send("anna@office.example", "x@remote.example")
				synctest.Wait()
				if test.restart {
					w.stop()
					w.ahead.Store(0)
					w.open()
				} else {
					w.ahead.Store(0)
				}
				w.set(nil)
				want := 1
				if test.fresh {
					w.send("anna@office.example", "y@remote.example")
					want = 2
				}
				w.clear()
				time.Sleep(15 * time.Minute)
				synctest.Wait()
				if sent := w.attempts(); w.q.Len() != 0 || len(sent) < 1 || want == 2 && len(sent) > 2 {
					t.Errorf("%d messages wait; sent: %q", w.q.Len(), slices.Clone(sent))
				}
			})
		})
	}
}

// TestGivenUpAfterClockSetRight: a message that can never be sent expires in time by the right
// clock.
func TestGivenUpAfterClockSetRight(t *testing.T) {
	for _, restart := range []bool{false, true} {
		bubble(t, func(w *world) {
			w.table.Default.Schedule = route.Schedule{Retries: []time.Duration{time.Hour}, Expire: 10 * time.Hour}
			w.ahead.Store(int64(years))
			w.set(unreachable)
			w.send("anna@office.example", "x@remote.example")
			time.Sleep(30 * time.Minute)
			if restart {
				w.stop()
			}
			w.ahead.Store(0)
			if restart {
				w.open()
			}
			time.Sleep(10*time.Hour + 10*time.Minute)
			synctest.Wait()
			if told := w.told(); w.q.Len() != 0 || len(told) != 1 {
				t.Errorf("restart %v: %d messages wait; reports: %q", restart, w.q.Len(), told)
			}
		})
	}
}

func TestSetBack(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct{ wall, elapsed, want time.Duration }{
		{time.Hour, time.Hour, 0}, {time.Hour, time.Hour + time.Second, 0}, {0, time.Hour, time.Hour},
		{-years, time.Minute, years + time.Minute}, {years, time.Hour, 0}, {time.Hour, 0, 0},
	} {
		now := clocks{at.Add(c.wall), c.elapsed}
		if got := now.setBack(clocks{wall: at}); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// TestClockSetForward has messages in a queue whose clock is behind and is then corrected: while
// the queue runs, with a restart before, or with a restart after the messages were read with the
// wrong clock. They are tried for the full time.
func TestClockSetForward(t *testing.T) {
	const away = 30 * 365 * 24 * time.Hour // from 2000: after 2026
	for name, jump := range map[string]func(w *world){
		"while it works":  func(w *world) { w.ahead.Store(int64(away)) },
		"asleep for days": func(w *world) { w.ahead.Store(int64(5 * 24 * time.Hour)) },
		"boots in the past": func(w *world) {
			w.stop()
			w.ahead.Store(-int64(away))
			w.open()
			time.Sleep(10 * time.Second)
			w.ahead.Store(0)
		},
		"power cut before it is set": func(w *world) {
			w.stop()
			w.ahead.Store(int64(away))
			w.open()
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				w.table.Default.Schedule = route.Schedule{Retries: []time.Duration{time.Hour}, DelayNotice: 4 * time.Hour, Expire: 48 * time.Hour}
				w.set(unreachable)
				w.send("anna@office.example", "x@remote.example")
				held := w.send("anna@office.example", "held@remote.example")
				time.Sleep(time.Hour)
				if n, err := w.q.Do(Hold, Filter{IDs: []string{held}}); n != 1 || err != nil {
					t.Fatal(n, err)
				}
				jump(w)
				time.Sleep(2*time.Hour + 30*time.Minute)
				w.saw("reports too early", &w.reports)
				time.Sleep(41 * time.Hour)
				synctest.Wait()
				if told := w.told(); w.q.Len() != 2 || len(told) != 1 || !strings.Contains(told[0], "delayed") {
					t.Errorf("%d messages wait; reports: %q", w.q.Len(), told)
				}
				time.Sleep(6 * time.Hour)
				synctest.Wait()
				if told := w.told(); w.q.Len() != 1 || len(told) != 2 {
					t.Errorf("after its time %d messages wait; reports: %q", w.q.Len(), told)
				}
			})
		})
	}
}

// TestClockSetForwardAndBack: setting the clock forward by mistake and back again changes nothing.
func TestClockSetForwardAndBack(t *testing.T) {
	bubble(t, func(w *world) {
		w.table.Default.Schedule = route.Schedule{Retries: []time.Duration{time.Hour}, Expire: 10 * time.Hour}
		w.set(unreachable)
		w.send("anna@office.example", "x@remote.example")
		time.Sleep(time.Hour)
		w.ahead.Store(int64(years))
		time.Sleep(time.Hour)
		w.ahead.Store(0)
		time.Sleep(7 * time.Hour)
		w.wantLen(1)
		time.Sleep(time.Hour + 10*time.Minute)
		w.wantLen(0)
	})
}

// TestGivenUpAfterStart: a message is tried before it expires, even if its time ended while the
// server was down, or only by a clock that is wrong at the start.
func TestGivenUpAfterStart(t *testing.T) {
	for _, set := range []bool{false, true} {
		bubble(t, func(w *world) {
			w.set(unreachable)
			w.send("anna@office.example", "x@remote.example")
			synctest.Wait()
			w.stop()
			w.ahead.Store(int64(20 * 24 * time.Hour))
			w.clear()
			w.open()
			time.Sleep(10 * time.Minute)
			if w.q.Len() != 1 || len(w.attempts()) == 0 {
				t.Errorf("%d wait, attempts: %v", w.q.Len(), w.attempts())
			}
			want := 0
			if set {
				w.ahead.Store(0)
				want = 1
			}
			time.Sleep(startGrace)
			w.wantLen(want)
		})
	}
}
