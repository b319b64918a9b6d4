package durable_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/durable"
)

const testSegment = 64 << 10

// bench is a log on a disk that can fail. It syncs only when told to, or when a segment is full.
type bench struct {
	*durable.Log
	disk   *mailtest.FailFS
	dir    string
	failed chan error // errors passed to LogOptions.Failed
}

func openBench(t *testing.T, dir string, opts durable.LogOptions) *bench {
	t.Helper()
	root, err := durable.Open(dir)
	must(t, err)
	t.Cleanup(func() { root.Close() })
	b := &bench{disk: mailtest.NewFailFS(root), dir: dir, failed: make(chan error, 10)}
	if opts.Segment == 0 {
		opts.Segment = testSegment
	}
	if opts.Delay == 0 {
		opts.Delay = time.Hour
	}
	opts.Failed = func(err error) { b.failed <- err }
	b.Log, err = durable.OpenLog(b.disk, "log", opts)
	must(t, err)
	return b
}

// replay returns the records in the log, and makes it take records.
func (b *bench) replay(t *testing.T) []string {
	t.Helper()
	var got []string
	must(t, b.Replay(func(r []byte) error { got = append(got, string(r)); return nil }, func() error { return nil }))
	return got
}

func (b *bench) append(record string) error {
	b.Announce()
	_, applied, err := b.Append(0, []byte(record[:1]), []byte(record[1:]))
	if err == nil {
		applied()
	}
	return err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantRecords(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("the log gives %d records %.60q, want %d %.60q", len(got), got, len(want), want)
	}
}

func TestLogKeepsRecords(t *testing.T) {
	dir := t.TempDir()
	b := openBench(t, dir, durable.LogOptions{})
	if err := b.append("too early"); !errors.Is(err, durable.ErrLogDown) {
		t.Errorf("before Replay: %v", err)
	}
	wantRecords(t, b.replay(t), nil)
	var want []string
	for i := range 10 {
		want = append(want, fmt.Sprintf("record %d %s", i, strings.Repeat("x", i*700)))
		must(t, b.append(want[i]))
	}
	// A crash, and another: reading empties no segment.
	for range 2 {
		again := openBench(t, dir, durable.LogOptions{})
		var got []string
		stop := errors.New("no")
		err := again.Replay(func(r []byte) error { got = append(got, string(r)); return nil }, func() error { return stop })
		if !errors.Is(err, stop) {
			t.Errorf("Replay: %v", err)
		}
		wantRecords(t, got, want)
	}
	after := openBench(t, dir, durable.LogOptions{})
	wantRecords(t, after.replay(t), want)
	must(t, after.append("later"))
	must(t, after.Close())
	wantRecords(t, openBench(t, dir, durable.LogOptions{}).replay(t), nil)
}

// TestLogOrder checks that records come in the order of writing, whichever segment is older.
func TestLogOrder(t *testing.T) {
	for _, rounds := range []int{1, 2, 3, 7, 20} {
		dir := t.TempDir()
		b := openBench(t, dir, durable.LogOptions{})
		b.replay(t)
		var want []string
		for i := range rounds {
			want = append(want, fmt.Sprintf("%d%s", i, strings.Repeat("x", 20_000)))
			for errors.Is(b.append(want[i]), durable.ErrLogFull) {
				time.Sleep(time.Millisecond) // the syncer is working
			}
		}
		got := openBench(t, dir, durable.LogOptions{}).replay(t)
		if len(got) == 0 || !slices.Equal(got, want[len(want)-len(got):]) {
			t.Errorf("%d rounds: %d records, not the last ones in order", rounds, len(got))
		}
	}
}

// TestLogTornTail checks that a torn last group is whole or missing, and that all groups before it
// are whole.
func TestLogTornTail(t *testing.T) {
	dir := t.TempDir()
	b := openBench(t, dir, durable.LogOptions{})
	b.replay(t)
	must(t, b.append("first"))
	must(t, b.append("second "+strings.Repeat("y", 5000)))
	name := filepath.Join(dir, "log/log0")
	whole, err := os.ReadFile(name)
	must(t, err)
	const second = 2 * 4096 // after the header and the first group
	for at := second; at < second+8192; at += 61 {
		torn := slices.Clone(whole)
		torn[at] ^= 0x55
		must(t, os.WriteFile(name, torn, 0o600))
		var got []string
		stop := errors.New("do not cut")
		_ = openBench(t, dir, durable.LogOptions{}).Replay(func(r []byte) error { got = append(got, string(r[:5])); return nil }, func() error { return stop })
		padding := at >= second+28+4+len("second ")+5000
		if want := []string{"first"}; !slices.Equal(got, want) && !(padding && slices.Equal(got, append(want, "secon"))) {
			t.Fatalf("byte %d changed: %q", at, got)
		}
	}
}

// TestLogIgnoresThePast checks that neither remains of an earlier use of the file nor a sender's
// text count as records.
func TestLogIgnoresThePast(t *testing.T) {
	dir := t.TempDir()
	b := openBench(t, dir, durable.LogOptions{})
	b.replay(t)
	must(t, b.append("one"))
	must(t, b.append("two"))
	must(t, b.append("three"))
	name := filepath.Join(dir, "log/log0")
	past, err := os.ReadFile(name)
	must(t, err)
	must(t, b.Close())
	b = openBench(t, dir, durable.LogOptions{})
	b.replay(t)
	// The longest earlier group is the content of a record that reaches to the offset of the next
	// group.
	forged := "x" + strings.Repeat("\x00", 4096-28-4-1) + string(past[4096:3*4096])
	must(t, b.append(forged))
	wantRecords(t, openBench(t, dir, durable.LogOptions{}).replay(t), []string{forged})
}

func TestLogWriteFails(t *testing.T) {
	for _, reachesDisk := range []bool{false, true} {
		dir := t.TempDir()
		b := openBench(t, dir, durable.LogOptions{})
		b.replay(t)
		must(t, b.append("first"))
		b.disk.Start(mailtest.Nth(1, syscall.EIO))
		if err := b.append("second " + strings.Repeat("z", 9000)); !errors.Is(err, syscall.EIO) {
			t.Errorf("append on a failing disk: %v", err)
		}
		if reachesDisk {
			wantRecords(t, openBench(t, dir, durable.LogOptions{}).replay(t), []string{"first"})
			continue
		}
		must(t, b.append("third"))
		wantRecords(t, openBench(t, dir, durable.LogOptions{}).replay(t), []string{"first", "third"})
	}
}

// TestLogFull checks that the second segment is filled while the first cannot be emptied, and that
// the log is full then.
func TestLogFull(t *testing.T) {
	b := openBench(t, t.TempDir(), durable.LogOptions{Delay: 5 * time.Millisecond})
	b.replay(t)
	b.Announce()
	_, applied, err := b.Append(0, []byte("its change takes long"))
	must(t, err)
	taken, full := 0, 0
	for full < 3 {
		switch err := b.append(strings.Repeat("x", 10_000)); {
		case err == nil:
			taken++
		case errors.Is(err, durable.ErrLogFull):
			full++
		default:
			t.Fatal(err)
		}
	}
	if taken < 5 || taken > 10 {
		t.Errorf("%d records fit into %d bytes", taken, 2*testSegment)
	}
	if err := b.append(strings.Repeat("x", testSegment)); !errors.Is(err, durable.ErrRecordSize) {
		t.Errorf("a record larger than the log: %v", err)
	}
	room := b.Room()
	applied()
	<-room
	must(t, b.append("at last"))
	must(t, b.Close())
	wantRecords(t, openBench(t, b.dir, durable.LogOptions{}).replay(t), nil)
}

// TestLogGroupFitsIntoAFile checks that concurrent records too large for one segment go into two.
func TestLogGroupFitsIntoAFile(t *testing.T) {
	b := openBench(t, t.TempDir(), durable.LogOptions{})
	b.replay(t)
	for range 2 {
		b.Announce()
	}
	var both sync.WaitGroup
	for _, record := range []string{strings.Repeat("1", 46_000), strings.Repeat("2", 29_000)} {
		both.Go(func() {
			_, applied, err := b.Append(0, []byte(record))
			if err != nil {
				t.Error(err)
				return
			}
			applied()
		})
	}
	both.Wait()
}

// TestLogBudget checks that the budget limits the cost of the records. A single record may cost
// more.
func TestLogBudget(t *testing.T) {
	b := openBench(t, t.TempDir(), durable.LogOptions{Budget: 2000, Delay: 5 * time.Millisecond})
	b.replay(t)
	cost := func(n int64) error {
		b.Announce()
		_, _, err := b.Append(n, []byte("record"))
		return err
	}
	must(t, cost(5000))
	must(t, cost(600))
	must(t, cost(400))
	if err := cost(1); !errors.Is(err, durable.ErrLogFull) {
		t.Errorf("beyond the budget: %v", err)
	}
}

// TestLogWaitsForTheChange checks that a segment is not synced before the changes of all its
// records are made.
func TestLogWaitsForTheChange(t *testing.T) {
	b := openBench(t, t.TempDir(), durable.LogOptions{Delay: time.Millisecond})
	b.replay(t)
	b.disk.Start(nil)
	b.Announce()
	_, applied, err := b.Append(0, []byte("slow"))
	must(t, err)
	time.Sleep(20 * time.Millisecond)
	if n := mailtest.Index(b.disk.Ops(), "syncall", "."); n >= 0 {
		t.Error("synced before the change was made")
	}
	applied()
	must(t, b.Close())
	if n := mailtest.Index(b.disk.Ops(), "syncall", "."); n < 0 {
		t.Error("not synced")
	}
}

func TestLogSharesFlushes(t *testing.T) {
	dir := t.TempDir()
	var cuts atomic.Int32
	b := openBench(t, dir, durable.LogOptions{Segment: 1 << 20, Emptied: func(int) { cuts.Add(1) }})
	b.replay(t)
	const writers, each = 50, 40
	var wg sync.WaitGroup
	var mu sync.Mutex
	acknowledged := make(map[string]bool)
	start := make(chan struct{})
	for w := range writers {
		wg.Go(func() {
			<-start
			for i := range each {
				record := binary.BigEndian.AppendUint32(nil, uint32(w))
				record = append(record, fmt.Sprint(i, strings.Repeat("t", w))...)
				switch err := b.append(string(record)); {
				case err == nil:
					mu.Lock()
					acknowledged[string(record)] = true
					mu.Unlock()
				case !errors.Is(err, durable.ErrLogFull):
					t.Error(err)
				}
			}
		})
	}
	close(start)
	wg.Wait()
	if f := b.Flushes(); f > writers*each/3 {
		t.Errorf("%d flushes for %d records of %d writers", f, writers*each, writers)
	}
	for _, record := range openBench(t, dir, durable.LogOptions{}).replay(t) {
		delete(acknowledged, record)
	}
	if len(acknowledged) > 0 && cuts.Load() == 0 {
		t.Errorf("%d acknowledged records are missing", len(acknowledged))
	}
	must(t, b.Close())
}

// TestLogDamaged checks that all whole groups of a damaged segment are read, and that the file is
// kept.
func TestLogDamaged(t *testing.T) {
	all := []string{"first", "second", "third", "fourth"}
	write := func(at int, text string) func([]byte) []byte {
		return func(file []byte) []byte { copy(file[at:], text); return file }
	}
	both := func(a, b func([]byte) []byte) func([]byte) []byte {
		return func(file []byte) []byte { return b(a(file)) }
	}
	cut := func(size int) func([]byte) []byte { return func(file []byte) []byte { return file[:size] } }
	for name, test := range map[string]struct {
		spoil func([]byte) []byte
		want  []string
	}{
		"group":                {write(2*4096+33, "?"), []string{"first", "third", "fourth"}},
		"first group":          {write(4096+33, "?"), all[1:]},
		"header":               {write(9, "????"), all},
		"magic":                {write(0, "????????"), all},
		"second header":        {write(testSegment-4096, "????"), all},
		"both headers":         {both(write(9, "????"), write(testSegment-4096+9, "????")), all},
		"headers and a group":  {both(both(write(9, "????"), write(testSegment-4096+9, "????")), write(2*4096+33, "?")), []string{"first", "third", "fourth"}},
		"headers, first group": {both(both(write(9, "????"), write(testSegment-4096+9, "????")), write(4096+33, "?")), all[1:]},
		"cut after two":        {cut(3 * 4096), all[:2]},
		"cut in a header":      {cut(20), nil},
		"empty":                {cut(0), nil},
		"cut, header damaged":  {both(write(9, "????"), cut(4*4096)), all[:3]},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			b := openBench(t, dir, durable.LogOptions{})
			b.replay(t)
			for _, record := range all {
				must(t, b.append(record))
			}
			file := filepath.Join(dir, "log/log0")
			whole, err := os.ReadFile(file)
			must(t, err)
			spoiled := test.spoil(whole)
			must(t, os.WriteFile(file, spoiled, 0o600))
			var told strings.Builder
			again := openBench(t, dir, durable.LogOptions{Log: slog.New(slog.NewTextHandler(&told, nil))})
			wantRecords(t, again.replay(t), test.want)
			if !strings.Contains(told.String(), "level=ERROR") {
				t.Errorf("not told: %q", told.String())
			}
			kept, err := filepath.Glob(filepath.Join(dir, "log/damaged-*-log0"))
			must(t, err)
			if len(kept) != 1 {
				t.Fatalf("kept: %q", kept)
			}
			if text, err := os.ReadFile(kept[0]); err != nil || !bytes.Equal(text, spoiled) {
				t.Errorf("not kept as it was: %v", err)
			}
			must(t, again.append("goes on"))
			must(t, again.Close())
			wantRecords(t, openBench(t, dir, durable.LogOptions{}).replay(t), nil)
		})
	}
}

// TestLogDamagedWhenEmpty checks that remains of an earlier use of the file do not count as
// records, even without headers.
func TestLogDamagedWhenEmpty(t *testing.T) {
	dir := t.TempDir()
	b := openBench(t, dir, durable.LogOptions{})
	b.replay(t)
	must(t, b.append("past"))
	must(t, b.Close())
	for _, name := range []string{"log0", "log1"} {
		file := filepath.Join(dir, "log", name)
		text, err := os.ReadFile(file)
		must(t, err)
		copy(text[9:], "????")
		copy(text[testSegment-4096+9:], "????")
		must(t, os.WriteFile(file, text, 0o600))
	}
	wantRecords(t, openBench(t, dir, durable.LogOptions{}).replay(t), nil)
}

// TestLogOfFirstVersion checks that a log of the first version is replayed.
func TestLogOfFirstVersion(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "log"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "log/log0"), firstVersion(7, 1, "one", "two"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "log/log1"), firstVersion(9, 2, "three"), 0o600))
	b := openBench(t, dir, durable.LogOptions{})
	wantRecords(t, b.replay(t), []string{"one", "two", "three"})
	must(t, b.append("four"))
	b = openBench(t, dir, durable.LogOptions{})
	wantRecords(t, b.replay(t), []string{"four"})
}

// firstVersion returns a segment in the format of the first version, with a group for each record.
func firstVersion(salt, epoch uint64, records ...string) []byte {
	table := crc32.MakeTable(crc32.Castagnoli)
	file := []byte("PBOXLOG1")
	file = binary.BigEndian.AppendUint64(file, salt)
	file = binary.BigEndian.AppendUint64(file, epoch)
	file = binary.BigEndian.AppendUint32(file, crc32.Checksum(file, table))
	for number, record := range records {
		file = append(file, make([]byte, 4096-len(file)%4096)...)
		rest := binary.BigEndian.AppendUint64(nil, salt)
		rest = binary.BigEndian.AppendUint64(rest, uint64(number))
		rest = binary.BigEndian.AppendUint32(rest, uint32(4+len(record)))
		rest = binary.BigEndian.AppendUint32(rest, uint32(len(record)))
		rest = append(rest, record...)
		file = append(file, "PBGR"...)
		file = binary.BigEndian.AppendUint32(file, crc32.Checksum(rest, table))
		file = append(file, rest...)
	}
	return append(file, make([]byte, testSegment-len(file))...)
}

// TestLogFailedSync checks that a failed sync is reported once. The log takes no record until
// Replay, which returns the records of both segments.
func TestLogFailedSync(t *testing.T) {
	b := openBench(t, t.TempDir(), durable.LogOptions{})
	b.replay(t)
	first, second := strings.Repeat("1", 50_000), strings.Repeat("2", 20_000) // each in its own segment
	b.disk.Start(func(_ int, op mailtest.Op) error {
		if op.Kind == "syncall" {
			return syscall.EIO
		}
		return nil
	})
	must(t, b.append(first))
	must(t, b.append(second))
	if err := <-b.failed; !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	b.disk.Start(nil)
	if err := b.append("third"); !errors.Is(err, durable.ErrLogDown) {
		t.Error(err)
	}
	if err := b.Checkpoint(); !errors.Is(err, durable.ErrLogDown) {
		t.Error(err)
	}
	wantRecords(t, b.replay(t), []string{first, second})
	must(t, b.append("third"))
	wantRecords(t, openBench(t, b.dir, durable.LogOptions{}).replay(t), []string{"third"})
}

// TestLogStopDuringSync checks that a log stopped during a sync keeps its records for the next
// Replay.
func TestLogStopDuringSync(t *testing.T) {
	syncing, stopped := make(chan struct{}), make(chan struct{})
	b := openBench(t, t.TempDir(), durable.LogOptions{Sync: func(func(func([]byte) error) error) error {
		close(syncing)
		<-stopped
		return nil
	}})
	b.replay(t)
	must(t, b.append("record"))
	done := make(chan error, 1)
	go func() { done <- b.Checkpoint() }()
	<-syncing
	b.Stop()
	close(stopped)
	if err := <-done; !errors.Is(err, durable.ErrLogDown) {
		t.Error(err)
	}
	wantRecords(t, b.replay(t), []string{"record"})
}
