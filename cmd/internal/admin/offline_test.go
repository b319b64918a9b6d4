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

// Offline, a verb that changes something is not done while a server holds the data directory, and
// no server starts while it is done. Verbs that only look need no lock.
func TestChangesNeedTheDataDirectory(t *testing.T) {
	o := office(t)
	o.WorkOffline()
	unlock, err := durable.TryLockAs(o.Root, DataLock, ServerLock)
	if err != nil {
		t.Fatal(err)
	}
	_, err = DomainAdd.Do(t.Context(), o, "other.example")
	held, ok := errors.AsType[*durable.LockedError](err)
	if !errors.Is(err, ErrDataLocked) || !ok || held.PID == 0 || held.As != ServerLock {
		t.Errorf("beside a server: %v", err)
	}
	if hosted, _ := o.Dir.Hosts("other.example"); hosted {
		t.Error("the domain was added")
	}
	if _, err := DomainList.Do(t.Context(), o, struct{}{}); err != nil {
		t.Errorf("a verb that looks: %v", err)
	}
	unlock()
	if _, err := DomainAdd.Do(t.Context(), o, "other.example"); err != nil {
		t.Error(err)
	}
	in := DomainToRemove{Name: "other.example", WithMailboxes: true, Sure: true}
	if _, err := DomainRemove.Do(t.Context(), o.For(Caller{}), in); err != nil {
		t.Errorf("a verb that needs the store for itself: %v", err)
	}
	if unlock, err = durable.TryLock(o.Root, DataLock); err != nil {
		t.Fatal("the lock is left:", err)
	}
	unlock()
}
