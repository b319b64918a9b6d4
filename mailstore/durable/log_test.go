package durable_test

import (
	"encoding/binary"
	"errors"
	"fmt"
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

	"pillarbox/mailstore/durable"
	"pillarbox/mailstore/mailtest"
)

const testSegment = 64 << 10

// bench is a log on a disk that can be made to fail. It settles only when told to, or when a file is full.
type bench struct {
	*durable.Log
	disk *mailtest.FailFS
	dir  string
	redo []string
}

func openBench(t *testing.T, dir string, opts durable.LogOptions) *bench {
	t.Helper()
	root, err := durable.Open(dir)
	must(t, err)
	t.Cleanup(func() { root.Close() })
	b := &bench{disk: mailtest.NewFailFS(root), dir: dir}
	if opts.Segment == 0 {
		opts.Segment = testSegment
	}
	if opts.Delay == 0 {
		opts.Delay = time.Hour
	}
	opts.Redo = func(record []byte) error {
		b.redo = append(b.redo, string(record))
		return nil
	}
	b.Log, err = durable.OpenLog(b.disk, "log", opts)
	must(t, err)
	return b
}

// replay returns what is in the log, and begins to take records.
func (b *bench) replay(t *testing.T) []string {
	t.Helper()
	var got []string
	must(t, b.Replay(func(r []byte) error { got = append(got, string(r)); return nil }, func() error { return nil }))
	return got
}

func (b *bench) append(record string) error {
	b.Announce()
	_, applied, err := b.Append([]byte(record[:1]), []byte(record[1:]))
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
	if err := b.append("too early"); !errors.Is(err, durable.ErrLogFull) {
		t.Errorf("before Replay: %v", err)
	}
	wantRecords(t, b.replay(t), nil)
	var want []string
	for i := range 10 {
		want = append(want, fmt.Sprintf("record %d %s", i, strings.Repeat("x", i*700)))
		must(t, b.append(want[i]))
	}
	// A crash, and another: nothing is cut by looking.
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

// TestLogOrder: what is in the two files comes in the order in which it was written, whichever is the first.
func TestLogOrder(t *testing.T) {
	for _, rounds := range []int{1, 2, 3, 7, 20} {
		dir := t.TempDir()
		b := openBench(t, dir, durable.LogOptions{})
		b.replay(t)
		var want []string
		for i := range rounds {
			want = append(want, fmt.Sprintf("%d%s", i, strings.Repeat("x", 20_000)))
			for errors.Is(b.append(want[i]), durable.ErrLogFull) {
				time.Sleep(time.Millisecond) // the settler is at work
			}
		}
		got := openBench(t, dir, durable.LogOptions{}).replay(t)
		if len(got) == 0 || !slices.Equal(got, want[len(want)-len(got):]) {
			t.Errorf("%d rounds: %d records, not the last ones in order", rounds, len(got))
		}
	}
}

// TestLogTornTail: whatever becomes of the last group, those before it are whole and it is whole or not there.
func TestLogTornTail(t *testing.T) {
	dir := t.TempDir()
	b := openBench(t, dir, durable.LogOptions{})
	b.replay(t)
	must(t, b.append("first"))
	must(t, b.append("second "+strings.Repeat("y", 5000)))
	name := filepath.Join(dir, "log/log0")
	whole, err := os.ReadFile(name)
	must(t, err)
	const second = 2 * 4096 // behind the header and the first group
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

// TestLogIgnoresThePast: remains of an earlier life are not taken for records, nor is what a stranger wrote.
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
	// The longest group of the past, as the content of a record that reaches to where it would be looked for.
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

// TestLogFull: while a file cannot be settled, the other is filled, and then no more is taken until it can.
func TestLogFull(t *testing.T) {
	b := openBench(t, t.TempDir(), durable.LogOptions{Delay: 5 * time.Millisecond})
	b.replay(t)
	var broken atomic.Bool
	var failed atomic.Int32
	broken.Store(true)
	b.disk.Start(func(_ int, op mailtest.Op) error {
		if broken.Load() && (op.Kind == "syncall" || op.Kind == "open") {
			failed.Add(1)
			return syscall.EIO
		}
		return nil
	})
	taken, full := 0, 0
	for full < 3 || failed.Load() == 0 {
		switch err := b.append(strings.Repeat("x", 10_000)); {
		case err == nil:
			taken++
		case errors.Is(err, durable.ErrLogFull):
			full++
		default:
			t.Fatal(err)
		}
	}
	if taken < 5 || taken > 12 {
		t.Errorf("%d records fit into %d bytes", taken, 2*testSegment)
	}
	if err := b.append(strings.Repeat("x", testSegment)); !errors.Is(err, durable.ErrLogFull) {
		t.Errorf("a record larger than the log: %v", err)
	}
	broken.Store(false)
	for b.append("at last") != nil {
		time.Sleep(time.Millisecond)
	}
	must(t, b.Close())
	if len(b.redo) < taken-5 {
		t.Errorf("after a failed sync %d records were done again, of %d", len(b.redo), taken)
	}
	wantRecords(t, openBench(t, b.dir, durable.LogOptions{}).replay(t), nil)
}

// TestLogWaitsForTheChange: a file is not settled before the changes of all its records are made.
func TestLogWaitsForTheChange(t *testing.T) {
	b := openBench(t, t.TempDir(), durable.LogOptions{Delay: time.Millisecond})
	b.replay(t)
	b.disk.Start(nil)
	b.Announce()
	_, applied, err := b.Append([]byte("slow"))
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
	b := openBench(t, dir, durable.LogOptions{Segment: 1 << 20, Cut: func(int) { cuts.Add(1) }})
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

// TestLogDamagedInTheMiddle: a group that the disk has spoiled does not take those behind it with it, and is told of.
func TestLogDamagedInTheMiddle(t *testing.T) {
	dir := t.TempDir()
	b := openBench(t, dir, durable.LogOptions{})
	b.replay(t)
	for _, record := range []string{"first", "second", "third", "fourth"} {
		must(t, b.append(record))
	}
	name := filepath.Join(dir, "log/log0")
	whole, err := os.ReadFile(name)
	must(t, err)
	whole[2*4096+33] ^= 1
	must(t, os.WriteFile(name, whole, 0o600))
	var told strings.Builder
	again := openBench(t, dir, durable.LogOptions{Log: slog.New(slog.NewTextHandler(&told, nil))})
	wantRecords(t, again.replay(t), []string{"first", "third", "fourth"})
	if !strings.Contains(told.String(), "level=ERROR") {
		t.Errorf("nobody is told: %q", told.String())
	}
	must(t, again.Close())

	whole[9] ^= 1 // the header of the file
	must(t, os.WriteFile(name, whole, 0o600))
	told.Reset()
	wantRecords(t, openBench(t, dir, durable.LogOptions{Log: slog.New(slog.NewTextHandler(&told, nil))}).replay(t), nil)
	if !strings.Contains(told.String(), "level=ERROR") {
		t.Errorf("nobody is told: %q", told.String())
	}
}

// TestFailedSyncConcernsBothFiles: what was written to the other file while the sync ran may be what could not be synced.
func TestFailedSyncConcernsBothFiles(t *testing.T) {
	b := openBench(t, t.TempDir(), durable.LogOptions{})
	b.replay(t)
	must(t, b.append("first"))
	syncs := 0
	done := make(chan error)
	b.disk.Start(func(_ int, op mailtest.Op) error {
		if op.Kind != "syncall" {
			return nil
		}
		if syncs++; syncs > 1 {
			return nil
		}
		return syscall.EIO
	})
	go func() { done <- b.append("second") }()
	must(t, <-done)
	must(t, b.Settle())
	must(t, b.append("third"))
	must(t, b.Close())
	if len(b.redo) < 2 || b.redo[0] != "first" {
		t.Errorf("done again: %q", b.redo)
	}
	if !slices.Contains(b.redo, "third") {
		t.Errorf("what was in the other file is not done again: %q", b.redo)
	}
}
