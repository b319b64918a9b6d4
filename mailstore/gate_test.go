package mailstore

import (
	"testing"
	"testing/synctest"
)

// TestGateMakesRoom checks that only enterToMakeRoom enters while lock waits for an operation
// inside, and that it waits while lock holds the store.
func TestGateMakesRoom(t *testing.T) { synctest.Test(t, gateMakesRoom) }

func gateMakesRoom(t *testing.T) {
	g := newGate()
	must(t, g.enter())
	locked, entered := make(chan error, 1), make(chan error, 1)
	go func() { locked <- g.lock() }()
	synctest.Wait()
	must(t, g.enterToMakeRoom())
	if g.tryEnter() {
		t.Error("an operation enters while a caller waits for the store")
	}
	g.leave()
	g.leave()
	must(t, <-locked)
	go func() { entered <- g.enterToMakeRoom() }()
	synctest.Wait()
	if len(entered) > 0 {
		t.Error("an operation enters while a caller has the store")
	}
	g.unlock()
	must(t, <-entered)
	g.leave()
}
