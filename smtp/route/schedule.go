package route

import (
	"hash/fnv"
	"slices"
	"time"
)

// Schedule is when a message that could not be delivered is tried again, and
// when its sender hears of it. All times are counted from its arrival.
type Schedule struct {
	Retries     []time.Duration // waits after the first, second, ... failure; the last repeats
	DelayNotice time.Duration   // the sender is told that it takes longer; 0: never
	Expire      time.Duration   // the message is given up and goes back
}

// DefaultSchedule is that of the Windows SMTP service: 15, 30, 60, then every
// 240 minutes; a notice after 12 hours; the end after two days.
func DefaultSchedule() Schedule {
	return Schedule{
		Retries:     []time.Duration{15 * time.Minute, 30 * time.Minute, time.Hour, 4 * time.Hour},
		DelayNotice: 12 * time.Hour,
		Expire:      48 * time.Hour,
	}
}

// Wait is how long to wait after so many failed attempts, 1 being the first. It
// differs by up to a tenth either way from one id to another, so that messages
// that failed together do not come back together, and is the same for the same
// arguments. Without Retries those of DefaultSchedule are taken.
func (s Schedule) Wait(attempts int, id string) time.Duration {
	retries := s.Retries
	if len(retries) == 0 {
		retries = DefaultSchedule().Retries
	}
	wait := retries[min(max(attempts, 1), len(retries))-1]
	h := fnv.New32a()
	h.Write([]byte(id))
	h.Write([]byte{byte(attempts)})
	share := int64(h.Sum32()%2001) - 1000 // thousandths of a tenth
	return wait + time.Duration(int64(wait/10000)*share)
}

// Longest is about the longest wait between two attempts.
func (s Schedule) Longest() time.Duration {
	if len(s.Retries) == 0 {
		s.Retries = DefaultSchedule().Retries
	}
	return slices.Max(s.Retries)
}
