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
	unlock, err := durable.TryLockAs(root, admin.DataLock, as)
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
		{admin.AdminLock, 0, "", 0},
		{admin.AdminLock, 3 * time.Second, "", 3 * time.Second},
		{admin.AdminLock, time.Hour, fmt.Sprintf("a 'pillarbox admin' command, process %d, has been working", os.Getpid()), commandWait},
		{admin.ServerLock, time.Hour, fmt.Sprintf("another server, process %d, serves", os.Getpid()), holdLook},
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
