package sysinfo

import (
	"errors"
	"math"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestDiskOf(t *testing.T) {
	d, err := DiskOf(t.TempDir())
	if err != nil || d.Size <= 0 || d.Free < 0 || d.Free > d.Size {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := DiskOf("/no/such/directory"); err == nil {
		t.Error("a directory that does not exist has a file system")
	}
}

func TestClockOf(t *testing.T) {
	for _, tt := range []struct {
		name           string
		state          int
		status         int32
		offset, maxErr int64
		want           Clock
	}{
		{"synchronised", unix.TIME_OK, unix.STA_PLL, -1500, 2000, Clock{true, true, 0.0015, 0.002}},
		{"in nanoseconds", unix.TIME_OK, unix.STA_NANO, 1500, 2000, Clock{true, true, -0.0000015, 0.002}},
		{"a leap second comes", unix.TIME_INS, 0, 0, 0, Clock{Known: true, Synchronized: true}},
		{"not synchronised", unix.TIME_ERROR, unix.STA_UNSYNC, 7, 16000000, Clock{Known: true}},
		{"by the status alone", unix.TIME_OK, unix.STA_UNSYNC, 7, 16000000, Clock{Known: true}},
	} {
		got := clockOf(tt.state, tt.status, tt.offset, tt.maxErr)
		same := math.Abs(got.Offset-tt.want.Offset) < 1e-12 && math.Abs(got.MaxError-tt.want.MaxError) < 1e-12
		if got.Known != tt.want.Known || got.Synchronized != tt.want.Synchronized || !same {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
	_ = ReadClock() // must not fail, whatever the machine is
}

func TestForecast(t *testing.T) {
	start := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
	const none = -1
	for _, tt := range []struct {
		name                string
		after               time.Duration
		free, freeThen      int64
		inodes, inodesThen  int64
		wantDays, wantNodes float64
		early               bool
	}{
		{"an hour", time.Hour, 1000, 900, 1000, 900, none, none, true},
		{"a tenth in a day", 24 * time.Hour, 1000, 900, 1000, 500, 9, 1, false},
		{"six hours", 6 * time.Hour, 1000, 500, 1000, 1000, 0.25, none, false},
		{"more is free than before", 24 * time.Hour, 900, 1000, 900, 1000, none, none, false},
		{"slower than ten years", 24 * time.Hour, 1_000_000, 999_999, 10, 10, none, none, false},
		{"full", 24 * time.Hour, 1000, 0, 10, 10, 0, none, false},
	} {
		got, err := ForecastOf([]Sample{
			{start, Disk{Free: tt.free, Inodes: 5000, FreeInodes: tt.inodes}},
			{start.Add(tt.after), Disk{Free: tt.freeThen, Inodes: 5000, FreeInodes: tt.inodesThen}},
		})
		if errors.Is(err, ErrTooEarly) != tt.early || !sameDays(got.Days, tt.wantDays) ||
			!sameDays(got.Inodes, tt.wantNodes) || got.Measured != tt.after.Hours() {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
	}
	if _, err := ForecastOf(nil); !errors.Is(err, ErrTooEarly) {
		t.Error(err)
	}
	if f, _ := ForecastOf([]Sample{
		{start, Disk{Free: 10}}, {start.Add(24 * time.Hour), Disk{Free: 5}},
	}); f.Inodes != nil {
		t.Error("a file system without a number of inodes has a forecast of them")
	}
}

func sameDays(got *float64, want float64) bool {
	if got == nil || want < 0 {
		return got == nil && want < 0
	}
	return math.Abs(*got-want) < 1e-9
}

// Samples of more than a week are dropped. A list that was given out does not change.
func TestAdd(t *testing.T) {
	start := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
	var samples, earlier []Sample
	for i := range 400 {
		samples = Add(samples, Sample{At: start.Add(time.Duration(i) * SampleEvery)})
		if i == 5 {
			earlier = samples
		}
	}
	if len(samples) != 169 || !samples[0].At.Equal(start.Add(231*time.Hour)) {
		t.Errorf("%d samples from %v", len(samples), samples[0].At)
	}
	if len(earlier) != 6 || !earlier[0].At.Equal(start) {
		t.Errorf("an earlier list has changed: %v", earlier)
	}
}
