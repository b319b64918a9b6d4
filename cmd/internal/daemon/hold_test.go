package daemon

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore/durable"
)

func openRoot(t *testing.T) *durable.Root {
	root, err := durable.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// hold takes the lock for so long.
func hold(t *testing.T, root *durable.Root, as string, long time.Duration) {
	unlock, err := durable.TryLockAs(root, dataLock, as)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(long, unlock)
}

func TestServerWaitsForACommandOnly(t *testing.T) {
	for _, c := range []struct {
		as   string
		long time.Duration
		err  string
		most time.Duration
	}{
		{holdsAdmin, 0, "", 0},
		{holdsAdmin, 3 * time.Second, "", 3 * time.Second},
		{holdsAdmin, time.Hour, fmt.Sprintf("a 'pillarbox admin' command, process %d, has been working", os.Getpid()), commandWait},
		{holdsServer, time.Hour, fmt.Sprintf("another server, process %d, serves", os.Getpid()), holdLook},
		{"", time.Hour, fmt.Sprintf("another server, process %d, serves", os.Getpid()), holdLook}, // of an earlier release
	} {
		synctest.Test(t, func(t *testing.T) {
			root := openRoot(t)
			hold(t, root, c.as, c.long)
			start := time.Now()
			unlock, err := holdData(t.Context(), root)
			if err == nil {
				unlock()
			}
			if waited := time.Since(start); waited > c.most+holdLook {
				t.Errorf("%+v: waited %v", c, waited)
			}
			hinted, _ := errors.AsType[*admin.HintError](err)
			if c.err == "" && err != nil || c.err != "" && (hinted == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("%+v: %v", c, err)
			}
			time.Sleep(c.long)
		})
	}
}

// TestCommandAsksStartingServer has a server that holds the data for a while before it answers.
func TestCommandAsksStartingServer(t *testing.T) {
	for name, c := range map[string]struct {
		as            string
		holds, answer time.Duration
		want          string
	}{
		"none runs":     {"", 0, time.Hour, "offline"},
		"it runs":       {holdsServer, time.Hour, 0, "asked"},
		"it starts":     {holdsServer, time.Hour, 5 * time.Second, "asked"},
		"it stops":      {holdsServer, 5 * time.Second, time.Hour, "offline"},
		"a command":     {holdsAdmin, 5 * time.Second, time.Hour, "offline"},
		"it does not":   {holdsServer, 9 * time.Hour, 9 * time.Hour, "neither answers nor lets go"},
		"ask is denied": {holdsServer, time.Hour, -1, "denied"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				root := openRoot(t)
				if c.holds > 0 {
					hold(t, root, c.as, c.holds)
				}
				start, did := time.Now(), ""
				err := AskOrHold(t.Context(), root,
					func() error {
						switch {
						case c.answer < 0:
							return errors.New("denied")
						case time.Since(start) < c.answer:
							return ErrNotRunning
						}
						did += "asked"
						return nil
					},
					func() error {
						if _, err := durable.TryLock(root, dataLock); !errors.Is(err, durable.ErrLocked) {
							t.Error("a server could start meanwhile")
						}
						did += "offline"
						return nil
					})
				if did != c.want && (err == nil || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("%q, %v; want %q", did, err, c.want)
				}
				time.Sleep(c.holds)
			})
		})
	}
}
