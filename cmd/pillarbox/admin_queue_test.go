package main

import (
	"slices"
	"testing"
	"time"
)

func TestAgeText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 1500 * time.Millisecond: "1s", 59 * time.Second: "59s", time.Minute + 30*time.Second: "1m",
		2*time.Hour + 5*time.Minute: "2h 5m", 2 * time.Hour: "2h", 76 * time.Hour: "3d 4h", 72 * time.Hour: "3d",
	} {
		if got := ageText(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}

func TestClockText(t *testing.T) {
	now := time.Date(2026, 11, 22, 23, 0, 0, 0, time.Local)
	for d, want := range map[time.Duration]string{
		30 * time.Minute: "23:30", 2 * time.Hour: "Mon 01:00", -24 * time.Hour: "Sat 23:00", 10 * 24 * time.Hour: "2026-12-02 23:00",
	} {
		if got := clockText(now.Add(d), now); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}

// TestFit cuts pages to a screen with a line to spare, where the cursor comes to stand.
func TestFit(t *testing.T) {
	page := "one\ntwo\nthree\nfour\nfive\n"
	for _, c := range []struct {
		width, height int
		want          string
	}{
		{80, 24, page},
		{3, 24, "one\ntwo\nthr\nfou\nfiv\n"},
		{80, 6, page},
		{80, 5, "one\ntwo\nthree\n... and 2 more\n"},
	} {
		if got := fit(page, c.width, c.height); got != c.want {
			t.Errorf("%d x %d: %q", c.width, c.height, got)
		}
	}
}

func TestShorten(t *testing.T) {
	got := []string{shorten("grün", 4), shorten("grüner", 5), shorten("", 4)}
	if want := []string{"grün", "gr...", ""}; !slices.Equal(got, want) {
		t.Error(got)
	}
}
