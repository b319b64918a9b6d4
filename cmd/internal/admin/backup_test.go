package admin

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pillarbox/cmd/internal/backup"
)

// TestBackupAfterCheckpoint: what only the log holds gets its files before the backup looks.
func TestBackupAfterCheckpoint(t *testing.T) {
	o, dir := town(t), t.TempDir()
	o.Checkpoint = func() error {
		if err := o.Root.MkdirAll("queue", 0o700); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(o.Root.Name(), "queue", "P3_1.env"), []byte("x"), 0o600)
	}
	done, err := BackupCreate.Do(t.Context(), o.For(Caller{}), BackupPlace{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	r, closing, err := openBackups(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer closing()
	found := false
	err = r.Entries(&done.Snapshot, func(e backup.Entry) error {
		found = found || e.Path == "data/queue/P3_1.env"
		return nil
	})
	if err != nil || !found {
		t.Errorf("the message of the log is missing: %v", err)
	}
}

// TestBackupPlaces: an operator names no directory, and how a backup went is recorded once it ended.
func TestBackupPlaces(t *testing.T) {
	o := town(t)
	chief := o.For(Caller{Operator: &Operator{Name: "op", Grants: []Grant{{All: true}}}})
	if _, err := chief.backupDir("/etc"); err == nil || !strings.Contains(err.Error(), "only root") {
		t.Errorf("an operator named /etc: %v", err)
	}
	for _, c := range []struct {
		err   error
		tried bool
	}{{context.Canceled, false}, {os.ErrPermission, true}} {
		_ = o.backupEnded(time.Now(), BackupDone{Dir: "/b"}, c.err)
		if s, err := o.BackupState(); err != nil || (s.Error != "") != c.tried {
			t.Errorf("after %v: %+v, %v", c.err, s, err)
		}
	}
}

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
