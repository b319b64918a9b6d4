package mailstore

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"pillarbox/etc/lab/mailtest"
)

func uids(m *Maildrop) []string {
	var all []string
	for _, msg := range m.Messages() {
		all = append(all, msg.UID)
	}
	return all
}

func TestMaildropIsLocked(t *testing.T) {
	h := newHouse(t, Options{})
	first := openDrop(t, h.Store, anna)
	_, err := h.OpenMaildrop(anna)
	wantErr(t, err, ErrInUse)
	openDrop(t, h.Store, boss)

	must(t, first.Close())
	second := openDrop(t, h.Store, anna)
	must(t, first.Close()) // a second Close must not unlock second
	_, err = h.OpenMaildrop(anna)
	wantErr(t, err, ErrInUse)
	must(t, second.Close())

	_, err = h.OpenMaildrop("mailbox/nobody")
	wantErr(t, err, ErrNoMailbox)
	_, err = h.OpenMaildrop("mailbox/nobody") // the failed call left no lock
	wantErr(t, err, ErrNoMailbox)
}

// TestRemoveAfterRename checks that Remove does not delete in another mailbox that has the name
// now.
func TestRemoveAfterRename(t *testing.T) {
	for _, another := range []bool{false, true} {
		h := newHouse(t, Options{})
		deliver(t, h.Store, "text\r\n", anna)
		m := openDrop(t, h.Store, anna)
		must(t, h.Exclusively(func() error { return h.fsys.Rename(anna, anna+".renamed") }))
		if another {
			must(t, h.fsys.Mkdir(anna, dirPerm))
		}
		wantErr(t, m.Remove([]int{0}), ErrNoMailbox)
		if stat, err := h.Stat(anna + ".renamed"); err != nil || stat.Messages != 1 {
			t.Errorf("the mailbox holds %d messages, %v", stat.Messages, err)
		}
	}
}

func TestListingIsFixed(t *testing.T) {
	h := newHouse(t, Options{})
	first := deliver(t, h.Store, "first\r\n", anna)
	second := deliver(t, h.Store, "second\r\n", anna)
	m := openDrop(t, h.Store, anna)
	third := deliver(t, h.Store, "third\r\n", anna)
	if got := uids(m); !slices.Equal(got, []string{first, second}) {
		t.Errorf("listing: %q", got)
	}
	must(t, m.Remove([]int{0}))
	if got := readMessage(t, m, 1); got != "second\r\n" {
		t.Errorf("message 1 is %q", got)
	}
	_, err := m.Open(0)
	wantErr(t, err, ErrGone)
	must(t, m.Close())
	if got := uids(openDrop(t, h.Store, anna)); !slices.Equal(got, []string{second, third}) {
		t.Errorf("next listing: %q", got)
	}
}

// TestForeignFiles lists a mailbox as an old server or a restored backup leaves it.
func TestForeignFiles(t *testing.T) {
	const ours = "P3_20260724090047026500000003"
	const old = "P3_20050110090047026500000003"
	long := strings.Repeat("n", 71)
	files := []struct {
		name, content string
		uid           string
		want          string
	}{
		// In order of arrival.
		{old + ".eml", "a\r\nb\r\n", old, "a\r\nb\r\n"},
		{"P347865.eml", "a\n\nb\r\nc\rd\n", "P347865", "a\r\n\r\nb\r\nc\r\nd\r\n"},
		{"restored.eml", "\n", "restored", "\r\n"},
		{ours + "_3.eml", "x\r\n", ours, "x\r\n"},
		{ours + "_5.eml", "xyz\r\n", hashUID(ours + "_5.eml"), "xyz\r\n"},
		{"UPPER.EML", "", hashUID("UPPER.EML"), ""},
		{"with blank.eml", "x", hashUID("with blank.eml"), "x\r\n"},
		{"ä\xff.eml", "\r", hashUID("ä\xff.eml"), "\r\n"},
		{long + ".eml", "\r\r\n\n", hashUID(long + ".eml"), "\r\n\r\n"},
		{strings.Repeat("m", 70) + ".eml", "\n\r", strings.Repeat("m", 70), "\r\n\r\n"},
	}
	h := newHouse(t, Options{})
	day := time.Date(2026, 7, 20, 0, 0, 0, 0, time.UTC)
	for _, f := range files {
		file := h.put(t, anna+"/"+f.name, f.content)
		must(t, os.Chtimes(file, day, day))
		day = day.AddDate(0, 0, 1)
	}
	// Our message of July 24 comes before files changed from July 25 on.
	for _, other := range []string{"account.json", ".eml", "notes.txt", ".x.eml"} {
		h.put(t, anna+"/"+other, "no message")
	}
	for range 2 { // the second time from the cache
		m := openDrop(t, h.Store, anna)
		var want []string
		for i, f := range files {
			want = append(want, f.uid)
			if got := readMessage(t, m, i); got != f.want {
				t.Errorf("%s is served as %q, want %q", f.name, got, f.want)
			}
		}
		if got := uids(m); !slices.Equal(got, want) {
			t.Errorf("listing: %q\nwant: %q", got, want)
		}
		must(t, m.Close())
	}
}

func TestSizesAreCached(t *testing.T) {
	h := newHouse(t, Options{})
	file := h.put(t, anna+"/a.eml", "one\n")
	fsys := mailtest.NewFailFS(h.root)
	s, err := Open(fsys, Options{})
	must(t, err)
	stat := func() (int64, int) {
		fsys.Start(nil)
		st, err := s.Stat(anna)
		must(t, err)
		return st.Bytes, mailtest.Index(fsys.Ops(), "open", "a.eml")
	}
	if size, at := stat(); size != 5 || at < 0 {
		t.Errorf("first: size %d, opened: %v", size, at >= 0)
	}
	if size, at := stat(); size != 5 || at >= 0 {
		t.Errorf("second: size %d, opened: %v", size, at >= 0)
	}
	must(t, os.WriteFile(file, []byte("one\ntwo\n"), 0o600))
	if size, at := stat(); size != 10 || at < 0 {
		t.Errorf("changed: size %d, opened: %v", size, at >= 0)
	}
}

func TestSizeCacheIsBounded(t *testing.T) {
	var c sizeCache
	for i := range 5 * sizeCacheMax {
		name := string(rune(i))
		c.put(name, fileID{}, int64(i))
		c.get("\x00", fileID{}) // used all the time, so it stays
	}
	if n := len(c.young) + len(c.old); n > 2*sizeCacheMax {
		t.Errorf("the cache holds %d", n)
	}
	if _, ok := c.get("\x00", fileID{}); !ok {
		t.Error("the cache forgot what was in use")
	}
}

// TestOursAreNotLookedAt checks that a listing reads the directory once and opens no message that
// the store has named.
func TestOursAreNotLookedAt(t *testing.T) {
	h := newHouse(t, Options{})
	deliver(t, h.Store, "x", anna)
	fsys := mailtest.NewFailFS(h.root)
	s, err := Open(fsys, Options{})
	must(t, err)
	fsys.Start(nil)
	openDrop(t, s, anna)
	for _, op := range fsys.Ops() {
		if strings.HasSuffix(op.Name, ".eml") {
			t.Errorf("listing did %v", op)
		}
	}
}

// TestTampered checks that Open returns what the listing promised, or refuses, whatever happened to
// the file.
func TestTampered(t *testing.T) {
	const name = someID + "_7.eml"
	tests := []struct {
		name   string
		file   string
		tamper func(file string) error
		want   error
	}{
		{"cut short", name, func(f string) error { return os.Truncate(f, 3) }, ErrDamaged},
		{"grown", name, func(f string) error { return os.WriteFile(f, []byte("longer than that"), 0o600) }, ErrDamaged},
		{"deleted", name, os.Remove, ErrGone},
		{"symbolic link", name, replace(func(f string) error { return os.Symlink("../elsewhere", f) }), ErrDamaged},
		{"pipe", name, replace(func(f string) error { return syscall.Mkfifo(f, 0o600) }), ErrDamaged},
		{"directory", name, replace(func(f string) error { return os.Mkdir(f, 0o700) }), ErrDamaged},
		{"foreign, grown", "a.eml", func(f string) error { return os.WriteFile(f, []byte("longer than that"), 0o600) }, ErrDamaged},
		{"foreign, gone", "a.eml", os.Remove, ErrGone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, Options{})
			file := h.put(t, anna+"/"+tt.file, "1234567")
			h.put(t, "mailbox/office.example/elsewhere", "1234567")
			m := openDrop(t, h.Store, anna)
			must(t, tt.tamper(file))
			_, err := m.Open(0)
			wantErr(t, err, tt.want)
		})
	}
}

// replace writes the file anew.
func replace(by func(file string) error) func(file string) error {
	return func(file string) error { return errors.Join(os.Remove(file), by(file)) }
}

// TestReplacedWhileOpening replaces a message by a link to a file of the same size, after it was
// checked.
func TestReplacedWhileOpening(t *testing.T) {
	h := newHouse(t, Options{})
	file := h.put(t, anna+"/"+someID+"_7.eml", "1234567")
	h.put(t, "mailbox/office.example/elsewhere", "1234567")
	disk := mailtest.NewFailFS(h.root)
	s, err := Open(disk, Options{})
	must(t, err)
	m := openDrop(t, s, anna)
	disk.Start(func(_ int, op mailtest.Op) error {
		if op.Kind == "open" {
			return errors.Join(os.Remove(file), os.Symlink("../elsewhere", file))
		}
		return nil
	})
	_, err = m.Open(0)
	wantErr(t, err, ErrDamaged)
}

func TestOnlyRegularFilesAreListed(t *testing.T) {
	h := newHouse(t, Options{})
	box := filepath.Join(h.dir, anna)
	h.put(t, "secret", "x")
	must(t, os.Symlink("../../../secret", filepath.Join(box, "link.eml")))
	must(t, os.Symlink("../../../secret", filepath.Join(box, someID+"_1.eml")))
	must(t, syscall.Mkfifo(filepath.Join(box, "pipe.eml"), 0o600))
	must(t, os.Mkdir(filepath.Join(box, "dir.eml"), 0o700))
	if got := uids(openDrop(t, h.Store, anna)); len(got) != 0 {
		t.Errorf("listing: %q", got)
	}
}

// TestUnreadableForeignFile checks that an unreadable file is listed and refused, and that the
// others are served.
func TestUnreadableForeignFile(t *testing.T) {
	h := newHouse(t, Options{})
	h.put(t, anna+"/bad.eml", "bad")
	h.put(t, anna+"/good.eml", "good\n")
	fsys := mailtest.NewFailFS(h.root)
	s, err := Open(fsys, Options{})
	must(t, err)
	fsys.Start(func(_ int, op mailtest.Op) error {
		if op.Kind == "open" && strings.HasSuffix(op.Name, "bad.eml") {
			return syscall.EACCES
		}
		return nil
	})
	m := openDrop(t, s, anna)
	fsys.Start(nil) // readable again, but its listed size may be wrong
	_, err = m.Open(0)
	wantErr(t, err, syscall.EACCES)
	if got := readMessage(t, m, 1); got != "good\r\n" {
		t.Errorf("the other one: %q", got)
	}
}

func TestRemoveGoesOn(t *testing.T) {
	h := newHouse(t, Options{})
	for _, body := range []string{"a", "b", "c"} {
		deliver(t, h.Store, body, anna)
	}
	fsys := mailtest.NewFailFS(h.root)
	s, err := Open(fsys, Options{})
	must(t, err)
	m := openDrop(t, s, anna)
	second, _ := m.view.file(1)
	fsys.Start(func(_ int, op mailtest.Op) error {
		if op.Kind == "remove" && strings.HasSuffix(op.Name, second) {
			return syscall.EIO
		}
		return nil
	})
	err = m.Remove([]int{0, 1, 2})
	wantErr(t, err, syscall.EIO)
	if err == nil || !strings.Contains(err.Error(), "1 of 3 messages not deleted") {
		t.Errorf("error: %v", err)
	}
	ops := fsys.Ops()
	if last := ops[len(ops)-1]; last.Kind != "syncdir" {
		t.Errorf("the last operation is %v", last)
	}
	must(t, m.Close())
	if got := bodies(t, h.Store, anna); !slices.Equal(got, []string{"b"}) {
		t.Errorf("left: %q", got)
	}
}

// TestContent checks that reading and copying, at once or in parts, return the promised octets or
// an error.
func TestContent(t *testing.T) {
	ways := map[string]func(c *Content) (string, error){
		"read": func(c *Content) (string, error) {
			b, err := io.ReadAll(c)
			return string(b), err
		},
		"copied": func(c *Content) (string, error) {
			var b strings.Builder
			err := c.CopyTo(&b, 1<<40)
			return b.String(), err
		},
		"in parts": func(c *Content) (string, error) {
			var b strings.Builder
			err := c.CopyTo(&b, 1)
			if err == nil {
				err = c.CopyTo(&b, 1)
			}
			rest, readErr := io.ReadAll(c)
			return b.String() + string(rest), errors.Join(err, readErr)
		},
	}
	for name, get := range ways {
		for content, want := range map[string]error{"1234": nil, "123": nil, "12": io.ErrUnexpectedEOF, "": io.ErrUnexpectedEOF} {
			got, err := get(&Content{r: strings.NewReader(content), left: 3})
			if got != content[:min(3, len(content))] || !errors.Is(err, want) || err != nil && want == nil {
				t.Errorf("%s, %q: %q, %v", name, content, got, err)
			}
		}
		broken := errors.New("broken")
		_, err := get(&Content{r: io.MultiReader(strings.NewReader("1"), iotest.ErrReader(broken)), left: 3})
		wantErr(t, err, broken)
	}
}
