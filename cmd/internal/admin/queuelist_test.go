package admin

import (
	"testing"
	"time"
)

func TestParseAge(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 0, "90m": 90 * time.Minute, "2h": 2 * time.Hour, "3d": 72 * time.Hour, "1.5d": 36 * time.Hour} {
		if got, err := ParseAge(text); err != nil || got != want {
			t.Errorf("%q: %s %v", text, got, err)
		}
	}
	for _, text := range []string{"2", "0s", "-2h", "d", "2h3d", "NaNd", "-1d", "soon", "99999d"} {
		if got, err := ParseAge(text); err == nil {
			t.Errorf("%q: %s", text, got)
		}
	}
}
