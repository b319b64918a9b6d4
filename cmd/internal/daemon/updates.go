package daemon

import (
	"context"
	"slices"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
)

// updates looks at the configuration file every config.update_interval and applies changes, as a
// Domino server does.
type updates struct {
	d       *Daemon
	retimed chan struct{} // receives a value after a reload: the interval may be another

	pending []string // the keys that wait for a restart
	failed  string   // why the file could not be read the last time; "" means that it could
}

// makeUpdates comes late in makers: its reload must see the settings in force.
func (d *Daemon) makeUpdates(*config.Config) (part, error) {
	u := &updates{d: d, retimed: make(chan struct{}, 1)}
	p := loop("configuration updates", func(ctx context.Context) {
		u.run(ctx, func() time.Duration { return d.office.Config().UpdateInterval }, u.look)
	})
	p.reload = reloads(func(*config.Config) {
		select {
		case u.retimed <- struct{}{}:
		default:
		}
	})
	return p, nil
}

// run calls look at each interval until ctx ends. An interval of 0 waits for another one.
func (u *updates) run(ctx context.Context, interval func() time.Duration, look func()) {
	for {
		var due <-chan time.Time
		if wait := interval(); wait > 0 {
			due = time.After(wait)
		}
		select {
		case <-due:
			look()
		case <-u.retimed:
		case <-ctx.Done():
			return
		}
	}
}

// look reloads if the file has other settings than those in force. A file with mistakes is logged
// once, and the settings in force stay.
func (u *updates) look() {
	next, err := u.d.system.Load()
	if err != nil {
		if u.failed != err.Error() {
			u.failed = err.Error()
			u.d.log.Error("the changed configuration has mistakes; nothing changed", "error", err)
		}
		return
	}
	if u.failed != "" {
		u.failed = ""
		u.d.log.Info("the configuration has no more mistakes")
	}
	changed := config.Diff(u.d.office.Config(), next)
	if slices.Equal(changed, u.pending) {
		return
	}
	u.pending = u.d.reloadFor(admin.Actor{Who: "server", From: "config.update_interval", Act: "reload"}).Restart
}
