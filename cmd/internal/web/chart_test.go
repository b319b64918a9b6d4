package web

import (
	"math"
	"testing"
	"time"

	"pillarbox/cmd/internal/traffic"
)

func TestChart(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	hours := make([]traffic.Hour, 24)
	for i := range hours {
		hours[i] = traffic.Hour{Since: begin.Add(time.Duration(i) * time.Hour), Known: i >= 2}
	}
	hours[5].Delivered, hours[6].Refused, hours[7].Relayed = 37, 1, 20
	c := newChart(hours)
	if len(c.Gaps) != 2 || len(c.Bars) != 22*3 || len(c.Hours) != 8 {
		t.Errorf("%d gaps, %d bars, %d hours", len(c.Gaps), len(c.Bars), len(c.Hours))
	}
	var counts []int64
	for _, tick := range c.Ticks {
		counts = append(counts, tick.Count)
	}
	if len(counts) != 5 || counts[0] != 0 || counts[4] != 40 {
		t.Errorf("ticks %v", counts)
	}
	for _, b := range c.Bars {
		if b.Count == 0 != (b.H == 0) || b.Y+b.H != chartTop+chartInner || b.Y < chartTop ||
			b.X < chartLeft || b.X+b.W > c.Width {
			t.Errorf("bar %+v", b)
		}
	}
}

func TestRoundStep(t *testing.T) {
	for most, want := range map[int64]int64{1: 1, 4: 1, 5: 2, 8: 2, 9: 5, 20: 5, 21: 10, 37: 10, 41: 20, 999: 500, math.MaxInt32: 1e9} {
		if got := roundStep(most); got != want {
			t.Errorf("%d: %d, want %d", most, got, want)
		}
	}
}
