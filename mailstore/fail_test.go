package mailstore

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"pillarbox/mailstore/mailtest"
)

// book is a Reserver that only adds up.
type book struct {
	mu    sync.Mutex
	open  int
	bytes map[string]int64
}

func (b *book) Room(string, int64) error { return nil }

func (b *book) Reserve(dir string, _ int64) (func(int64, int), error) { return b.Release(dir), nil }

func (b *book) Release(dir string) func(int64, int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open++
	return func(bytes int64, _ int) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.open--
		b.bytes[dir] += bytes
	}
}

// failing is a house whose disk can be made to fail.
type failing struct {
	house
	disk *mailtest.FailFS
	book *book
}

func newFailing(t *testing.T) failing {
	t.Helper()
	b := &book{bytes: make(map[string]int64)}
	h := newHouse(t, Options{})
	disk := mailtest.NewFailFS(h.root)
	s, err := Open(disk, Options{Reserver: b})
	must(t, err)
	h.Store = s
	return failing{h, disk, b}
}

// bigBody needs several writes.
var bigBody = strings.Repeat("a line of text\r\n", 3*bufferSize/16)

// attempt delivers bigBody to everybody, again if asked to, and says whether it was acknowledged.
func (f failing) attempt(retry bool) (ok bool, err error) {
	in, err := f.Create()
	if err != nil {
		return false, err
	}
	defer in.Abort()
	for piece := range slices.Chunk([]byte(bigBody), 10_000) {
		if _, err := in.Write(piece); err != nil {
			return false, err
		}
	}
	_, err = in.Commit(everybody)
	if err != nil && retry {
		_, again := in.Commit(everybody)
		return again == nil, err
	}
	return err == nil, err
}

// assertSound looks at the disk as the next process would find it: what was acknowledged is everywhere, once
// and whole; what was not is nowhere, unless the disk did not even let it be taken back.
func (f failing) assertSound(t *testing.T, acknowledged, mayStay bool) {
	t.Helper()
	s, err := Open(f.root, Options{})
	must(t, err)
	must(t, s.Recover())
	f.wantIncoming(t, 0)
	for _, box := range everybody {
		must(t, s.Check(box))
		got := bodies(t, s, box)
		want := []string{}
		if acknowledged || mayStay && len(got) > 0 {
			want = append(want, bigBody)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s holds %d messages, want %d", box, len(got), len(want))
		}
		if f.book.bytes[box] != int64(len(got)*len(bigBody)) {
			t.Errorf("%s holds %d messages, but %d bytes are booked", box, len(got), f.book.bytes[box])
		}
	}
	if f.book.open != 0 {
		t.Errorf("%d reservations were not settled", f.book.open)
	}
}

// commitSteps counts the operations of one delivery that nothing disturbs.
func commitSteps(t *testing.T) int {
	t.Helper()
	f := newFailing(t)
	f.disk.Start(nil)
	_, err := f.attempt(false)
	must(t, err)
	return len(f.disk.Ops())
}

func TestCommitFailsAtEveryStep(t *testing.T) {
	steps := commitSteps(t)
	for n := 1; n <= steps; n++ {
		f := newFailing(t)
		f.disk.Start(mailtest.Nth(n, syscall.ENOSPC))
		ok, err := f.attempt(false)
		failed := f.disk.Ops()[n-1]
		t.Logf("step %d of %d: %v", n, steps, failed)
		last := failed.Kind == "remove" // of the first name: the message has arrived
		if ok != last || !ok && !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("acknowledged: %v, %v", ok, err)
		}
		f.assertSound(t, ok, false)

		// The same store, once there is room again.
		if !ok {
			if again, err := f.attempt(false); !again {
				t.Errorf("the next delivery: %v", err)
			}
			f.assertSound(t, true, false)
		}
	}
}

// TestCommitAgain: a second Commit of the same message may succeed, but not after its content was lost.
func TestCommitAgain(t *testing.T) {
	for n := 1; n <= commitSteps(t); n++ {
		f := newFailing(t)
		f.disk.Start(mailtest.Nth(n, syscall.EIO))
		ok, _ := f.attempt(true)
		failed := f.disk.Ops()[n-1]
		if want := !strings.HasPrefix(failed.Name, incomingDir) || failed.Kind == "remove"; ok != want {
			t.Errorf("%v fails: acknowledged after a second try: %v", failed, ok)
		}
		f.assertSound(t, ok, false)
	}
}

func TestDiskGoneAtEveryStep(t *testing.T) {
	for n := 1; n <= commitSteps(t); n++ {
		f := newFailing(t)
		f.disk.Start(mailtest.From(n, syscall.EIO))
		ok, _ := f.attempt(true)
		f.assertSound(t, ok, true)
	}
}

// TestOrderOfCommit: the file is on the disk before it has a name in a mailbox, all names are there before a directory is
// synced, all directories are synced before Commit returns, and only then the first name goes.
func TestOrderOfCommit(t *testing.T) {
	f := newFailing(t)
	f.disk.Start(nil)
	_, err := f.attempt(false)
	must(t, err)
	phases := map[string]int{"create": 1, "write": 2, "sync": 3, "link": 4, "syncdir": 5, "remove": 6}
	last := 0
	count := make(map[string]int)
	for _, op := range f.disk.Ops() {
		count[op.Kind]++
		if phase := phases[op.Kind]; phase != 0 {
			if phase < last {
				t.Errorf("%v comes too late: %v", op, f.disk.Ops())
			}
			last = phase
		}
	}
	for kind, want := range map[string]int{"create": 1, "sync": 1, "link": 3, "syncdir": 3, "remove": 1} {
		if count[kind] != want {
			t.Errorf("%d x %s, want %d", count[kind], kind, want)
		}
	}
}

func TestCommitAcrossDevices(t *testing.T) {
	f := newFailing(t)
	f.disk.Start(func(_ int, op mailtest.Op) error {
		if op.Kind == "link" && strings.HasPrefix(op.Name, boss) {
			return syscall.EXDEV
		}
		return nil
	})
	_, err := f.attempt(false)
	wantErr(t, err, ErrCrossDevice)
	if err != nil && !strings.Contains(err.Error(), boss) {
		t.Errorf("error %v does not name the mailbox", err)
	}
	f.assertSound(t, false, false)
}

// TestMailboxVanishes: between being looked at and being linked into.
func TestMailboxVanishes(t *testing.T) {
	f := newFailing(t)
	f.disk.Start(func(_ int, op mailtest.Op) error {
		if op.Kind == "link" && strings.HasPrefix(op.Name, boss) {
			return f.root.Remove(boss) // nil: the link fails by itself
		}
		return nil
	})
	_, err := f.attempt(false)
	wantErr(t, err, ErrNoMailbox)
	must(t, f.root.Mkdir(boss, dirPerm))
	f.assertSound(t, false, false)
}

// TestRemoveFailsAtEveryStep: the ledger follows what the disk did.
func TestRemoveFailsAtEveryStep(t *testing.T) {
	for n := 1; ; n++ {
		f := newFailing(t)
		_, err := f.attempt(false)
		must(t, err)
		m := openDrop(t, f.Store, anna)
		f.disk.Start(mailtest.Nth(n, syscall.EIO))
		err = m.Remove([]int{0})
		if len(f.disk.Ops()) < n {
			must(t, err)
			return
		}
		wantErr(t, err, syscall.EIO)
		st, err := f.Stat(anna)
		must(t, err)
		if f.book.bytes[anna] != st.Bytes || f.book.open != 0 {
			t.Errorf("step %d: %d bytes on disk, %d booked, %d open", n, st.Bytes, f.book.bytes[anna], f.book.open)
		}
	}
}
