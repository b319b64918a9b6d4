package web

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// Only so many pages are made at a time. One that waits for other servers leaves its turn to another,
// and a client that goes leaves none behind.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Site{turns: make(turns, 1)}
		first := &request{site: s, turn: s.turns.take(t.Context())}
		gone, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if !first.turn || s.turns.take(gone) {
			t.Fatalf("first %v, and a second at the same time", first.turn)
		}
		first.elsewhere(func() {
			if !s.turns.take(t.Context()) {
				t.Error("no turn while the first waits")
			}
			time.AfterFunc(time.Second, s.turns.end)
		})
		if len(s.turns) != 1 {
			t.Errorf("%d turns after the wait", len(s.turns))
		}
		s.turns.end()
		(&request{site: s}).elsewhere(func() {}) // an act has no turn
		if len(s.turns) != 0 {
			t.Errorf("%d turns at the end", len(s.turns))
		}
	})
}
