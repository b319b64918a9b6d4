package web

import (
	"context"
	"runtime"
)

// turns limits how many pages are made at a time, to half of the processors. Pages would otherwise
// take all of them, and each command of a mail session would wait for its turn on a processor behind
// all the pages that are asked for. Requests for pages wait here instead.
type turns chan struct{}

func newTurns() turns { return make(turns, max(1, runtime.GOMAXPROCS(0)/2)) }

// take waits for a turn. It reports false if the client has gone first.
func (t turns) take(ctx context.Context) bool {
	select {
	case t <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (t turns) end() { <-t }

// elsewhere does what waits for other servers, without the turn that the request has meanwhile.
func (r *request) elsewhere(ask func()) {
	if !r.turn {
		ask()
		return
	}
	r.site.turns.end()
	defer func() { r.site.turns <- struct{}{} }()
	ask()
}
