package daemon

import (
	"context"
	"os"
	"slices"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/durable"
)

// updates looks at the configuration file every config.update_interval and applies changes, as a
// Domino server does. A file that is being written may be cut off after any line, so a change is
// applied only if two looks find the same file.
type updates struct {
	d       *Daemon
	retimed chan struct{} // receives a value after a reload: the interval may be another

	seen    durable.Stamp // the file at the last look
	pending []string      // the keys that wait for a restart
	failed  string        // why the file could not be read the last time; "" means that it could
	kept    bool          // the file no longer has the interval, and the log says so
}

const (
	secondLook = time.Minute     // the longest time from a look at a changed file to the next look
	settleTime = 5 * time.Second // a younger file may still be written
)

// makeUpdates comes late in makers: its reload must see the settings in force.
func (d *Daemon) makeUpdates(*config.Config) (part, error) {
	u := &updates{d: d, retimed: make(chan struct{}, 1)}
	p := loop("configuration updates", func(ctx context.Context) {
		u.settled() // the first look compares with the file at start
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

// run calls look at each interval until ctx ends, and again soon after a look that asks for it. An
// interval of 0 waits for another one.
func (u *updates) run(ctx context.Context, interval func() time.Duration, look func() (again bool)) {
	again := false
	for {
		var due <-chan time.Time
		switch wait := interval(); {
		case wait > 0 && again:
			due = time.After(min(wait, secondLook))
		case wait > 0:
			due = time.After(wait)
		}
		select {
		case <-due:
			again = look()
		case <-u.retimed:
		case <-ctx.Done():
			return
		}
	}
}

// look reloads if the file has other settings than those in force. A file with mistakes is logged
// once, and the settings in force stay. The result is true if the file may still be written: then
// look has not used it.
func (u *updates) look() (again bool) {
	if !u.settled() {
		return true
	}
	next, err := u.d.system.Load()
	if !u.settled() {
		return true
	}
	if err != nil {
		if u.failed != err.Error() {
			u.failed = err.Error()
			u.d.log.Error("the changed configuration has mistakes; nothing changed", "error", err)
		}
		return false
	}
	if u.failed != "" {
		u.failed = ""
		u.d.log.Info("the configuration has no more mistakes")
	}
	u.keepInterval(next)
	if slices.Equal(config.Diff(u.d.office.Config(), next), u.pending) {
		return false
	}
	u.pending = u.d.reloadFor(
		admin.Actor{Who: "server", From: "config.update_interval", Act: "reload"},
		func() (*config.Config, error) { return next, nil }).Restart
	return false
}

// settled reports whether the file is the same as at the last call and is not new. A missing file is
// settled: reading it returns the error.
func (u *updates) settled() bool {
	info, err := os.Stat(u.d.office.Config().File())
	if err != nil {
		return true
	}
	before := u.seen
	u.seen, _ = durable.StampOf(info)
	age := time.Since(info.ModTime()) // negative if another machine's clock is ahead
	return u.seen == before && (age < 0 || age >= settleTime)
}

// keepInterval keeps the interval in force if the file no longer has one. A file that was cut off
// would otherwise end the looks, and the whole file would never be applied.
func (u *updates) keepInterval(next *config.Config) {
	inForce := u.d.office.Config().UpdateInterval
	switch {
	case next.UpdateInterval > 0:
		u.kept = false
	case inForce > 0:
		next.UpdateInterval = inForce
		if !u.kept {
			u.d.log.Warn("the changed configuration has no config.update_interval; "+
				"the server looks for changes as before until 'pillarbox admin reload'", "interval", inForce)
		}
		u.kept = true
	}
}
