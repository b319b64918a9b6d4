package backup

import (
	"testing"
	"time"
)

func TestDue(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	at := func(s string) time.Time {
		if s == "" {
			return time.Time{}
		}
		v, err := time.ParseInLocation("2006-01-02 15:04", s, berlin)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	night := []time.Duration{2 * time.Hour}
	for _, c := range []struct {
		name                string
		now, success, tried string
		times               []time.Duration
		due                 bool
	}{
		{"no times", "2026-12-01 13:00", "", "", nil, false},
		{"never made", "2026-12-01 13:00", "", "", night, true},
		{"made tonight", "2026-12-01 13:00", "2026-12-01 02:00", "2026-12-01 02:00", night, false},
		{"made yesterday", "2026-12-01 13:00", "2026-11-30 02:00", "2026-11-30 02:00", night, true},
		{"not yet", "2026-12-01 01:59", "2026-11-30 02:00", "2026-11-30 02:00", night, false},
		{"now", "2026-12-01 02:00", "2026-11-30 02:00", "2026-11-30 02:00", night, true},
		{"failed a moment ago", "2026-12-01 02:59", "2026-11-30 02:00", "2026-12-01 02:00", night, false},
		{"failed an hour ago", "2026-12-01 03:00", "2026-11-30 02:00", "2026-12-01 02:00", night, true},
		{"failed in another night", "2026-12-01 02:00", "", "2026-12-01 01:30", night, true},
		{"the clock was set back", "2026-12-01 13:00", "2027-06-01 02:00", "2027-06-01 02:00", night, true},
		{"twice a day", "2026-12-01 13:00", "2026-12-01 02:00", "2026-12-01 02:00",
			[]time.Duration{2 * time.Hour, 12*time.Hour + 30*time.Minute}, true},
		{"an hour that does not exist", "2026-03-29 04:00", "2026-03-28 02:30", "2026-03-28 02:30",
			[]time.Duration{2*time.Hour + 30*time.Minute}, true},
	} {
		if got := Due(at(c.now), c.times, at(c.success), at(c.tried)); got != c.due {
			t.Errorf("%s: due %v, want %v", c.name, got, c.due)
		}
	}
	for _, c := range []struct {
		name                string
		now, success, since string
		late                bool
	}{
		{"in time", "2026-12-01 23:00", "2026-12-01 02:00", "2026-01-01 00:00", false},
		{"last night failed, eleven hours ago", "2026-12-01 13:00", "2026-11-30 02:00", "2026-01-01 00:00", false},
		{"twelve hours ago", "2026-12-01 14:00", "2026-11-30 02:00", "2026-01-01 00:00", true},
		{"new", "2026-12-01 14:00", "", "2026-12-01 10:00", false},
		{"never made", "2026-12-02 14:00", "", "2026-12-01 10:00", true},
	} {
		if got := Late(at(c.now), night, at(c.success), at(c.since)); got != c.late {
			t.Errorf("%s: late %v, want %v", c.name, got, c.late)
		}
	}
}
