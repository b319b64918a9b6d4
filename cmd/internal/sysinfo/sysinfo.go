// Package sysinfo tells facts about the computer that the server runs on: the free space of a file
// system, how long it will last, and whether the clock is synchronised.
//
// Start with DiskOf and ReadClock. ForecastOf compares samples of the free space.
package sysinfo

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"pillarbox/mailstore/durable"
)

// Disk is the state of a file system. Inodes are 0 where the file system has no fixed number.
type Disk struct {
	Size       int64 `json:"size"` // octets
	Free       int64 `json:"free"` // octets that the server may use
	Inodes     int64 `json:"inodes"`
	FreeInodes int64 `json:"free_inodes"`
}

// DiskOf returns the state of the file system that a path is on.
func DiskOf(path string) (Disk, error) {
	space, err := durable.Space(path)
	return Disk{
		Size: space.Size, Free: space.Free, Inodes: space.Files, FreeInodes: space.FreeFiles,
	}, err
}

// Clock is what the kernel knows of its clock.
type Clock struct {
	Known        bool `json:"known"`        // the kernel answers; a container may not be allowed to ask
	Synchronized bool `json:"synchronized"` // a program such as chrony or ntpd keeps the clock right
	// Offset is how much the clock is ahead of the right time, and MaxError the bound of its error,
	// in seconds. Both have a meaning only if Synchronized is true.
	Offset   float64 `json:"offset"`
	MaxError float64 `json:"max_error"`
}

// ReadClock asks the kernel for the state of its clock.
func ReadClock() Clock {
	var t unix.Timex // Modes 0 changes nothing
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return Clock{}
	}
	return clockOf(state, t.Status, int64(t.Offset), int64(t.Maxerror))
}

// clockOf reads the result of adjtimex(2). offset is what the kernel still adds to the clock, in
// microseconds or nanoseconds, and maxError is in microseconds.
func clockOf(state int, status int32, offset, maxError int64) Clock {
	c := Clock{Known: true, Synchronized: state != unix.TIME_ERROR && status&unix.STA_UNSYNC == 0}
	if !c.Synchronized {
		return c
	}
	unit := time.Microsecond
	if status&unix.STA_NANO != 0 {
		unit = time.Nanosecond
	}
	c.Offset = -(time.Duration(offset) * unit).Seconds()
	c.MaxError = (time.Duration(maxError) * time.Microsecond).Seconds()
	return c
}

// Sample is a Disk at a time.
type Sample struct {
	At   time.Time
	Disk Disk
}

// Times of the samples.
const (
	SampleEvery = time.Hour          // between two samples
	minMeasured = 6 * time.Hour      // a forecast needs samples of this time
	maxMeasured = 7 * 24 * time.Hour // older samples are dropped
	maxDays     = 3650               // a longer forecast means nothing
)

// Add returns the samples with one more, without those that are too old.
func Add(samples []Sample, s Sample) []Sample {
	for len(samples) > 0 && s.At.Sub(samples[0].At) > maxMeasured {
		samples = samples[1:]
	}
	return append(samples[:len(samples):len(samples)], s)
}

// Forecast is how long a file system lasts at the rate of the samples. Unset fields mean: not
// within ten years.
type Forecast struct {
	Measured float64  `json:"measured"`              // hours; less than 6 give no forecast
	Days     *float64 `json:"days,omitempty"`        // until there is no space
	Inodes   *float64 `json:"inodes_days,omitempty"` // until there are no inodes
}

// ErrTooEarly means that the samples do not go back for long enough.
var ErrTooEarly = errors.New("not measured for long enough")

// ForecastOf compares the first sample with the last.
func ForecastOf(samples []Sample) (Forecast, error) {
	if len(samples) == 0 {
		return Forecast{}, ErrTooEarly
	}
	first, last := samples[0], samples[len(samples)-1]
	took := last.At.Sub(first.At)
	f := Forecast{Measured: took.Hours()}
	if took < minMeasured {
		return f, ErrTooEarly
	}
	f.Days = daysLeft(first.Disk.Free, last.Disk.Free, took)
	if last.Disk.Inodes > 0 {
		f.Inodes = daysLeft(first.Disk.FreeInodes, last.Disk.FreeInodes, took)
	}
	return f, nil
}

// daysLeft returns when what is free is used up, or nil if it is not within maxDays.
func daysLeft(before, now int64, took time.Duration) *float64 {
	used := before - now
	if used <= 0 {
		return nil
	}
	days := float64(now) / float64(used) * took.Hours() / 24
	if days > maxDays {
		return nil
	}
	return &days
}
