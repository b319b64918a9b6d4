package mailstore

import (
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"pillarbox/mailstore/durable"
)

func TestParseID(t *testing.T) {
	for _, tt := range []struct {
		file string
		id   string
		size int64
	}{
		{someID + "_12.eml", someID, 12},
		{someID + "_12d.eml", someID, 12},
		{someID + ".eml", someID, -1},
		{someID + ".EML", someID, -1},
		{someID + "_012.eml", "", 0},
		{someID, "", 0},
		{"hello.eml", "", 0},
		{".eml", "", 0},
	} {
		id, size, ok := ParseID(tt.file)
		if id != tt.id || size != tt.size || ok != (tt.id != "") {
			t.Errorf("%s: %q, %d, %v", tt.file, id, size, ok)
		}
	}
	if got := IDTime("P3_99999999999999" + someID[len("P3_99999999999999"):]); !got.IsZero() {
		t.Errorf("month 99 is %v", got)
	}
}

func TestNewID(t *testing.T) {
	h := newHouse(t, Options{})
	long := time.Date(2004, 5, 6, 7, 8, 9, 999, time.FixedZone("", 3600))
	first, second := h.NewID(long), h.NewID(long)
	if first >= second || !IDTime(first).Equal(time.Date(2004, 5, 6, 6, 8, 9, 0, time.UTC)) {
		t.Errorf("%s, %s", first, second)
	}
	if id := h.NewID(time.Date(12004, 1, 1, 0, 0, 0, 0, time.UTC)); !isID(id) || IDTime(id).Year() < 2024 {
		t.Errorf("the year 12004 makes %s", id)
	}
	if next := h.Create().ID(); IDTime(next).Year() < 2024 {
		t.Errorf("a message of today is %s", next)
	}
}

// A message keeps its ID, with and without a log; its second copy is refused.
func TestCommitAs(t *testing.T) {
	for _, log := range []bool{false, true} {
		h := newHouse(t, Options{})
		if log {
			must(t, h.Recover(RecoverOptions{LogSize: 1 << 20}))
		}
		for i, want := range []error{nil, fs.ErrExist} {
			in := h.Create()
			_, err := io.WriteString(in, "a\r\n.b\r\n")
			must(t, err)
			wantErr(t, in.CommitAs(someID, anna), want)
			in.Abort()
			if entries, err := os.ReadDir(h.dir + "/incoming"); err != nil || len(entries) > 0 {
				t.Errorf("log %v, message %d: left in incoming: %v, %v", log, i, entries, err)
			}
		}
		in := h.Create()
		if err := in.CommitAs("hello", anna); err == nil {
			t.Error("any word is an ID")
		}
		wantErr(t, in.CommitAs(someID, "mailbox/office.example/P3_nobody.mbx"), ErrNoMailbox)
		in.Abort()
		wantErr(t, in.CommitAs(someID, anna), fs.ErrClosed)

		snap, err := h.Snapshot(anna)
		must(t, err)
		if m := snap.Messages(); len(m) != 1 || m[0].UID != someID || m[0].Size != 7 || !m[0].Dotted || snap.File(0) != someID+"_7d.eml" {
			t.Errorf("the mailbox holds %+v", m)
		}
		must(t, h.Check(anna))
		must(t, h.Store.Close())
	}
}

func TestCommitAsOverQuota(t *testing.T) {
	root, err := durable.Open(t.TempDir())
	must(t, err)
	defer root.Close()
	must(t, root.MkdirAll(anna, 0o700))
	s, err := Open(root, Options{Reserver: full{}})
	must(t, err)
	in := s.Create()
	_, err = io.WriteString(in, "a\r\n")
	must(t, err)
	wantErr(t, in.CommitAs(someID, anna), ErrOverQuota)
	in.IgnoreQuota()
	must(t, in.CommitAs(someID, anna))
}

// full is a Reserver of full mailboxes.
type full struct{}

func (full) Room(string, int64) error { return fullError{} }
func (full) Reserve(string, int64) (func(int64, int), error) {
	return nil, fullError{}
}
func (full) Release(string) func(int64, int) { return func(int64, int) {} }

type fullError struct{}

func (fullError) Error() string   { return "full" }
func (fullError) OverQuota() bool { return true }

func TestSnapshot(t *testing.T) {
	h := newHouse(t, Options{})
	h.put(t, anna+"/old.eml", "a\nb")
	then := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	must(t, os.Chtimes(h.dir+"/"+anna+"/old.eml", then, then))
	h.put(t, anna+"/"+someID+".eml", "c\n")
	snap, err := h.Snapshot(anna)
	must(t, err)
	if snap.File(0) != "old.eml" || !snap.Arrived(0).Equal(then) || !snap.Arrived(1).Equal(IDTime(someID)) || snap.Octets() != 9 {
		t.Errorf("%s of %v, %v; %d octets", snap.File(0), snap.Arrived(0), snap.Arrived(1), snap.Octets())
	}
	c, err := snap.Open(0)
	must(t, err)
	defer c.Close()
	cmp := NewComparer(strings.NewReader("a\r\nb\r\n"))
	_, err = io.Copy(cmp, c)
	must(t, err)
	must(t, cmp.Finish())
	_, err = h.Snapshot("mailbox/office.example/P3_nobody.mbx")
	wantErr(t, err, ErrNoMailbox)
}

func TestComparer(t *testing.T) {
	for _, tt := range []struct {
		there, written string
		same           bool
	}{
		{"", "", true}, {"abc", "abc", true}, {"abc", "abd", false}, {"abc", "ab", false}, {"ab", "abc", false}, {"", "a", false},
	} {
		c := NewComparer(strings.NewReader(tt.there))
		_, err := io.WriteString(c, tt.written)
		if err == nil {
			err = c.Finish()
		}
		if tt.same {
			must(t, err)
		} else {
			wantErr(t, err, ErrDiffers)
		}
	}
}
