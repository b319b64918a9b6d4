package backup

import (
	"slices"
	"testing"
	"time"
)

func TestKeep(t *testing.T) {
	day := func(s string) time.Time {
		at, err := time.Parse("2006-01-02 15:04", s)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	for _, c := range []struct {
		name  string
		rule  Keep
		times []string
		want  []int
	}{
		{"none", Keep{1, 1, 1}, nil, nil},
		{"the newest stays", Keep{}, []string{"2026-01-01 02:00", "2026-01-02 02:00"}, []int{1}},
		{"the last of a day", Keep{Daily: 2},
			[]string{"2026-01-01 02:00", "2026-01-01 14:00", "2026-01-02 02:00", "2026-01-02 14:00"},
			[]int{1, 3}},
		{"days without a snapshot", Keep{Daily: 2},
			[]string{"2026-01-01 02:00", "2026-02-01 02:00", "2026-03-01 02:00"}, []int{1, 2}},
		{"weeks begin on Monday", Keep{Weekly: 2},
			[]string{"2026-11-29 02:00", "2026-11-30 02:00", "2026-12-06 02:00"}, []int{0, 2}},
		{"a week over the turn of the year", Keep{Weekly: 2},
			[]string{"2025-12-28 02:00", "2025-12-31 02:00", "2026-01-02 02:00"}, []int{0, 2}},
		{"months", Keep{Monthly: 2},
			[]string{"2026-09-30 02:00", "2026-10-01 02:00", "2026-10-31 02:00", "2026-11-01 02:00"},
			[]int{2, 3}},
		{"all together", Keep{Daily: 1, Weekly: 2, Monthly: 2},
			[]string{"2026-10-31 02:00", "2026-11-21 02:00", "2026-11-22 02:00", "2026-11-23 02:00"},
			[]int{0, 2, 3}},
	} {
		var times []time.Time
		for _, s := range c.times {
			times = append(times, day(s))
		}
		var got []int
		for i, keep := range c.rule.Decide(times) {
			if keep {
				got = append(got, i)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: kept %v, want %v", c.name, got, c.want)
		}
	}
}
