package track

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/durable"
)

var quiet = slog.New(slog.DiscardHandler)

// whole is an event with every field set.
func whole() Event {
	return Event{
		Time: time.UnixMicro(1_764_500_000_123_456), Kind: Fetched, ID: "01KBA9", Parent: "01KBA8", Trace: "QYVUJ2",
		MessageID: "a.b@c.example", Subject: "Rechnung für März", From: "x@remote.example", To: "anna@office.example",
		Target: "bob@office.example", Service: "smtp", Remote: netip.MustParseAddr("2001:db8::1"), Host: "pc7", User: "anna@office.example",
		Session: 77, Rule: "relay", Route: "smart host", Reply: "250 2.0.0 ok", Text: "TLS 1.3", Next: time.UnixMicro(1_764_500_900_000_000),
		Size: 1 << 40, Count: 3, Took: 90 * time.Second,
	}
}

func TestRecordKeepsEveryField(t *testing.T) {
	want := whole()
	for i, v := 0, reflect.ValueOf(want); i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Fatalf("the test leaves %s empty", v.Type().Field(i).Name)
		}
	}
	b := appendRecord(nil, &want)
	payload, rest, damaged := next(b)
	if got := decode(payload); !reflect.DeepEqual(got, want) || len(rest) != 0 || damaged != 0 {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestDamage checks that whatever happens to one record, the others are found.
func TestDamage(t *testing.T) {
	var all []byte
	var ends []int
	for i := range 5 {
		e := whole()
		e.ID = fmt.Sprint("message-", i)
		all = appendRecord(all, &e)
		ends = append(ends, len(all))
	}
	ids := func(b []byte) (found []string) {
		for len(b) > 0 {
			var payload []byte
			if payload, b, _ = next(b); payload != nil {
				found = append(found, decode(payload).ID)
			}
		}
		return found
	}
	for at := range all {
		hit := slices.IndexFunc(ends, func(end int) bool { return at < end })
		changed := bytes.Clone(all)
		changed[at] ^= 0x55
		if got := ids(changed); len(got) != 4 || slices.Contains(got, fmt.Sprint("message-", hit)) {
			t.Fatalf("octet %d changed: found %v", at, got)
		}
		if got := ids(all[:at]); len(got) != hit {
			t.Fatalf("cut at %d: found %v", at, got)
		}
		if got := ids(append(bytes.Clone(all[:at]), all...)); len(got) < 5 {
			t.Fatalf("written again behind a cut at %d: found %v", at, got)
		}
	}
}

// FuzzRecords checks that no file makes the reader fail, and that a record behind anything is found.
func FuzzRecords(f *testing.F) {
	e := whole()
	f.Add(appendRecord(nil, &e))
	f.Add([]byte{mark, 9, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, junk []byte) {
		last := ""
		for b := appendRecord(bytes.Clone(junk), &e); len(b) > 0; {
			var payload []byte
			if payload, b, _ = next(b); payload != nil {
				addKeys(make(map[uint64]struct{}), payload)
				last = decode(payload).ID
			}
		}
		if last != e.ID {
			t.Errorf("the last record is %q", last)
		}
	})
}

func TestAddCleansText(t *testing.T) {
	fsys := mailtest.NewPowerFS()
	var seen Event
	l := Open(fsys, Options{}, quiet, func(e *Event) { seen = *e })
	l.Add(Event{Kind: Accepted, ID: "1", From: "\x1b[31ma\r\nb@c.example", Subject: "secret", Host: strings.Repeat("ü", 600), Text: "a\xffb"})
	l.Close()
	got := find(t, fsys, Query{Name: "1"})[0]
	if got.From != "?[31ma??b@c.example" || got.Text != "a?b" || got.Subject != "" || len(got.Host) > maxText || !strings.HasSuffix(got.Host, "ü…") {
		t.Errorf("stored %+v", got)
	}
	if seen.From != got.From || seen.Time.IsZero() {
		t.Errorf("the reader got %+v", seen)
	}
}

func find(t *testing.T, fsys durable.FS, q Query) []Event {
	t.Helper()
	all := searchAll(t, fsys, q)
	if q.Limit == 0 {
		walked := make(map[Event]int)
		_, err := Walk(t.Context(), fsys, q, func(e *Event) { walked[*e]++ })
		for _, e := range all {
			walked[e]--
		}
		for e, n := range walked {
			if n != 0 {
				t.Errorf("Walk visits %+v %d times too often", e, n)
			}
		}
		if err != nil {
			t.Error(err)
		}
	}
	return all
}

func searchAll(t *testing.T, fsys durable.FS, q Query) []Event {
	t.Helper()
	r, err := Search(context.Background(), fsys, q)
	if err != nil {
		t.Fatal(err)
	}
	return r.Events
}

// fill adds events of one office day: message i goes from sender i%7 to recipient i%5.
func fill(l *Log, from, to int) {
	for i := from; i < to; i++ {
		id := fmt.Sprintf("MSG%06d", i)
		l.Add(Event{Kind: Accepted, ID: id, MessageID: fmt.Sprintf("%d@mua.example", i), From: fmt.Sprintf("S%d@Remote.example", i%7),
			Remote: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), Subject: fmt.Sprintf("Invoice number%d", i), Size: 1000})
		l.Add(Event{Kind: Delivered, ID: id, To: fmt.Sprintf("r%d@office.example", i%5)})
		if i%100 == 99 {
			l.Flush()
		}
	}
}

// TestSearch asks the same questions of a file that is being written and of its packed form.
func TestSearch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := mailtest.NewPowerFS()
		l := Open(fsys, Options{Subjects: true}, quiet)
		start := time.Now()
		fill(l, 0, 3000)
		time.Sleep(time.Hour)
		fill(l, 3000, 3010)
		l.Flush()
		check := func(form string) {
			t.Helper()
			for _, tt := range []struct {
				q    Query
				want int
			}{
				{Query{Name: "msg000042"}, 2},
				{Query{Name: "<42@mua.example>"}, 1},
				{Query{Name: "10.0.0.42"}, 1},
				{Query{Name: "s3@remote.example"}, 430},
				{Query{Name: "office.example"}, 3010},
				{Query{Name: "@office.example"}, 3010},
				{Query{Name: "ffice.example"}, 0},
				{Query{From: "s3@remote.example", Subject: "inv number17"}, 17},
				{Query{Subject: "oice"}, 0},
				{Query{To: "r1@office.example"}, 602},
				{Query{To: "r1@office.example", From: "s1@remote.example"}, 0},
				{Query{IDs: []string{"MSG000001", "MSG002999"}}, 4},
				{Query{Kinds: []Kind{Delivered}, Name: "r0@office.example"}, 602},
				{Query{Since: start.Add(time.Minute), Kinds: []Kind{Accepted, Delivered}}, 20},
				{Query{Until: start.Add(time.Minute), Kinds: []Kind{Accepted}}, 3000},
			} {
				got := find(t, fsys, tt.q)
				if len(got) != tt.want || !slices.IsSortedFunc(got, func(a, b Event) int { return a.Time.Compare(b.Time) }) {
					t.Errorf("%s: %+v finds %d, want %d", form, tt.q, len(got), tt.want)
				}
			}
			r, err := Search(t.Context(), fsys, Query{Kinds: []Kind{Accepted}, Limit: 3})
			if err != nil || !r.More || len(r.Events) != 3 || r.Events[2].ID != "MSG003009" {
				t.Errorf("%s: the newest three: %+v, %v", form, r, err)
			}
			if _, err := Search(canceled(), fsys, Query{Name: "x@y.example"}); err == nil {
				t.Errorf("%s: a cancelled search has no error", form)
			}
		}
		check("live")
		time.Sleep(24 * time.Hour)
		l.Add(Event{Kind: Connected})
		synctest.Wait()
		l.Close()
		files, _ := list(fsys)
		if len(files) != 2 || !files[0].packed || files[1].packed {
			t.Fatalf("files: %+v", files)
		}
		check("packed")
	})
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// TestPackedDamage checks that a damaged index or block costs no other block.
func TestPackedDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := mailtest.NewPowerFS()
		l := Open(fsys, Options{}, quiet)
		fill(l, 0, 3000)
		l.Close()
		time.Sleep(24 * time.Hour)
		l = Open(fsys, Options{}, quiet)
		synctest.Wait()
		l.Close()
		files, _ := list(fsys)
		whole, err := readFile(fsys, files[0].name)
		if err != nil || !files[0].packed {
			t.Fatal(files, err)
		}
		all := len(find(t, fsys, Query{}))
		for name, at := range map[string]int{"the first block": 40, "the index": len(whole) - 100, "the footer": len(whole) - 3} {
			changed := bytes.Clone(whole)
			changed[at] ^= 1
			if err := durable.WriteFile(fsys, files[0].name, changed, 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := Search(t.Context(), fsys, Query{})
			if err != nil || r.Damaged == 0 || len(r.Events) < all*3/4 || name != "the first block" && len(r.Events) != all {
				t.Errorf("%s: %d of %d events, damaged %d, %v", name, len(r.Events), all, r.Damaged, err)
			}
		}
	})
}

// TestPrune checks the limits of age and size.
func TestPrune(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := mailtest.NewPowerFS()
		days := func(o Options, n int) int {
			for range n {
				l := Open(fsys, o, quiet)
				fill(l, 0, 200)
				synctest.Wait()
				l.Close()
				time.Sleep(24 * time.Hour)
			}
			files, err := list(fsys)
			if err != nil {
				t.Fatal(err)
			}
			return len(files)
		}
		if got := days(Options{Keep: 4 * 24 * time.Hour}, 10); got < 4 || got > 6 {
			t.Errorf("by age: %d files", got)
		}
		if got := days(Options{MaxSize: 12 << 10}, 3); got > 3 {
			t.Errorf("by size: %d files", got)
		}
	})
}

// TestFailingDisk checks that nothing waits for a disk that fails, and that what was added is counted.
func TestFailingDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := mailtest.NewFailFS(mailtest.NewPowerFS())
		fsys.Start(mailtest.From(1, os.ErrPermission))
		var log bytes.Buffer
		l := Open(fsys, Options{}, slog.New(slog.NewTextHandler(&log, nil)))
		for range 5 {
			l.Add(Event{Kind: Connected})
			time.Sleep(time.Second)
		}
		// One line tells of the disk: the packing of old files may find the fault before an event does.
		if l.Dropped() != 5 || strings.Count(log.String(), "level=WARN") != 1 || !strings.Contains(log.String(), "the events of mail") {
			t.Errorf("%d dropped; log: %s", l.Dropped(), log.String())
		}
		fsys.Start(nil)
		l.Add(Event{Kind: Connected})
		l.Close()
		l.Add(Event{Kind: Connected})
		if l.Dropped() != 6 || len(find(t, fsys, Query{})) != 1 {
			t.Errorf("%d dropped", l.Dropped())
		}
		l.Flush() // does not hang
	})
}

// TestBurst checks that memory is bounded: events beyond it are dropped and counted.
func TestBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := mailtest.NewPowerFS()
		l := Open(fsys, Options{}, quiet)
		const n = 120_000
		for i := range n {
			l.Add(Event{Kind: Connected, Host: fmt.Sprint("host-", i)})
		}
		l.Close()
		if stored := len(find(t, fsys, Query{})); stored+int(l.Dropped()) != n || stored == 0 {
			t.Errorf("%d stored, %d dropped of %d", stored, l.Dropped(), n)
		}
	})
}

// TestPowerCut checks that events older than the sync survive, and that the rest does no harm.
func TestPowerCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := mailtest.NewPowerFS()
		l := Open(fsys, Options{}, quiet)
		fill(l, 0, 50)
		time.Sleep(3 * time.Second)
		fill(l, 50, 60)
		fsys.Cut()
		l.Close()
		for seed := range uint64(20) {
			after := fsys.Restart(mailtest.PowerMode(seed%4), rand.New(rand.NewPCG(seed, 1)))
			l = Open(after, Options{}, quiet)
			fill(l, 100, 150)
			l.Close()
			if got := len(find(t, after, Query{Kinds: []Kind{Accepted}})); got < 100 || got > 110 {
				t.Errorf("seed %d: %d messages", seed, got)
			}
		}
	})
}

func TestNilLog(t *testing.T) {
	var l *Log
	l.Add(Event{})
	l.Flush()
	if l.Dropped() != 0 {
		t.Error("a nil Log drops events")
	}
}

func TestFilter(t *testing.T) {
	keys := make(map[uint64]struct{})
	for i := range 1000 {
		keys[keyOf(fmt.Append(nil, "name", i))] = struct{}{}
	}
	f := newFilter(keys)
	for key := range keys {
		if !f.has(key) {
			t.Fatal("a key is missing")
		}
	}
	wrong := 0
	for i := range 100_000 {
		if f.has(keyOf(fmt.Append(nil, "other", i))) {
			wrong++
		}
	}
	if wrong > 1000 {
		t.Errorf("%d of 100,000 other names are found", wrong)
	}
}

// BenchmarkTrace asks for one message among BENCHEVENTS (1,000,000). The first question reads the
// files; the others find them in memory.
func BenchmarkTrace(b *testing.B) {
	dir := b.TempDir()
	root, err := durable.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer root.Close()
	events := 1_000_000
	fmt.Sscan(os.Getenv("BENCHEVENTS"), &events)
	l := Open(root, Options{}, quiet)
	for i := 0; i < events/2; i += 10_000 {
		fill(l, i, min(i+10_000, events/2))
	}
	for unpacked := 2; unpacked > 1; time.Sleep(100 * time.Millisecond) {
		files, _ := list(root)
		unpacked = 0
		for _, f := range files {
			if !f.packed {
				unpacked++
			}
		}
	}
	l.Close()
	var size int64
	filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			size += info.Size()
		}
		return nil
	})
	b.ResetTimer()
	for b.Loop() {
		if got := len(mustFind(b, root, Query{Name: fmt.Sprintf("%d@mua.example", events/4)})); got != 1 {
			b.Fatalf("found %d events", got)
		}
	}
	b.ReportMetric(float64(size)/float64(events), "octets/event")
}

func mustFind(b *testing.B, fsys durable.FS, q Query) []Event {
	r, err := Search(context.Background(), fsys, q)
	if err != nil {
		b.Fatal(err)
	}
	return r.Events
}

// BenchmarkAdd measures what an event costs the server.
func BenchmarkAdd(b *testing.B) {
	root, err := durable.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer root.Close()
	l := Open(root, Options{MaxSize: 1 << 30}, quiet)
	e := whole()
	for b.Loop() {
		l.Add(e)
	}
	b.ReportMetric(float64(l.Dropped())/float64(b.N), "dropped/op")
	l.Close()
}
