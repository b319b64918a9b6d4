package retention

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/etc/lab/mailtest"
)

func TestNextNight(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip(err)
	}
	for now, want := range map[string]string{
		"2026-11-22T03:29:59+01:00": "2026-11-22T03:30:00+01:00",
		"2026-11-22T03:30:00+01:00": "2026-11-23T03:30:00+01:00",
		"2026-12-31T23:00:00+01:00": "2027-01-01T03:30:00+01:00",
		"2026-03-28T12:00:00+01:00": "2026-03-29T03:30:00+02:00", // summer time begins at 2 o'clock
		"2026-10-24T12:00:00+02:00": "2026-10-25T03:30:00+01:00",
	} {
		at, err := time.Parse(time.RFC3339, now)
		if err != nil {
			t.Fatal(err)
		}
		if got := nextNight(at.In(berlin)).Format(time.RFC3339); got != want {
			t.Errorf("%s: %s, want %s", now, got, want)
		}
	}
}

// retentionHouse is an office with the mailbox anna.
func retentionHouse(t *testing.T) *admin.Service {
	t.Helper()
	cfg := config.Default()
	cfg.Data = t.TempDir()
	o, err := admin.Open(&cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	if _, err := o.AddDomain("office.example"); err != nil {
		t.Fatal(err)
	}
	if _, err := o.AddMailbox("anna", admin.NewMailbox{}); err != nil {
		t.Fatal(err)
	}
	return o
}

func setAfter(o *admin.Service, days int) {
	cfg := *o.Config()
	cfg.Mailboxes.DeleteAfter = days
	o.SetConfig(&cfg)
}

func putMessage(t *testing.T, o *admin.Service, arrived time.Time, serial int) {
	t.Helper()
	name := fmt.Sprintf("P3_%s4711%08d_1.eml", arrived.UTC().Format("20060102150405"), serial)
	if err := os.WriteFile(filepath.Join(o.Root.Name(), "mailbox/office.example/P3_anna.mbx", name), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The server says at start and after a reload what it would delete, deletes in the night, and stops with its context.
func TestRetentionRuns(t *testing.T) {
	o := retentionHouse(t)
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		putMessage(t, o, start.AddDate(0, 0, -100), 1)
		putMessage(t, o, start.AddDate(0, 0, -28), 2)
		var out mailtest.Log
		var running sync.WaitGroup
		ctx, stop := context.WithCancel(t.Context())
		running.Go(func() { New(o, out.Logger()).Run(ctx) })
		wait := func(d time.Duration) string {
			time.Sleep(d)
			synctest.Wait()
			return out.Take()
		}
		want := func(what, got, want string) {
			t.Helper()
			if (want == "") != (got == "") || !strings.Contains(got, want) {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		want("no rule", wait(time.Hour), "")
		setAfter(o, 30)
		want("a new rule", wait(2*time.Minute), `msg="retention: the rules would delete mail; 'pillarbox admin retention show' tells which" messages=1 bytes=1 mailboxes=1`)
		want("told once", wait(20*time.Minute), "")
		for time.Now().Hour() != nightHour || time.Now().Minute() < nightMinute-5 {
			wait(time.Minute)
		}
		wait(24 * time.Hour)
		want("the second night", wait(10*time.Minute), "is kept for a week")
		want("the day", wait(23*time.Hour), "")
		night := wait(time.Hour) // by now the younger one is 30 days old, or a night later
		night += wait(24 * time.Hour)
		want("a later night", night, `level=INFO msg="retention: deleted" mailbox=anna@office.example messages=1 bytes=1 oldest=`)
		want("its rule", night, `rule="after 30 days"`)
		week := wait(8 * 24 * time.Hour)
		want("a week later", week, `msg="retention: deleted" mailbox=anna@office.example messages=1`)
		stop()
		running.Wait()
	})
	if names, err := filepath.Glob(filepath.Join(o.Root.Name(), "mailbox/*/*/*.eml")); len(names) != 0 || err != nil {
		t.Errorf("%v, %v", names, err)
	}
}

// A server that is off every night deletes soon after its start.
func TestRetentionOffAtNight(t *testing.T) {
	o := retentionHouse(t)
	setAfter(o, 30)
	synctest.Test(t, func(t *testing.T) {
		putMessage(t, o, time.Now().AddDate(0, 0, -29).Add(-time.Hour), 1)
		for day := range 3 {
			var out mailtest.Log
			ctx, stop := context.WithCancel(t.Context())
			go New(o, out.Logger()).Run(ctx)
			time.Sleep(2 * time.Hour)
			synctest.Wait()
			if deleted := strings.Contains(out.Take(), "retention: deleted"); deleted != (day == 1) {
				t.Errorf("day %d: deleted: %v", day, deleted)
			}
			stop()
			time.Sleep(22 * time.Hour)
		}
	})
}
