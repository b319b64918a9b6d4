package mailstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pillarbox/etc/lab/mailtest"
)

// noon is the present time of these tests; on counts days from it.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func on(days int) time.Time { return noon.AddDate(0, 0, days) }

func TestPlan(t *testing.T) {
	never := time.Time{}
	for _, tt := range []struct {
		name             string
		rule             Rule
		arrived, fetched time.Time
		before           time.Time
		want             bool
	}{
		{"no rule", Rule{}, on(-9000), on(-9000), never, false},
		{"negative is no rule", Rule{-1, -1}, on(-9000), on(-9000), never, false},
		{"to the second", Rule{After: 30}, on(-30), never, never, true},
		{"a second too young", Rule{After: 30}, on(-30).Add(time.Second), never, never, false},
		{"old", Rule{After: 30}, on(-8000), never, never, true},
		{"fetching does not matter", Rule{After: 30}, on(-29), on(-29), never, false},
		{"not fetched", Rule{FetchedAfter: 7}, on(-8000), never, never, false},
		{"fetched", Rule{FetchedAfter: 7}, on(-8000), on(-7), never, true},
		{"fetched just now", Rule{FetchedAfter: 7}, on(-8000), on(-6), never, false},
		{"the first of both", Rule{30, 7}, on(-10), on(-8), never, true},
		{"the other of both", Rule{30, 7}, on(-30), on(-1), never, true},
		{"neither of both", Rule{30, 7}, on(-29), on(-6), never, false},
		{"arrived in the future", Rule{30, 7}, on(9000), never, never, false},
		{"fetched in the future", Rule{FetchedAfter: 7}, on(-20), on(1), never, false},
		{"fetched before it arrived", Rule{FetchedAfter: 7}, on(-6), on(-9000), never, false},
		{"no time of arrival", Rule{30, 7}, never, on(-100), never, false},
		{"more days than there are", Rule{1 << 60, 1 << 60}, on(-9000), on(-9000), never, false},
		{"due before", Rule{After: 30}, on(-32), never, on(-1), false},
		{"due then", Rule{After: 30}, on(-31), never, on(-1), false},
		{"due since", Rule{After: 30}, on(-31).Add(time.Second), never, on(-1), true},
		{"not due yet", Rule{After: 30}, on(-29), never, on(-1), false},
	} {
		got := Plan(tt.rule, []Candidate{{Arrived: tt.arrived, Fetched: tt.fetched}}, tt.before, noon)
		if (len(got) == 1) != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	all := []Candidate{{Arrived: on(-3)}, {Arrived: on(-1)}, {Arrived: on(-2)}}
	if got := Plan(Rule{After: 2}, all, never, noon); !slices.Equal(got, []int{0, 2}) {
		t.Errorf("%v", got)
	}
}

func TestStricter(t *testing.T) {
	for _, tt := range []struct {
		rule, than Rule
		want       bool
	}{
		{Rule{}, Rule{}, false}, {Rule{}, Rule{30, 7}, false}, {Rule{30, 7}, Rule{30, 7}, false},
		{Rule{After: 1}, Rule{}, true}, {Rule{FetchedAfter: 1}, Rule{}, true},
		{Rule{29, 7}, Rule{30, 7}, true}, {Rule{60, 6}, Rule{30, 7}, true}, {Rule{31, 8}, Rule{30, 7}, false},
		{Rule{After: 30}, Rule{30, 7}, false}, {Rule{FetchedAfter: 7}, Rule{After: 30}, true},
	} {
		if got := tt.rule.Stricter(tt.than); got != tt.want {
			t.Errorf("%v, before %v: %v", tt.rule, tt.than, got)
		}
	}
}

// old returns the file name of a message of one byte that arrived at that time.
func old(arrived time.Time, serial int) string {
	return fmt.Sprintf("P3_%s4711%08d_1.eml", arrived.UTC().Format(stampLayout), serial)
}

func TestArrived(t *testing.T) {
	h := newHouse(t, Options{})
	mtime := on(-3).Truncate(time.Second)
	want := map[string]time.Time{
		old(on(-40), 1):                          on(-40),
		"P3_20050110090047026500000003.eml":      time.Date(2005, 1, 10, 9, 0, 47, 0, time.UTC),
		"P3_20050110090047026500000003.EML":      time.Date(2005, 1, 10, 9, 0, 47, 0, time.UTC),
		"P347865.eml":                            mtime,
		"P3_20051310090047026500000003_1.eml":    {},
		"P3_00000000000000026500000004.eml":      {},
		"P3_20050110090047026500000003 copy.eml": time.Date(2005, 1, 10, 9, 0, 47, 0, time.UTC),
	}
	for name := range want {
		must(t, os.Chtimes(h.put(t, anna+"/"+name, "x"), mtime, mtime))
	}
	v, err := h.view(anna)
	must(t, err)
	if len(v.messages) != len(want) {
		t.Fatalf("%d messages", len(v.messages))
	}
	for i := range v.messages {
		name, _ := v.file(i)
		if got := v.arrived(i); !got.Equal(want[name]) {
			t.Errorf("%s: %v, want %v", name, got, want[name])
		}
	}
}

func TestExpire(t *testing.T) {
	b := &book{bytes: make(map[string]int64)}
	h := newHouse(t, Options{Reserver: b})
	for i := range 5 {
		h.put(t, anna+"/"+old(on(-2*i), i), "x")
	}
	rule := Rule{After: 4}
	want := Expired{Messages: 3, Bytes: 3, Oldest: on(-8)}
	would, err := h.WouldExpire(anna, rule, time.Time{}, noon)
	if would != want || err != nil {
		t.Errorf("would delete %+v, %v", would, err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if gone, err := h.Expire(stopped, anna, rule, time.Time{}, noon, ignore); gone != (Expired{}) || !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %+v, %v", gone, err)
	}
	m := openDrop(t, h.Store, anna)
	if gone, err := h.Expire(t.Context(), anna, rule, time.Time{}, noon, ignore); gone != (Expired{}) || !errors.Is(err, ErrInUse) {
		t.Errorf("in use: %+v, %v", gone, err)
	}
	if gone, err := h.Expire(t.Context(), anna, Rule{After: 9}, time.Time{}, noon, ignore); gone != (Expired{}) || err != nil {
		t.Errorf("in use, nothing due: %+v, %v", gone, err)
	}
	m.Close()
	if gone, err := h.Expire(t.Context(), anna, rule, on(-3), noon, ignore); gone != (Expired{2, 2, on(-6)}) || err != nil {
		t.Errorf("a part: %+v, %v", gone, err)
	}
	if gone, err := h.Expire(t.Context(), anna, rule, time.Time{}, noon, ignore); gone != (Expired{1, 1, on(-8)}) || err != nil {
		t.Errorf("the rest: %+v, %v", gone, err)
	}
	if st, err := h.Stat(anna); st.Messages != 2 || err != nil || b.bytes[anna] != -3 || b.open != 0 {
		t.Errorf("%+v, %v, booked %+v", st, err, b)
	}
	_, err = h.Expire(t.Context(), "mailbox/office.example/P3_nobody.mbx", rule, time.Time{}, noon, ignore)
	wantErr(t, err, ErrNoMailbox)
}

// On a failing disk, Expire reports exactly the messages that are gone.
func TestExpireFailsAtEveryStep(t *testing.T) {
	for n := 1; ; n++ {
		f := newFailing(t, way{})
		for i := range 3 {
			f.put(t, anna+"/"+old(on(-i), i), "x")
		}
		f.put(t, anna+"/"+fetchedFile, "2026-11-01T00:00:00Z gone\n")
		f.disk.Start(mailtest.Nth(n, syscall.EIO))
		gone, err := f.Expire(t.Context(), anna, Rule{1, 1}, time.Time{}, noon, ignore)
		steps := len(f.disk.Ops())
		f.disk.Start(nil)
		st, statErr := f.Stat(anna)
		must(t, statErr)
		if st.Messages != 3-gone.Messages || f.book.bytes[anna] != -gone.Bytes || f.book.open != 0 {
			t.Errorf("step %d: %d messages left, %+v said to be gone, booked %+v", n, st.Messages, gone, f.book)
		}
		if err == nil && gone.Messages != 2 || err != nil && !errors.Is(err, syscall.EIO) {
			t.Errorf("step %d: %+v, %v", n, gone, err)
		}
		if steps < n {
			must(t, err)
			return
		}
	}
}

func readText(t *testing.T, h house, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(h.dir, name))
	must(t, err)
	return string(text)
}

func TestRecordFetched(t *testing.T) {
	h := newHouse(t, Options{})
	for i := range 3 {
		h.put(t, anna+"/"+old(on(-i), i), "x")
	}
	m := openDrop(t, h.Store, anna)
	must(t, m.RecordFetched(nil, noon))
	if _, err := os.Stat(filepath.Join(h.dir, anna, fetchedFile)); err == nil {
		t.Error("a file about nothing")
	}
	must(t, m.RecordFetched([]int{0, 2}, on(-1)))
	must(t, m.RecordFetched([]int{0}, noon))
	all, err := h.candidates(anna, m.view, Rule{FetchedAfter: 1})
	must(t, err)
	if !all[0].Fetched.Equal(on(-1)) || !all[1].Fetched.IsZero() || !all[2].Fetched.Equal(on(-1)) {
		t.Errorf("%+v", all)
	}
	must(t, m.Remove([]int{0, 1}))
	must(t, m.RecordFetched([]int{0, 1}, noon)) // fetched, then deleted
	must(t, m.compactFetched(false))
	if got, want := readText(t, h, anna+"/"+fetchedFile), "2026-11-21T12:00:00Z "+m.Messages()[2].UID+"\n"; got != want {
		t.Errorf("compacted:\n%s\nwant:\n%s", got, want)
	}
	m.Close()
	if got := openDrop(t, h.Store, anna).Messages(); len(got) != 1 {
		t.Errorf("%d messages", len(got))
	}
}

// A client that fetches the same mail again and again does not fill the disk.
func TestFetchedIsBounded(t *testing.T) {
	h := newHouse(t, Options{})
	h.put(t, anna+"/"+old(noon, 1), "x")
	h.put(t, anna+"/"+fetchedFile, strings.Repeat("2026-11-22T10:00:00Z "+strings.Repeat("x", 70)+"\n", 2000))
	m := openDrop(t, h.Store, anna)
	must(t, m.RecordFetched([]int{0}, noon))
	if got := len(readText(t, h, anna+"/"+fetchedFile)); got > 100 {
		t.Errorf("%d bytes are left", got)
	}
}

func TestParseFetched(t *testing.T) {
	at := func(text string) time.Time { v, err := time.Parse(time.RFC3339, text); must(t, err); return v }
	for _, tt := range []struct {
		text string
		want map[string]time.Time
	}{
		{"", nil},
		{"\n\n2026-11-22T10:00:00Z a\n", map[string]time.Time{"a": at("2026-11-22T10:00:00Z")}},
		{"2026-11-22T10:00:00Z a\n2026-11-21T10:00:00+01:00 a\n2026-11-23T10:00:00Z a\n", map[string]time.Time{"a": at("2026-11-21T09:00:00Z")}},
		{"2026-11-22T10:00:00Z a\n2026-11-22T1\n2026-11-22T10:00:00Z b\n", map[string]time.Time{"a": at("2026-11-22T10:00:00Z"), "b": at("2026-11-22T10:00:00Z")}},
		{"2026-11-22T10:00:00Z torn", nil},
		{"2026-11-22T10:00:00Z\n2026-11-22T10:00:00Z \nyesterday a\n\x00\x00\x00\n", nil},
	} {
		got := parseFetched([]byte(tt.text))
		if len(got) != len(tt.want) {
			t.Errorf("%q: %v", tt.text, got)
		}
		for uid, want := range tt.want {
			if !got[uid].Equal(want) {
				t.Errorf("%q: %s: %v, want %v", tt.text, uid, got[uid], want)
			}
		}
	}
}

// An object in place of the file is not followed, waited for or overwritten, and no message is
// deleted early.
func TestFetchedIsNoFile(t *testing.T) {
	h := newHouse(t, Options{})
	h.put(t, anna+"/"+old(on(-100), 1), "x")
	outside := h.put(t, "outside", "")
	must(t, os.Symlink(outside, filepath.Join(h.dir, anna, fetchedFile)))
	must(t, os.Mkdir(filepath.Join(h.dir, boss, fetchedFile), 0o700))
	h.put(t, boss+"/"+old(on(-100), 1), "x")
	carl, dora := "mailbox/office.example/P3_carl.mbx", "mailbox/office.example/P3_dora.mbx"
	must(t, errors.Join(os.Mkdir(filepath.Join(h.dir, carl), 0o700), os.Mkdir(filepath.Join(h.dir, dora), 0o700)))
	h.put(t, carl+"/"+old(on(-100), 1), "x")
	h.put(t, dora+"/"+old(on(-100), 1), "x")
	must(t, syscall.Mkfifo(filepath.Join(h.dir, carl, fetchedFile), 0o600))
	must(t, os.Truncate(h.put(t, dora+"/"+fetchedFile, ""), maxFetched+1))
	for _, box := range []string{anna, boss, carl, dora} {
		m := openDrop(t, h.Store, box)
		wantErr(t, m.RecordFetched([]int{0}, noon), ErrDamaged)
		m.Close()
		gone, err := h.Expire(t.Context(), box, Rule{FetchedAfter: 1}, time.Time{}, noon, ignore)
		if wantErr(t, err, ErrDamaged); gone.Messages != 0 {
			t.Errorf("%+v", gone)
		}
	}
	if readText(t, h, "outside") != "" {
		t.Error("written through the link")
	}
}

func ignore(Candidate) {}
