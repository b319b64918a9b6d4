package mailstore

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pillarbox/mailstore/durable"
	"pillarbox/quota"
)

var _ Reserver = (*quota.Ledger)(nil)

const (
	anna  = "mailbox/office.example/P3_anna.mbx"
	boss  = "mailbox/office.example/P3_boss.mbx"
	carla = "mailbox/branch.example/P3_carla.mbx"
)

var everybody = []string{anna, boss, carla}

// house is a store with three empty mailboxes.
type house struct {
	*Store
	root *durable.Root
	dir  string
}

func newHouse(t testing.TB, opts Options) house {
	t.Helper()
	dir := t.TempDir()
	root, err := durable.Open(dir)
	must(t, err)
	t.Cleanup(func() { root.Close() })
	for _, box := range everybody {
		must(t, root.MkdirAll(box, 0o700))
	}
	s, err := Open(root, opts)
	must(t, err)
	return house{s, root, dir}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

// put writes a file into the data directory without the store.
func (h house) put(t *testing.T, name, content string) string {
	t.Helper()
	file := filepath.Join(h.dir, name)
	must(t, os.WriteFile(file, []byte(content), 0o600))
	return file
}

func deliver(t testing.TB, s *Store, body string, dirs ...string) string {
	t.Helper()
	in := s.Create()
	_, err := io.WriteString(in, body)
	must(t, err)
	id, err := in.Commit(dirs)
	must(t, err)
	return id
}

func openDrop(t testing.TB, s *Store, dir string) *Maildrop {
	t.Helper()
	m, err := s.OpenMaildrop(dir)
	must(t, err)
	t.Cleanup(func() { m.Close() })
	return m
}

// bodies reads all messages of a mailbox.
func bodies(t testing.TB, s *Store, dir string) []string {
	t.Helper()
	m := openDrop(t, s, dir)
	defer m.Close()
	var all []string
	for i := range m.Messages() {
		all = append(all, readMessage(t, m, i))
	}
	return all
}

func readMessage(t testing.TB, m *Maildrop, i int) string {
	t.Helper()
	r, err := m.Open(i)
	must(t, err)
	defer r.Close()
	body, err := io.ReadAll(r)
	must(t, err)
	if int64(len(body)) != m.Messages()[i].Size {
		t.Errorf("message %d: Size is %d, it has %d", i, m.Messages()[i].Size, len(body))
	}
	return string(body)
}

func (h house) wantIncoming(t *testing.T, want int) {
	t.Helper()
	names, err := h.root.ReadNames(incomingDir)
	if len(names) != want || err != nil {
		t.Errorf("incoming holds %q, %v; want %d files", names, err, want)
	}
}

func TestDeliver(t *testing.T) {
	h := newHouse(t, Options{Now: func() time.Time { return time.Date(2026, 7, 24, 9, 0, 47, 0, time.UTC) }})
	in := h.Create()
	const body = "Subject: x\r\n\r\n.dot\r\n"
	_, err := io.WriteString(in, body)
	must(t, err)
	if in.Size() != int64(len(body)) || !strings.HasPrefix(in.ID(), "P3_20260724090047") {
		t.Errorf("Size %d, ID %s", in.Size(), in.ID())
	}
	id, err := in.Commit([]string{boss, anna, boss, carla})
	must(t, err)
	if id != in.ID() {
		t.Errorf("Commit returned %s, ID %s", id, in.ID())
	}
	for _, box := range everybody {
		names, err := h.root.ReadNames(box)
		if want := []string{id + "_20d.eml"}; !slices.Equal(names, want) || err != nil {
			t.Errorf("%s holds %q, %v; want %q", box, names, err, want)
		}
		fi, err := h.root.Lstat(box + "/" + id + "_20d.eml")
		must(t, err)
		if fi.Mode() != 0o600 {
			t.Errorf("mode %v", fi.Mode())
		}
		if got := bodies(t, h.Store, box); !slices.Equal(got, []string{body}) {
			t.Errorf("%s: %q", box, got)
		}
		must(t, h.Check(box))
		st, err := h.Stat(box)
		if st != (Stat{Messages: 1, Bytes: 20}) || err != nil {
			t.Errorf("Stat: %+v, %v", st, err)
		}
	}
	h.wantIncoming(t, 0)

	in.Abort()
	_, err = in.Commit(everybody)
	wantErr(t, err, fs.ErrClosed)
	_, err = in.Write([]byte("x"))
	wantErr(t, err, fs.ErrClosed)
}

func TestAbortAndRecover(t *testing.T) {
	h := newHouse(t, Options{})
	in := h.Create()
	_, err := in.Write(make([]byte, 100_000))
	must(t, err)
	h.wantIncoming(t, 1)
	in.Abort()
	in.Abort()
	h.wantIncoming(t, 0)

	half := h.Create() // and the process is killed
	_, err = half.Write(make([]byte, 100_000))
	must(t, err)
	again, err := Open(h.root, Options{})
	must(t, err)
	h.wantIncoming(t, 1)
	must(t, again.Recover(RecoverOptions{}))
	h.wantIncoming(t, 0)
}

func TestCommitWithoutMailbox(t *testing.T) {
	h := newHouse(t, Options{})
	must(t, os.Symlink("P3_anna.mbx", filepath.Join(h.dir, "mailbox/office.example/P3_link.mbx")))
	must(t, os.Symlink("office.example", filepath.Join(h.dir, "mailbox/link.example")))
	h.put(t, "mailbox/office.example/P3_file.mbx", "")
	for _, dir := range []string{
		"mailbox/office.example/P3_nobody.mbx",
		"mailbox/office.example/P3_link.mbx",
		"mailbox/link.example/P3_anna.mbx",
		"mailbox/office.example/P3_file.mbx",
		"../x", "/etc", ".", "", anna + "/",
	} {
		in := h.Create()
		_, err := in.Commit([]string{anna, dir})
		wantErr(t, err, ErrNoMailbox)
		if no, ok := errors.AsType[*NoMailboxError](err); !ok || no.Dir != dir {
			t.Errorf("%q: error %v does not name it", dir, err)
		}
		if got := bodies(t, h.Store, anna); len(got) != 0 {
			t.Errorf("%q: anna got it all the same", dir)
		}
		_, err = h.OpenMaildrop(dir)
		wantErr(t, err, ErrNoMailbox)
		_, err = h.Stat(dir)
		wantErr(t, err, ErrNoMailbox)
		// The other mailboxes can still get it.
		_, err = in.Commit([]string{boss})
		must(t, err)
	}
	in := h.Create()
	if _, err := in.Commit(nil); err == nil {
		t.Error("Commit to nobody succeeded")
	}
	in.Abort()
	h.wantIncoming(t, 0)
}

func TestQuota(t *testing.T) {
	var h house
	ledger := quota.NewLedger(quota.Options{
		Limits: func(dir string) (box, domain quota.Limits, err error) {
			if dir == boss {
				box.Bytes = 100
			}
			return box, domain, nil
		},
		Usage: func(dir string) (quota.Usage, error) {
			st, err := h.Stat(dir)
			return quota.Usage{Bytes: st.Bytes, Messages: int64(st.Messages)}, err
		},
	})
	h = newHouse(t, Options{Reserver: ledger})
	deliver(t, h.Store, strings.Repeat("x", 60), everybody...)
	must(t, h.Room(boss, 40))
	must(t, h.Room(anna, 1<<40))
	wantErr(t, h.Room(boss, 41), ErrOverQuota)

	in := h.Create()
	_, err := io.WriteString(in, strings.Repeat("y", 41))
	must(t, err)
	_, err = in.Commit(everybody)
	wantErr(t, err, ErrOverQuota)
	if over, ok := errors.AsType[*OverQuotaError](err); !ok || !slices.Equal(over.Dirs, []string{boss}) {
		t.Fatalf("error %v does not name the full mailbox", err)
	}
	_, err = in.Commit([]string{anna, carla})
	must(t, err)
	for box, want := range map[string]int{anna: 2, boss: 1, carla: 2} {
		if got := len(bodies(t, h.Store, box)); got != want {
			t.Errorf("%s holds %d messages, want %d", box, got, want)
		}
	}

	m := openDrop(t, h.Store, boss)
	must(t, m.Remove([]int{0, 0}))
	must(t, m.Remove([]int{0}))
	must(t, h.Room(boss, 100))
	wantErr(t, h.Room(boss, 101), ErrOverQuota)
}

func TestQuotaThatCannotTell(t *testing.T) {
	broken := errors.New("broken")
	ledger := quota.NewLedger(quota.Options{
		Limits: func(string) (box, domain quota.Limits, err error) { return box, domain, broken },
	})
	h := newHouse(t, Options{Reserver: ledger})
	in := h.Create()
	_, err := in.Commit(everybody)
	wantErr(t, err, broken)
	if errors.Is(err, ErrOverQuota) {
		t.Errorf("%v counts as over quota", err)
	}
	in.Abort()
}

// TestCheck checks that Check finds each kind of fault.
func TestCheck(t *testing.T) {
	const id = someID
	tests := []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"good", map[string]string{id + "_3.eml": "a\r\n", "foreign.eml": ".x\n", "account.json": "{}"}, ""},
		{"cut short", map[string]string{id + "_4.eml": "a\r\n"}, "its name says 4"},
		{"dot not told", map[string]string{id + "_6.eml": "a\r\n.\r\n"}, "begins with a dot"},
		{"twice", map[string]string{id + "_3.eml": "a\r\n", id + "_3d.eml": "a\r\n"}, "have the same unique-id"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, Options{})
			for name, content := range tt.files {
				h.put(t, anna+"/"+name, content)
			}
			err := h.Check(anna)
			if tt.want == "" {
				must(t, err)
			} else if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one about %q", err, tt.want)
			}
		})
	}
}

// TestBytesComeBack checks that text is read as written, however it is split into writes.
func TestBytesComeBack(t *testing.T) {
	h := newHouse(t, Options{})
	rng := newRand(t)
	want := []string{"", ".", ".\r\n", "x", "\r\n", "no final newline", "a\r\n..\r\n.", "\xff\x00\x80\r\n", "bare \n and \r."}
	for range 40 {
		want = append(want, randomBody(rng, rng.IntN(2000)))
	}
	want = append(want, randomBody(rng, 5<<20))
	for _, body := range want {
		in := h.Create()
		for rest := []byte(body); len(rest) > 0; {
			n := 1 + rng.IntN(len(rest))
			_, err := in.Write(rest[:n])
			must(t, err)
			rest = rest[n:]
		}
		_, err := in.Commit([]string{anna})
		must(t, err)
	}
	m := openDrop(t, h.Store, anna)
	if got := len(m.Messages()); got != len(want) {
		t.Fatalf("%d messages, want %d", got, len(want))
	}
	for i, body := range want {
		if readMessage(t, m, i) != body {
			t.Errorf("message %d is not what was written: %.60q", i, body)
		}
		dotted := strings.HasPrefix(body, ".") || strings.Contains(body, "\n.")
		if m.Messages()[i].Dotted != dotted {
			t.Errorf("message %d: Dotted is %v: %.60q", i, !dotted, body)
		}
	}
	must(t, h.Check(anna))
}

func BenchmarkOpenMaildrop(b *testing.B) {
	h := newHouse(b, Options{})
	ids := newIDSource(time.Now)
	for range 100_000 {
		f, err := h.root.OpenFile(anna+"/"+Name{ID: ids.next(), Size: 4096}.String(), os.O_WRONLY|os.O_CREATE, 0o600)
		must(b, err)
		must(b, f.Close())
	}
	for b.Loop() {
		m, err := h.OpenMaildrop(anna)
		must(b, err)
		must(b, m.Close())
	}
}

func BenchmarkCommit(b *testing.B) {
	h := newHouse(b, Options{})
	body := string(bytes.Repeat([]byte("0123456789abcde\n"), 256))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			deliver(b, h.Store, body, anna)
		}
	})
}
