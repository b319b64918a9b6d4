package admin

import (
	"testing"
	"time"
)

// TestBackupFault: what is an alert and what is not.
func TestBackupFault(t *testing.T) {
	now := time.Date(2026, 12, 1, 15, 0, 0, 0, time.UTC)
	night := []time.Duration{2 * time.Hour}
	ago := func(hours int) time.Time { return now.Add(-time.Duration(hours) * time.Hour) }
	for _, c := range []struct {
		name  string
		state BackupState
		want  string
	}{
		{"tonight", BackupState{Since: ago(99), Success: ago(13), Tried: ago(13)}, ""},
		{"failed", BackupState{Since: ago(99), Success: ago(37), Tried: ago(1), Error: "x"},
			"the last backup failed: x"},
		{"late", BackupState{Since: ago(99), Success: ago(37), Tried: ago(37)},
			"no backup was made since " + ago(37).Local().Format("2006-01-02 15:04")},
		{"new", BackupState{Since: ago(1)}, ""},
		{"never", BackupState{Since: ago(99)}, "no backup was made yet"},
	} {
		if got := c.state.fault(now, night); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
