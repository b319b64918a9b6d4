package mailstore

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/durable"
)

// watched is a store on the house that counts directory listings. Its clock is so far ahead that
// all changes are settled.
type watched struct {
	house
	disk *mailtest.FailFS
}

func newWatched(t testing.TB) watched {
	t.Helper()
	h := newHouse(t, Options{})
	w := watched{house: h, disk: mailtest.NewFailFS(h.root)}
	var err error
	w.Store, err = Open(w.disk, Options{})
	must(t, err)
	w.views.now = func() time.Time { return time.Now().Add(time.Minute) }
	return w
}

// look lists a mailbox and returns its messages, and whether the directory was read.
func (w watched) look(t testing.TB, dir string) (names []string, read bool) {
	t.Helper()
	w.disk.Start(nil)
	v, err := w.view(dir)
	must(t, err)
	var octets int64
	for i, m := range v.messages {
		name, _ := v.file(i)
		names = append(names, name)
		octets += m.Size
	}
	if octets != v.octets {
		t.Errorf("%d octets, want %d", v.octets, octets)
	}
	return names, mailtest.Index(w.disk.Ops(), "readdir", dir) >= 0
}

// tick waits until the disk's clock has advanced since the mailbox changed, so that the next change
// is visible.
func (w watched) tick(t testing.TB, dir string) {
	t.Helper()
	changed := func(name string) int64 {
		fi, err := os.Stat(filepath.Join(w.dir, name))
		must(t, err)
		return fi.Sys().(*syscall.Stat_t).Ctim.Nano()
	}
	for last := changed(dir); ; {
		must(t, os.WriteFile(filepath.Join(w.dir, "tick"), nil, 0o600))
		must(t, os.Chmod(filepath.Join(w.dir, "tick"), 0o600))
		if changed("tick") > last {
			return
		}
	}
}

// want calls look and compares the result with the directory.
func (w watched) want(t testing.TB, what, dir string, read bool) {
	t.Helper()
	got, didRead := w.look(t, dir)
	files, err := filepath.Glob(filepath.Join(w.dir, dir, "*.eml"))
	must(t, err)
	var want []string
	for _, f := range files {
		want = append(want, filepath.Base(f))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: %d messages, want %d:\n%q\n%q", what, len(got), len(want), got, want)
	}
	if didRead != read {
		t.Errorf("%s: the directory was read: %v, want %v", what, didRead, read)
	}
	w.tick(t, dir)
}

func messageName(i int) string { return fmt.Sprintf("P3_20260101%06d4711%08d_1.eml", i/7, i) }

// TestViewFollowsTheDirectory checks that every change by hand is visible, and that an unchanged
// directory is not read.
func TestViewFollowsTheDirectory(t *testing.T) {
	w := newWatched(t)
	box := filepath.Join(w.dir, anna)
	file := func(i int) string { return filepath.Join(box, messageName(i)) }
	for i := range 10 {
		w.put(t, anna+"/"+messageName(i), "x")
	}
	foreign := w.put(t, anna+"/old.eml", "1\n")
	day := time.Date(2026, 7, 20, 0, 0, 0, 0, time.UTC)
	steps := []struct {
		what string
		do   func() error
	}{
		{"removed", func() error { return os.Remove(file(3)) }},
		{"added", func() error { return os.WriteFile(file(11), []byte("x"), 0o600) }},
		{"renamed", func() error { return os.Rename(file(4), file(12)) }},
		{"a foreign one renamed", func() error {
			return os.Rename(foreign, filepath.Join(box, "older.eml"))
		}},
		{"the time set back", func() error {
			before, err := os.Stat(box)
			if err != nil {
				return err
			}
			if err := os.WriteFile(file(13), []byte("x"), 0o600); err != nil {
				return err
			}
			return os.Chtimes(box, before.ModTime(), before.ModTime())
		}},
		{"edited in place", func() error { return os.WriteFile(filepath.Join(box, "older.eml"), []byte("1\n2\n"), 0o600) }},
		{"touched", func() error { return os.Chtimes(filepath.Join(box, "older.eml"), day, day) }},
		{"another directory in its place", func() error {
			if err := os.Rename(box, box+".away"); err != nil {
				return err
			}
			return os.CopyFS(box, os.DirFS(box+".away"))
		}},
		{"emptied", func() error { return os.RemoveAll(box + "/older.eml") }},
	}
	w.want(t, "first", anna, true)
	w.want(t, "second", anna, false)
	for _, s := range steps {
		must(t, s.do())
		w.want(t, s.what, anna, true)
		w.want(t, s.what+", again", anna, false)
	}
	st, err := w.Stat(anna)
	must(t, err)
	if st != (Stat{Messages: 11, Bytes: 11}) {
		t.Errorf("in the end: %+v", st)
	}
}

// TestEditedInPlace checks that the size of an edited foreign file is right although its directory
// has not changed.
func TestEditedInPlace(t *testing.T) {
	w := newWatched(t)
	file := w.put(t, anna+"/old.eml", "1\n")
	for _, content := range []string{"1\n", "1\n2\n", "1\n2\n3"} {
		must(t, os.WriteFile(file, []byte(content), 0o600))
		want := int64(len(strings.ReplaceAll(strings.TrimSuffix(content, "\n")+"\n", "\n", "\r\n")))
		for range 2 {
			st, err := w.Stat(anna)
			if err != nil || st.Bytes != want {
				t.Errorf("%q: %+v, %v; want %d bytes", content, st, err, want)
			}
		}
	}
	m := openDrop(t, w.Store, anna)
	if got := readMessage(t, m, 0); got != "1\r\n2\r\n3\r\n" {
		t.Errorf("served as %q", got)
	}
}

// TestUnsettledIsNotKept checks, with a correct clock, that a recent change is not cached, so that
// a second change in the same tick cannot be missed.
func TestUnsettledIsNotKept(t *testing.T) {
	w := newWatched(t)
	w.views.now = nil
	for i := range 300 {
		w.put(t, anna+"/"+messageName(i), "x")
		if got, _ := w.look(t, anna); len(got) != i+1 {
			t.Fatalf("%d messages, want %d", len(got), i+1)
		}
	}
	if w.views.bytes != 0 {
		t.Error("a view was kept")
	}
}

// TestNoViewOfWhatIsNoMailbox checks that a cached view does not bypass the checks of the mailbox.
func TestNoViewOfWhatIsNoMailbox(t *testing.T) {
	w := newWatched(t)
	w.put(t, anna+"/"+messageName(1), "x")
	w.want(t, "first", anna, true)
	box := filepath.Join(w.dir, anna)
	must(t, os.Rename(box, box+".away"))
	_, err := w.Stat(anna)
	wantErr(t, err, ErrNoMailbox)
	must(t, os.Symlink(filepath.Base(box)+".away", box))
	_, err = w.OpenMaildrop(anna)
	wantErr(t, err, ErrNoMailbox)
	must(t, os.Remove(box))
	must(t, os.Mkdir(box, 0o700))
	w.want(t, "made anew", anna, true)
	w.want(t, "made anew, again", anna, false)
}

// TestUnreadableIsTriedAgain checks that a view with an unreadable file is not cached.
func TestUnreadableIsTriedAgain(t *testing.T) {
	w := newWatched(t)
	w.put(t, anna+"/bad.eml", "bad\n")
	w.disk.Start(func(_ int, op mailtest.Op) error {
		if op.Kind == "open" {
			return os.ErrPermission
		}
		return nil
	})
	v, err := w.view(anna)
	must(t, err)
	wantErr(t, v.odd[0].foreign.err, os.ErrPermission)
	w.disk.Start(nil)
	m := openDrop(t, w.Store, anna)
	if got := readMessage(t, m, 0); got != "bad\r\n" {
		t.Errorf("the second time: %q", got)
	}
}

// TestViewsAreShared checks that two sessions share one listing, and that a removal by the first
// does not change it for the second.
func TestViewsAreShared(t *testing.T) {
	w := newWatched(t)
	for i := range 100 {
		w.put(t, anna+"/"+messageName(i), "x")
	}
	first := openDrop(t, w.Store, anna)
	must(t, first.Close())
	second := openDrop(t, w.Store, anna)
	if &first.Messages()[0] != &second.Messages()[0] {
		t.Error("the second session has a listing of its own")
	}
	w.tick(t, anna)
	must(t, second.Remove([]int{1, 5}))
	must(t, second.Close())
	if len(first.Messages()) != 100 || first.Octets() != 100 {
		t.Error("the listing of a session changed")
	}
	w.want(t, "after the removal", anna, true)
}

func stampOf(t *testing.T, dir string) durable.Stamp {
	t.Helper()
	fi, err := os.Stat(dir)
	must(t, err)
	st, ok := durable.StampOf(fi)
	if !ok {
		t.Fatal("the file system tells too little")
	}
	return st
}

func TestViewsAreBounded(t *testing.T) {
	ours := func(n int) *listing {
		var l listing
		for i := range n {
			name, _ := ParseName(messageName(i))
			l.add(name)
		}
		return &l
	}
	stamps := make([]durable.Stamp, 20)
	for i := range stamps {
		stamps[i] = stampOf(t, t.TempDir())
	}
	hundred := newView(ours(100))
	c := viewCache{max: 4 * hundred.bytes()}
	for i := range 20 {
		c.put(fmt.Sprint(i), stamps[i], hundred)
		if c.get("0", stamps[0]) == nil { // used all the time, so it stays
			t.Fatalf("after %d views the first is lost", i)
		}
	}
	for i := range 20 {
		if kept := c.kept[fmt.Sprint(i)] != nil; kept != (i == 0 || i >= 17) {
			t.Errorf("view %d is kept: %v", i, kept)
		}
	}
	c.put("0", stamps[1], hundred) // replaces the other
	if c.bytes != c.max || c.order.Len() != 4 || len(c.kept) != 4 {
		t.Errorf("%d bytes in %d views", c.bytes, c.order.Len())
	}
	c.put("huge", stamps[0], newView(ours(1000)))
	if c.kept["huge"] != nil || c.order.Len() != 4 {
		t.Error("a view larger than all together took their place")
	}
	if c.get("0", stamps[2]) != nil || c.bytes != 3*hundred.bytes() {
		t.Errorf("a view that is out of date is kept: %d bytes", c.bytes)
	}
}

// TestListWhileDelivering checks that no listing made while mail arrives hides any of it later.
func TestListWhileDelivering(t *testing.T) {
	h := newHouse(t, Options{})
	var wg sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					_, err := h.Stat(anna)
					must(t, err)
				}
			}
		})
	}
	want := 0
	for range 50 {
		deliver(t, h.Store, "x", anna)
		want++
		if st, err := h.Stat(anna); err != nil || st.Messages != want {
			t.Errorf("%+v, %v; want %d messages", st, err, want)
		}
	}
	close(done)
	wg.Wait()
}

// TestArrange checks that numbers sort as the names would, and that unique-ids are unique.
func TestArrange(t *testing.T) {
	names := []string{
		"P3_20251231235959999999999999_1.eml",
		hashUID("P3_20260101000000471100000002_5.eml") + ".eml", // begins with "9"
		"P3_20260101000000471100000001_9.eml",
		"P3_20260101000000471100000002.EML",
		"P3_20260101000000471100000002.eml",
		"P3_20260101000000471100000002_05.eml",
		"P3_20260101000000471100000002_5.eml",
		"P3_20260101000000471100000002_5d.eml",
		"a.eml",
	}
	h := newHouse(t, Options{})
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, name := range names {
		must(t, os.Chtimes(h.put(t, anna+"/"+name, "12345"), at, at))
	}
	v, err := h.view(anna)
	must(t, err)
	seen := make(map[string]bool)
	var got []string
	for i, m := range v.messages {
		if seen[m.UID] {
			t.Errorf("%s stands twice", m.UID)
		}
		seen[m.UID] = true
		name, _ := v.file(i)
		got = append(got, name)
	}
	if !slices.Equal(got, names) {
		t.Errorf("order: %q\nwant: %q", got, names)
	}
	if !seen["P3_20260101000000471100000002"] {
		t.Error("nobody has the unique-id that three claim")
	}
}

// TestArrangeMany checks order and unique-ids of a large mailbox with copies and foreign files.
func TestArrangeMany(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var l listing
	for i := range 5000 {
		at := uint64(20260101000000 + random.IntN(300))
		if i%100 == 0 {
			l.others = append(l.others, other{uid: fmt.Sprint(i), name: fmt.Sprint("P3_", at, "x.eml"), foreign: &foreign{}})
			l.entries = append(l.entries, entry{arrived: at, serial: noSerial, other: int32(len(l.others) - 1)})
		}
		id := string(appendID(nil, at, uint64(random.IntN(1000))))
		l.add(Name{ID: id, Size: int64(random.IntN(10)), Dotted: random.IntN(2) == 0})
	}
	random.Shuffle(len(l.entries), func(i, j int) { l.entries[i], l.entries[j] = l.entries[j], l.entries[i] })
	want := slices.SortedFunc(slices.Values(l.entries), l.byArrival)
	wantNames := make([]string, len(want))
	for i, e := range want {
		wantNames[i] = l.name(e)
	}
	v := newView(&l)
	uids := make(map[string]bool)
	for i, m := range v.messages {
		if name, _ := v.file(i); name != wantNames[i] {
			t.Fatalf("message %d is %s, want %s", i, name, wantNames[i])
		}
		if uids[m.UID] {
			t.Errorf("%s stands twice", m.UID)
		}
		uids[m.UID] = true
	}
}

// BenchmarkView lists 100,000 messages, the first time and from the cache.
func BenchmarkView(b *testing.B) {
	h := newHouse(b, Options{})
	for i := range 100_000 {
		must(b, os.WriteFile(filepath.Join(h.dir, anna, messageName(i)), nil, 0o600))
	}
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s, err := Open(h.root, Options{})
			must(b, err)
			_, err = s.Stat(anna)
			must(b, err)
		}
	})
	b.Run("first/without-readdir", func(b *testing.B) {
		s, err := Open(listed{h.root, mustList(b, h.root)}, Options{})
		must(b, err)
		b.ReportAllocs()
		for b.Loop() {
			s.views = viewCache{}
			_, err := s.Stat(anna)
			must(b, err)
		}
	})
	b.Run("warm", func(b *testing.B) {
		h.views.now = func() time.Time { return time.Now().Add(time.Minute) }
		b.ReportAllocs()
		for b.Loop() {
			_, err := h.Stat(anna)
			must(b, err)
		}
	})
}

// listed is a file system with a fixed listing.
type listed struct {
	durable.FS
	entries []fs.DirEntry
}

func (l listed) ReadDir(string) ([]fs.DirEntry, error) { return l.entries, nil }

func mustList(b *testing.B, fsys durable.FS) []fs.DirEntry {
	entries, err := fsys.ReadDir(anna)
	must(b, err)
	return entries
}
