package backup

import (
	"fmt"
	"path"
	"time"
)

// Keep is the rule of a prune: how many days, weeks and months keep their last snapshot. Days
// without a snapshot do not count.
type Keep struct{ Daily, Weekly, Monthly int }

// Decide returns which snapshots the rule keeps, by their times, the oldest first. The newest one is
// always kept. Days are those of the location of the times; weeks begin on Monday.
func (k Keep) Decide(times []time.Time) []bool {
	keep := make([]bool, len(times))
	for _, rule := range []struct {
		most int
		unit func(time.Time) string
	}{
		{k.Daily, func(t time.Time) string { return t.Format(time.DateOnly) }},
		{k.Weekly, func(t time.Time) string { y, w := t.ISOWeek(); return fmt.Sprint(y, w) }},
		{k.Monthly, func(t time.Time) string { return t.Format("2006-01") }},
	} {
		last, n := "", 0
		for i := len(times) - 1; i >= 0 && n < rule.most; i-- {
			if unit := rule.unit(times[i]); unit != last {
				keep[i], last = true, unit
				n++
			}
		}
	}
	if len(keep) > 0 {
		keep[len(keep)-1] = true
	}
	return keep
}

// Prune removes the snapshots that the rule does not keep, then the packs that no snapshot names. It
// returns the IDs of what it removed, or would remove if dry is set. It removes nothing while a
// description in the directory cannot be read.
func (r *Repo) Prune(rule Keep, location *time.Location, dry bool) (removed []string, err error) {
	unlock, err := r.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	all, damaged, err := r.List()
	if err == nil && len(damaged) > 0 {
		err = damaged[0]
	}
	if err != nil {
		return nil, err
	}
	times := make([]time.Time, len(all))
	for i, s := range all {
		times[i] = s.Time.In(location)
	}
	for i, keep := range rule.Decide(times) {
		if keep {
			continue
		}
		removed = append(removed, all[i].ID)
		if dry {
			continue
		}
		if err := r.FS.Remove(path.Join(snapshotsDir, all[i].ID+".json")); err != nil {
			return removed, err
		}
	}
	if dry {
		return removed, nil
	}
	// A snapshot must be gone for good before its packs go.
	if err := r.FS.SyncDir(snapshotsDir); err != nil {
		return removed, err
	}
	return removed, r.sweep()
}
