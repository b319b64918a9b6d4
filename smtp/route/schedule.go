package route

import (
	"hash/fnv"
	"slices"
	"time"
)

// Schedule says when an undeliverable message is retried and when its sender is notified. All times
// count from the arrival of the message.
type Schedule struct {
	Retries     []time.Duration // waits after the first, second, ... failure; the last one repeats
	DelayNotice time.Duration   // age at which the sender gets a notice of the delay; 0 means never
	Expire      time.Duration   // age at which the message is returned
}

// DefaultSchedule returns the schedule of the Windows SMTP service: retries after 15, 30, 60 and
// then every 240 minutes, a notice after 12 hours, and return after two days.
func DefaultSchedule() Schedule {
	return Schedule{
		Retries:     []time.Duration{15 * time.Minute, 30 * time.Minute, time.Hour, 4 * time.Hour},
		DelayNotice: 12 * time.Hour,
		Expire:      48 * time.Hour,
	}
}

// Wait returns the wait after the given number of failed attempts, which starts at 1. It varies by
// up to a tenth either way with id, so that messages that failed together are not retried together.
// The same arguments give the same result. Without Retries it uses those of DefaultSchedule.
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

// Longest returns the longest wait between two attempts, before the variation by id.
func (s Schedule) Longest() time.Duration {
	if len(s.Retries) == 0 {
		s.Retries = DefaultSchedule().Retries
	}
	return slices.Max(s.Retries)
}
