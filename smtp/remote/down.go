package remote

import (
	"slices"
	"sync"
	"time"

	"pillarbox/smtp/route"
)

// downPause is how long a route that failed comes after the others of the same domains.
const downPause = 5 * time.Minute

// downRoutes remembers the routes that failed, so that not every message waits for a server that is
// down. It is safe for concurrent use.
type downRoutes struct {
	mu    sync.Mutex
	until map[*route.Route]time.Time // guarded by mu
}

// order returns the routes in the order to try them: those that failed lately come last.
func (d *downRoutes) order(all []*route.Route, now time.Time) []*route.Route {
	if len(all) < 2 {
		return all
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	rank := func(r *route.Route) int {
		if now.Before(d.until[r]) {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(all, func(a, b *route.Route) int { return rank(a) - rank(b) })
	return all
}

// record keeps whether a route failed.
func (d *downRoutes) record(r *route.Route, failed bool, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case !failed:
		delete(d.until, r)
	case d.until == nil:
		d.until = map[*route.Route]time.Time{r: now.Add(downPause)}
	default:
		d.until[r] = now.Add(downPause)
	}
}
