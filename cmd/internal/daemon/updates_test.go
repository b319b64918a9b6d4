package daemon

import (
	"context"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/etc/lab/mailtest"
)

// The file is looked at once in each interval; a reload may set another one, or none.
func TestUpdateInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		u := &updates{retimed: make(chan struct{}, 1)}
		interval, looks := time.Duration(0), 0
		go u.run(ctx, func() time.Duration { return interval }, func() { looks++ })
		after := func(wait time.Duration, want int) {
			t.Helper()
			time.Sleep(wait)
			synctest.Wait()
			if looks != want {
				t.Errorf("after %v: %d looks, want %d", wait, looks, want)
			}
		}
		set := func(to time.Duration) { synctest.Wait(); interval = to; u.retimed <- struct{}{} }
		after(24*time.Hour, 0)
		set(2 * time.Minute)
		after(2*time.Minute, 1)
		after(10*time.Minute, 6)
		set(time.Hour)
		after(59*time.Minute, 6)
		after(time.Minute, 7)
		set(0)
		after(24*time.Hour, 7)
	})
}

// A changed file is applied once, a file with mistakes is logged once and changes nothing, and a key
// that needs a restart is not reported at every look.
func TestUpdates(t *testing.T) {
	var log mailtest.Log
	d, file, text := serverForParts(t, &log)
	defer d.stop()
	u := &updates{d: d}
	for i, step := range []struct {
		text   string
		looks  int
		logged string // "" means no line
		errors int    // smtp.max_errors afterwards
	}{
		{text, 2, "", 10},
		{text + "smtp.max_errors = 7\n", 1, `msg=reloaded changed=[smtp.max_errors]`, 7},
		{text + "smtp.max_errors = 7\n", 2, "", 7},
		{text + "smtp.max_errors = 0\n", 1, "is out of range", 7},
		{text + "smtp.max_errors = 0\n", 2, "", 7},
		{text + "smtp.max_errors = 7\n", 1, "no more mistakes", 7},
		{text + "smtp.max_errors = 8\nlog.format = \"json\"\n", 1, "wait for a restart", 8},
		{text + "smtp.max_errors = 8\nlog.format = \"json\"\n", 2, "", 8},
		{text + "smtp.max_errors = 9\nlog.format = \"json\"\n", 1, "changed=\"[smtp.max_errors log.format]\"", 9},
		{text, 1, `msg=reloaded changed=[smtp.max_errors]`, 10},
		{text, 2, "", 10},
	} {
		if err := os.WriteFile(file, []byte(step.text), 0o600); err != nil {
			t.Fatal(err)
		}
		log.Take()
		for range step.looks {
			u.look()
		}
		got := log.Take()
		if step.logged == "" && got != "" || !strings.Contains(got, step.logged) {
			t.Errorf("step %d: want %q in the log:\n%s", i, step.logged, got)
		}
		if n := d.office.Config().SMTP.MaxErrors; n != step.errors {
			t.Errorf("step %d: smtp.max_errors is %d, want %d", i, n, step.errors)
		}
	}
}
