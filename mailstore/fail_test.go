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

// book is a Reserver that only counts.
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

// way is a path of a message into the store.
type way struct {
	name string
	body string
	log  bool
}

// ways are all paths. bigBody needs several writes.
var ways = []way{
	{"logged", "a line of text\r\n.\r\n", true},
	{"big", bigBody, true},
	{"small without log", "a line of text\r\n", false},
}

var bigBody = strings.Repeat("a line of text\r\n", 3*bufferSize/16)

// failing is a house whose disk can fail.
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

// attempt delivers the body to all mailboxes, optionally a second time, and reports whether it was
// acknowledged.
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

// assertSound reads the disk as the next process would. An acknowledged message is in every
// mailbox, once and whole. Another message is in none, unless undoing it failed too.
func (f failing) assertSound(t *testing.T, acknowledged, mayStay bool) {
	t.Helper()
	_, _ = f.Stat(anna) // waits for a running recovery
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

// commitSteps counts the operations of one undisturbed delivery.
func commitSteps(t *testing.T, w way) int {
	t.Helper()
	f := newFailing(t, w)
	f.disk.Start(nil)
	_, err := f.attempt(false)
	must(t, err)
	return len(f.disk.Ops())
}

// inEveryWay runs a test for each way and each failing step.
func inEveryWay(t *testing.T, test func(t *testing.T, w way, n int)) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			for n := 1; n <= commitSteps(t, w); n++ {
				test(t, w, n)
			}
		})
	}
}

// arrived reports whether a message without a log was already durable before this step.
func arrived(op mailtest.Op) bool { return op.Kind == "close" || op.Kind == "remove" }

// TestCommitFailsAtEveryStep checks that a message is acknowledged and in every mailbox, or refused
// and in none.
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

		// The same store, after the disk works again.
		if !ok {
			if again, err := f.attempt(false); !again {
				t.Errorf("the next delivery: %v", err)
			}
			f.assertSound(t, true, false)
		}
	})
}

// TestCommitAgain checks that a second Commit may succeed, except after the only file was lost. A
// message for the log is still in memory.
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

// TestOrderOfCommit checks the order of operations. A message has no name in a mailbox before its
// record is in the log or, without a log, before its content is synced. Steps that need a
// descriptor come before that. Without a log, each name is synced before the next is created.
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
			case strings.HasPrefix(op.Name, logDir):
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

// TestMailboxVanishes checks that removing a mailbox by hand during a delivery loses the message
// there only.
func TestMailboxVanishes(t *testing.T) {
	f := newFailing(t, ways[0])
	f.disk.Start(func(_ int, op mailtest.Op) error {
		if op.Kind == "link" && strings.HasPrefix(op.Name, boss) {
			return f.root.Remove(boss) // nil: the link itself fails
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

// TestRemoveFailsAtEveryStep checks that the quota follows the disk. After the record in the log, a
// failed deletion is left to the recovery.
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

// TestFetchedWhileDelivered checks that a message reaches all mailboxes, even if a client fetches
// and deletes it in the first one before it is in the second.
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

// TestCommitAsFailsAtEveryStep checks that a message with its own ID is stored or not, but never in
// part.
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
