package mailstore

import (
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
)

// TestLostPageIsNotServed drops a page that could not be written. Neither POP3 nor the queue gets the
// zeros that the file then holds. After the recovery both get the message.
func TestLostPageIsNotServed(t *testing.T) {
	// In a small log the second record could begin a sync, which would tell of the failure.
	disk, s := powerStoreWith(t, RecoverOptions{LogSize: 64 << 10})
	defer s.Close()
	const text = "Subject: kept\r\n\r\nkept\r\n"
	id, err := spool(s, text, "new", anna)
	must(t, err)
	must(t, s.Spool().Update(id, []byte("deferred"))) // the message gets files
	if !disk.FailWriteback(1, rand.New(rand.NewPCG(1, 1))) {
		t.Fatal("nothing was left to be written")
	}
	disk.DropPages()

	drop, err := s.OpenMaildrop(anna)
	must(t, err)
	defer drop.Close()
	if _, err := drop.Open(0); !errors.Is(err, errLost) {
		t.Errorf("the mailbox: %v", err)
	}
	if _, _, err := s.Spool().Open(id); !errors.Is(err, errLost) {
		t.Errorf("the spool: %v", err)
	}
	var kinds []FaultKind
	_, err = s.Faults(anna, func(f Fault) { kinds = append(kinds, f.Kind) })
	must(t, err)
	if !slices.Equal(kinds, []FaultKind{FaultZeros}) {
		t.Errorf("faults %v, want one for the zeros", kinds)
	}
	_ = s.Checkpoint() // tells of the failure, and so begins the recovery
	must(t, s.Checkpoint())
	content, err := drop.Open(0)
	must(t, err)
	defer content.Close()
	queued, _, err := s.Spool().Open(id)
	must(t, err)
	defer queued.Close()
	for place, r := range map[string]io.Reader{"mailbox": content, "spool": queued} {
		if got, err := io.ReadAll(r); err != nil || string(got) != text {
			t.Errorf("%s: %q, %v", place, got, err)
		}
	}
}

// TestStateWithoutReserve checks a full disk without the log's reserve: a queue state that cannot be
// written is refused. It must not go into the log, where a replay without space would stop everything.
func TestStateWithoutReserve(t *testing.T) {
	disk, s := powerStore(t)
	id, err := spool(s, "text\r\n", "new", anna)
	must(t, err)
	must(t, s.Spool().Update(id, []byte("deferred"))) // the message gets files
	must(t, s.Close())
	must(t, disk.Remove(reserveFile))
	disk.SetSize(disk.Used())

	s, err = Open(disk, Options{})
	must(t, err)
	defer s.Close()
	must(t, s.Recover(smallLog))
	if err := s.Spool().Update(id, make([]byte, 9000)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("update: %v", err)
	}
	drop, err := s.OpenMaildrop(anna)
	must(t, err)
	must(t, drop.Close())
	if state, err := s.Spool().State(id); err != nil || string(state) != "deferred" {
		t.Errorf("state %q, %v", state, err)
	}
	must(t, s.Spool().Remove(id)) // makes room
}
