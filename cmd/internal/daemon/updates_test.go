package daemon

import (
	"context"
	"os"
	"strings"
	"sync/atomic"
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
		var interval, looks atomic.Int64
		var again atomic.Bool
		go u.run(ctx, func() time.Duration { return time.Duration(interval.Load()) },
			func() bool { return looks.Add(1)%2 == 1 && again.Load() })
		after := func(wait time.Duration, want int) {
			t.Helper()
			time.Sleep(wait)
			synctest.Wait()
			if n := int(looks.Load()); n != want {
				t.Errorf("after %v: %d looks, want %d", wait, n, want)
			}
		}
		set := func(to time.Duration) { synctest.Wait(); interval.Store(int64(to)); u.retimed <- struct{}{} }
		after(24*time.Hour, 0)
		set(2 * time.Minute)
		after(2*time.Minute, 1)
		after(10*time.Minute, 6)
		set(time.Hour)
		after(59*time.Minute, 6)
		after(time.Minute, 7)
		again.Store(true) // from here, each look at an interval asks for a second one
		looks.Store(0)
		after(time.Hour, 1)
		after(time.Minute, 2)
		after(time.Hour, 3)
		set(10 * time.Second)
		after(10*time.Second, 4)
		set(0)
		after(24*time.Hour, 4)
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
		looks  int    // after the first, which only notes the new file
		logged string // "" means no line
		errors int    // smtp.max_errors afterwards
	}{
		{text, 2, "", 10},
		{text + "smtp.max_errors = 7\n", 0, "", 10},
		{text + "smtp.max_errors = 7\n", 1, `msg=reloaded changed=[smtp.max_errors]`, 7},
		{text + "smtp.max_errors = 7\n", 2, "", 7},
		{text + "smtp.max_errors = 0\n", 0, "", 7},
		{text + "smtp.max_errors = 0\n", 1, "is out of range", 7},
		{text + "smtp.max_errors = 0\n", 2, "", 7},
		{text + "smtp.max_errors = 7\n", 1, "no more mistakes", 7},
		{text + "smtp.max_errors = 8\nlog.format = \"json\"\n", 1, "wait for a restart", 8},
		{text + "smtp.max_errors = 8\nlog.format = \"json\"\n", 2, "", 8},
		{text + "smtp.max_errors = 9\nlog.format = \"json\"\n", 1, "changed=\"[smtp.max_errors log.format]\"", 9},
		{text, 1, `msg=reloaded changed=[smtp.max_errors]`, 10},
		{text, 2, "", 10},
	} {
		writeConfig(t, file, step.text, time.Hour-time.Duration(i)*time.Second)
		log.Take()
		for range step.looks + 1 {
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

// writeConfig writes a configuration file of some age; a negative age is a time to come.
func writeConfig(t *testing.T, file, text string, age time.Duration) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(-age)
	if err := os.Chtimes(file, at, at); err != nil {
		t.Fatal(err)
	}
}

// A file that grows between looks, or that is young, is not used. A clock that is ahead on another
// machine does not matter.
func TestUpdatesWaitForTheWholeFile(t *testing.T) {
	var log mailtest.Log
	d, file, text := serverForParts(t, &log)
	defer d.stop()
	u := &updates{d: d}
	whole := text + "smtp.max_errors = 7\npop3.max_errors = 8\n"
	for i, step := range []struct {
		write  bool // before the look
		text   string
		age    time.Duration
		again  bool
		errors int
	}{
		{true, text, time.Hour, true, 10},
		{false, "", 0, false, 10},
		{true, text + "smtp.max_errors = 7\n", time.Hour, true, 10},
		{true, whole, time.Hour, true, 10},
		{false, "", 0, false, 7},
		{true, text, 0, true, 7},
		{false, "", 0, true, 7},
		{true, text, -time.Hour, true, 7},
		{false, "", 0, false, 10},
	} {
		if step.write {
			writeConfig(t, file, step.text, step.age)
		}
		if again := u.look(); again != step.again {
			t.Errorf("step %d: again is %v, want %v", i, again, step.again)
		}
		if n := d.office.Config().SMTP.MaxErrors; n != step.errors {
			t.Errorf("step %d: smtp.max_errors is %d, want %d", i, n, step.errors)
		}
	}
}

// A file without config.update_interval, which may have been cut off, does not end the looks; a
// reload by hand does.
func TestUpdatesKeepTheInterval(t *testing.T) {
	var log mailtest.Log
	d, file, text := serverForParts(t, &log)
	defer d.stop()
	u := &updates{d: d}
	age := time.Hour
	step := func(name, text, logged string, errors int, interval time.Duration) {
		t.Helper()
		log.Take()
		writeConfig(t, file, text, age)
		age -= time.Second
		u.look()
		u.look()
		u.look()
		cfg := d.office.Config()
		if cfg.SMTP.MaxErrors != errors || cfg.UpdateInterval != interval {
			t.Errorf("%s: %d errors, interval %v", name, cfg.SMTP.MaxErrors, cfg.UpdateInterval)
		}
		if got := log.Take(); strings.Count(got, "no config.update_interval") != strings.Count(logged, "no config.update_interval") ||
			!strings.Contains(got, logged) {
			t.Errorf("%s: want %q once in the log:\n%s", name, logged, got)
		}
	}
	const missing = "has no config.update_interval"
	whole := text + "smtp.max_errors = 7\nconfig.update_interval = \"2m\"\n"
	writeConfig(t, file, whole, 2*time.Hour)
	d.Reload()
	step("whole", whole, "", 7, 2*time.Minute)
	step("cut off", text, missing, 10, 2*time.Minute)
	step("still cut off", text, "", 10, 2*time.Minute)
	step("restored", whole, "changed=[smtp.max_errors]", 7, 2*time.Minute)
	step("cut off again", text, missing, 10, 2*time.Minute)
	d.Reload()
	if got := d.office.Config().UpdateInterval; got != 0 {
		t.Errorf("after a reload by hand the interval is %v", got)
	}
}
