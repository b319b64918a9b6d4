package backup

import "time"

const (
	// retryTime is the time after which a backup that failed is tried again.
	retryTime = time.Hour
	// lateTime is how long after its time a backup is late.
	lateTime = 12 * time.Hour
)

// scheduled returns the last of the times of day that is not after now, zero without any. at are
// times since midnight, in the location of now.
func scheduled(now time.Time, at []time.Duration) (last time.Time) {
	year, month, day := now.Date()
	for _, d := range at {
		for back := range 2 {
			hour, minute := int(d/time.Hour), int(d/time.Minute)%60
			t := time.Date(year, month, day-back, hour, minute, 0, 0, now.Location())
			if !t.After(now) && t.After(last) {
				last = t
			}
		}
	}
	return last
}

// Due reports whether a backup must be made now: none has been whole since the last scheduled time,
// and none was tried within the last hour. success and tried are the beginnings of the last whole
// backup and of the last one; zero if there was none.
func Due(now time.Time, at []time.Duration, success, tried time.Time) bool {
	last := scheduled(now, at)
	if last.IsZero() || !success.Before(last) && !success.After(now) {
		return false
	}
	return tried.Before(last) || tried.After(now) || now.Sub(tried) >= retryTime
}

// Late reports whether a scheduled backup is missing for half a day. since is when the schedule
// began.
func Late(now time.Time, at []time.Duration, success, since time.Time) bool {
	last := scheduled(now.Add(-lateTime), at)
	return !last.IsZero() && success.Before(last) && since.Before(last)
}
