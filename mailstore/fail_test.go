package mailstore

import (
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/durable"
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

// way is how a message gets into the store.
type way struct {
	name string
	body string
	log  bool
}

// ways are all of them. bigBody needs several writes.
var ways = []way{
	{"logged", "a line of text\r\n.\r\n", true},
	{"big", bigBody, true},
	{"small without log", "a line of text\r\n", false},
}

var bigBody = strings.Repeat("a line of text\r\n", 3*bufferSize/16)

// failing is a house whose disk can be made to fail.
type failing struct {
	house
	way
	disk *mailtest.FailFS
	book *book
}

func newFailing(t *testing.T, w way) failing {
	t.Helper()
	b := &book{bytes: make(map[string]int64)}
	h := newHouse(t, Options{})
	disk := mailtest.NewFailFS(h.root)
	s, err := Open(disk, Options{Reserver: b})
	must(t, err)
	if w.log {
		must(t, s.Recover(RecoverOptions{LogSize: 64 << 10, SyncDelay: time.Hour}))
		t.Cleanup(func() { s.Close() })
	}
	h.Store = s
	return failing{h, w, disk, b}
}

// attempt delivers the body to everybody, again if asked to, and says whether it was acknowledged.
func (f failing) attempt(retry bool) (ok bool, err error) {
	in := f.Create()
	defer in.Abort()
	for piece := range slices.Chunk([]byte(f.body), 10_000) {
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
	_, _ = f.Stat(anna) // waits for a recovery that is under way
	next := house{dir: t.TempDir()}
	must(t, os.CopyFS(next.dir, os.DirFS(f.dir)))
	var err error
	next.root, err = durable.Open(next.dir)
	must(t, err)
	defer next.root.Close()
	next.Store, err = Open(next.root, Options{})
	must(t, err)
	must(t, next.Recover(RecoverOptions{LogSize: 64 << 10}))
	defer next.Close()
	next.wantIncoming(t, 0)
	for _, box := range everybody {
		must(t, next.Check(box))
		got := bodies(t, next.Store, box)
		want := []string{}
		if acknowledged || mayStay && len(got) > 0 {
			want = append(want, f.body)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s holds %d messages, want %d", box, len(got), len(want))
		}
		st, err := f.Stat(box)
		if err != nil && !mayStay {
			t.Error(err)
		}
		if err == nil && f.book.bytes[box] != st.Bytes {
			t.Errorf("%s holds %d bytes, but %d are booked", box, st.Bytes, f.book.bytes[box])
		}
	}
	if f.book.open != 0 {
		t.Errorf("%d reservations were not settled", f.book.open)
	}
}

// commitSteps counts the operations of one delivery that nothing disturbs.
func commitSteps(t *testing.T, w way) int {
	t.Helper()
	f := newFailing(t, w)
	f.disk.Start(nil)
	_, err := f.attempt(false)
	must(t, err)
	return len(f.disk.Ops())
}

// inEveryWay runs a test of one failing step for each step of each way.
func inEveryWay(t *testing.T, test func(t *testing.T, w way, n int)) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			for n := 1; n <= commitSteps(t, w); n++ {
				test(t, w, n)
			}
		})
	}
}

// arrived says that a message without a log had arrived before this step.
func arrived(op mailtest.Op) bool { return op.Kind == "close" || op.Kind == "remove" }

// TestCommitFailsAtEveryStep: a message is acknowledged and everywhere, or refused and nowhere, whatever fails.
func TestCommitFailsAtEveryStep(t *testing.T) {
	inEveryWay(t, func(t *testing.T, w way, n int) {
		f := newFailing(t, w)
		f.disk.Start(mailtest.Nth(n, syscall.ENOSPC))
		ok, err := f.attempt(false)
		failed := f.disk.Ops()[n-1]
		t.Logf("step %d: %v", n, failed)
		if !ok && !errors.Is(err, syscall.ENOSPC) || !w.log && ok != arrived(failed) {
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
	})
}

// TestCommitAgain: a second Commit of the same message may succeed, but not after its only file was lost; a message that
// goes through the log is still in memory.
func TestCommitAgain(t *testing.T) {
	inEveryWay(t, func(t *testing.T, w way, n int) {
		f := newFailing(t, w)
		f.disk.Start(mailtest.Nth(n, syscall.EIO))
		ok, _ := f.attempt(true)
		failed := f.disk.Ops()[n-1]
		lost := w.name != "logged" && !arrived(failed) && strings.HasPrefix(failed.Name, incomingDir)
		if ok == lost {
			t.Errorf("%v fails: acknowledged after a second try: %v", failed, ok)
		}
		f.assertSound(t, ok, false)
	})
}

func TestDiskGoneAtEveryStep(t *testing.T) {
	inEveryWay(t, func(t *testing.T, w way, n int) {
		f := newFailing(t, w)
		f.disk.Start(mailtest.From(n, syscall.EIO))
		ok, _ := f.attempt(true)
		f.disk.Start(nil)
		f.assertSound(t, ok, true)
	})
}

// TestOrderOfCommit: nothing has a name in a mailbox before the log has it, or, without a log, before it is on the disk by
// itself; what can fail for want of a descriptor comes before that; without a log, each name is on the disk before the
// next one is given.
func TestOrderOfCommit(t *testing.T) {
	const names = " link link link"
	for _, test := range []struct{ name, want string }{
		{"logged", "create write opendir opendir opendir write:log" + names + " close remove"},
		{"big", "create write write sync+syncdir opendir opendir opendir write:log" + names + " close"},
		{"small without log", "create write sync opendir opendir opendir link syncdir link syncdir link syncdir close remove"},
	} {
		f := newFailing(t, ways[slices.IndexFunc(ways, func(w way) bool { return w.name == test.name })])
		f.disk.Start(nil)
		_, err := f.attempt(false)
		must(t, err)
		var got []string
		for _, op := range f.disk.Ops() {
			switch {
			case op.Kind == "lstat" || op.Kind == "stat":
			case strings.HasPrefix(op.Name, journalDir):
				got = append(got, op.Kind+":log")
			default:
				got = append(got, op.Kind)
			}
		}
		order := strings.Join(got, " ")
		order = strings.NewReplacer("write syncdir sync ", "write sync+syncdir ", "write sync syncdir ", "write sync+syncdir ").Replace(order)
		if test.name != "big" {
			order = strings.Join(got, " ")
		}
		if order != test.want {
			t.Errorf("%s: %s, want %s", test.name, order, test.want)
		}
	}
}

func TestCommitAcrossDevices(t *testing.T) {
	f := newFailing(t, ways[0])
	f.disk.Start(func(_ int, op mailtest.Op) error {
		if op.Kind == "stat" && strings.HasPrefix(op.Name, boss) {
			return ErrCrossDevice
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

// TestMailboxVanishes: a mailbox that is removed by hand while a message comes takes the message with it. The other
// mailboxes have it.
func TestMailboxVanishes(t *testing.T) {
	f := newFailing(t, ways[0])
	f.disk.Start(func(_ int, op mailtest.Op) error {
		if op.Kind == "link" && strings.HasPrefix(op.Name, boss) {
			return f.root.Remove(boss) // nil: the link fails by itself
		}
		return nil
	})
	ok, err := f.attempt(false)
	if !ok {
		t.Error(err)
	}
	for _, box := range []string{anna, carla} {
		wantBodies(t, f.Store, box, []string{f.body})
	}
}

// TestRemoveFailsAtEveryStep: the ledger follows what the disk did. What only the last step could not do, after the record
// in the log, the recovery does.
func TestRemoveFailsAtEveryStep(t *testing.T) {
	for n := 1; ; n++ {
		f := newFailing(t, ways[0])
		_, err := f.attempt(false)
		must(t, err)
		m := openDrop(t, f.Store, anna)
		f.disk.Start(mailtest.Nth(n, syscall.EIO))
		err = m.Remove([]int{0})
		if len(f.disk.Ops()) < n {
			must(t, err)
			return
		}
		want := 1
		if f.disk.Ops()[n-1].Kind == "remove" {
			must(t, err)
			want = 0
		} else {
			wantErr(t, err, syscall.EIO)
		}
		st, err := f.Stat(anna)
		must(t, err)
		if st.Messages > want {
			t.Errorf("step %d: %d messages", n, st.Messages)
		}
		if f.book.bytes[anna] != st.Bytes || f.book.open != 0 {
			t.Errorf("step %d: %d bytes on disk, %d booked, %d open", n, st.Bytes, f.book.bytes[anna], f.book.open)
		}
	}
}

// TestFetchedWhileDelivered: a message to several mailboxes reaches all, even if the first one is so quick as to fetch
// and delete it before it is in the second.
func TestFetchedWhileDelivered(t *testing.T) {
	for _, w := range ways {
		f := newFailing(t, w)
		links := 0
		f.disk.Start(func(_ int, op mailtest.Op) error {
			if op.Kind != "link" {
				return nil
			}
			if links++; links != 2 {
				return nil
			}
			names, err := f.root.ReadNames(everybody[2])
			if err != nil || len(names) != 1 {
				t.Errorf("%s: the first mailbox holds %q, %v", w.name, names, err)
				return err
			}
			return f.root.Remove(everybody[2] + "/" + names[0])
		})
		if ok, err := f.attempt(false); !ok {
			t.Errorf("%s: %v", w.name, err)
		}
		for _, box := range everybody[:2] {
			if got := bodies(t, f.Store, box); !slices.Equal(got, []string{w.body}) {
				t.Errorf("%s: %s holds %d messages", w.name, box, len(got))
			}
		}
	}
}

// TestCommitAsFailsAtEveryStep: a message that keeps its ID is in the mailbox or not.
func TestCommitAsFailsAtEveryStep(t *testing.T) {
	const id = "P3_20050110090047026500000003"
	put := func(f failing) error {
		in := f.Create()
		defer in.Abort()
		if _, err := in.Write([]byte(f.body)); err != nil {
			return err
		}
		return in.CommitAs(id, anna)
	}
	for n := 1; ; n++ {
		f := newFailing(t, ways[0])
		f.disk.Start(mailtest.Nth(n, syscall.EIO))
		err := put(f)
		if len(f.disk.Ops()) < n {
			must(t, err)
			return
		}
		failed := f.disk.Ops()[n-1]
		f.disk.Start(nil)
		want := []string{}
		if err == nil {
			want = []string{f.body}
		}
		if arrived(failed) != (err == nil) {
			t.Errorf("%v fails: %v", failed, err)
		}
		if got := bodies(t, f.Store, anna); !slices.Equal(got, want) {
			t.Errorf("%v fails: %d messages, %v", failed, len(got), err)
		}
		if f.book.open != 0 || f.book.bytes[anna] != int64(len(want)*len(f.body)) {
			t.Errorf("%v fails: %d bytes booked, %d open", failed, f.book.bytes[anna], f.book.open)
		}
	}
}
