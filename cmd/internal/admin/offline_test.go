package admin

import (
	"errors"
	"testing"

	"pillarbox/mailstore/durable"
)

// Offline, a verb that needs the data directory for itself keeps servers out, and gives way to a
// holder of the lock.
func TestAlone(t *testing.T) {
	o := office(t)
	did := 0
	change := func() error {
		if _, err := durable.TryLock(o.Root, DataLock); !errors.Is(err, durable.ErrLocked) {
			t.Error("a server could start meanwhile")
		}
		did++
		return nil
	}
	o.WorkOffline()
	if err := o.Exclusively(change); err != nil || did != 1 {
		t.Errorf("no server runs: %v", err)
	}
	if err := o.Checkpoint(); err != nil {
		t.Error(err)
	}
	for _, holder := range []string{ServerLock, AdminLock} {
		unlock, err := durable.TryLockAs(o.Root, DataLock, holder)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.alone(change); !errors.Is(err, ErrDataLocked) {
			t.Errorf("%s: %v", holder, err)
		}
		if err := o.exclusively(change); !errors.Is(err, ErrDataLocked) {
			t.Errorf("%s: %v", holder, err)
		}
		unlock()
	}
	if did != 1 {
		t.Errorf("it was done %d times", did)
	}
}
