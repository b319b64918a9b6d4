package durable_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/durable"
)

// TestLogStoppedDuringSync checks that a log stopped during a sync empties no segment, and that
// Checkpoint then fails.
func TestLogStoppedDuringSync(t *testing.T) {
	syncs, goOn := make(chan bool), make(chan bool)
	b := openBench(t, t.TempDir(), durable.LogOptions{Sync: func(func(func([]byte) error) error) error {
		syncs <- true
		<-goOn
		return nil
	}})
	b.replay(t)
	must(t, b.append("first"))
	checked := make(chan error)
	go func() { checked <- b.Checkpoint() }()
	<-syncs
	b.Stop()
	close(goOn)
	if err := <-checked; !errors.Is(err, durable.ErrLogDown) {
		t.Errorf("Checkpoint: %v", err)
	}
	wantRecords(t, b.replay(t), []string{"first"})
}

// TestCheckpointBehindFailedSync checks that a Checkpoint that waits for a failing sync fails too.
func TestCheckpointBehindFailedSync(t *testing.T) {
	syncs, goOn := make(chan bool), make(chan bool)
	b := openBench(t, t.TempDir(), durable.LogOptions{Sync: func(func(func([]byte) error) error) error {
		syncs <- true
		<-goOn
		return syscall.EIO
	}})
	b.replay(t)
	first, second := strings.Repeat("1", 50_000), strings.Repeat("2", 20_000)
	must(t, b.append(first))
	must(t, b.append(second)) // in the other segment, so that the first one is synced
	<-syncs
	checked := make(chan error)
	go func() { checked <- b.Checkpoint() }()
	time.Sleep(20 * time.Millisecond) // it waits for the sync now
	close(goOn)
	if err := <-checked; err == nil {
		t.Error("the Checkpoint says that the log is empty")
	}
	wantRecords(t, b.replay(t), []string{first, second})
}

// TestLogSyncsWhatItLookedAt runs two syncs of one segment. The later one must not sync the
// segment's next records, whose changes are still pending.
func TestLogSyncsWhatItLookedAt(t *testing.T) {
	syncs, goOn := make(chan bool), make(chan bool)
	b := openBench(t, t.TempDir(), durable.LogOptions{Sync: func(func(func([]byte) error) error) error {
		syncs <- true
		<-goOn
		return nil
	}})
	b.replay(t)
	first, second, third := strings.Repeat("1", 50_000), strings.Repeat("2", 50_000), strings.Repeat("3", 50_000)
	must(t, b.append(first))
	b.Announce()
	_, applied, err := b.Append(0, []byte(second)) // the first segment is synced; this change is pending
	must(t, err)
	<-syncs
	checked := make(chan error)
	go func() { checked <- b.Checkpoint() }()
	time.Sleep(20 * time.Millisecond) // it waits for that sync
	room := b.Room()
	goOn <- true
	<-room
	must(t, b.append(third)) // the second segment is next
	select {
	case <-syncs:
		t.Error("synced while a change is under way")
	case <-time.After(20 * time.Millisecond):
	}
	applied()
	close(goOn)
	for done := false; !done; {
		select {
		case <-syncs:
		case err := <-checked:
			must(t, err)
			done = true
		}
	}
}

// TestLogGuessesItsLife checks that without headers the records with the last salt count, even if
// more groups of earlier use remain.
func TestLogGuessesItsLife(t *testing.T) {
	for name, first := range map[string]int{"first group whole": 0, "first group damaged": 1} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			b := openBench(t, dir, durable.LogOptions{})
			b.replay(t)
			for range 10 {
				must(t, b.append("past"))
			}
			must(t, b.Checkpoint())
			want := []string{"first", "second", "third"}
			must(t, b.append("elsewhere")) // in the other segment
			must(t, b.Checkpoint())
			for _, record := range want {
				must(t, b.append(record))
			}
			spoilHeaders(t, filepath.Join(dir, "log/log0"), "????")
			if first > 0 {
				spoil(t, filepath.Join(dir, "log/log0"), 4096+33, "?")
			}
			wantRecords(t, openBench(t, dir, durable.LogOptions{}).replay(t), want[first:])
		})
	}
}

// TestLogHeadersOfZeros checks that a segment with zeroed headers does not count as new if it has
// groups.
func TestLogHeadersOfZeros(t *testing.T) {
	dir := t.TempDir()
	b := openBench(t, dir, durable.LogOptions{})
	b.replay(t)
	must(t, b.append("first"))
	spoilHeaders(t, filepath.Join(dir, "log/log0"), strings.Repeat("\x00", 40))
	wantRecords(t, openBench(t, dir, durable.LogOptions{}).replay(t), []string{"first"})
}

// TestLogKeepsDamagedAgain checks that a damaged segment is set aside and the log continues,
// whichever step fails.
func TestLogKeepsDamagedAgain(t *testing.T) {
	for n := 1; ; n++ {
		dir := t.TempDir()
		b := openBench(t, dir, durable.LogOptions{})
		b.replay(t)
		must(t, b.append("first"))
		spoil(t, filepath.Join(dir, "log/log0"), 9, "????")
		again := openBench(t, dir, durable.LogOptions{})
		again.disk.Start(mailtest.Nth(n, syscall.EIO))
		none := func([]byte) error { return nil }
		err := again.Replay(none, func() error { return nil })
		over := len(again.disk.Ops()) < n
		again.disk.Start(nil)
		if err != nil {
			if err := again.Replay(none, func() error { return nil }); err != nil {
				t.Errorf("step %d: %v", n, err)
				continue
			}
		}
		must(t, again.append("second"))
		wantRecords(t, openBench(t, dir, durable.LogOptions{}).replay(t), []string{"second"})
		if over {
			return
		}
	}
}

func spoilHeaders(t *testing.T, name, text string) {
	t.Helper()
	spoil(t, name, 0, text)
	spoil(t, name, testSegment-4096, text)
}

func spoil(t *testing.T, name string, at int, text string) {
	t.Helper()
	file, err := os.ReadFile(name)
	must(t, err)
	copy(file[at:], text)
	must(t, os.WriteFile(name, file, 0o600))
}

// TestLogLeavesNoTemps checks that no temporary file stays after a start was killed while making
// the segments.
func TestLogLeavesNoTemps(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "log"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "log/.log0.ABCDEF.tmp"), []byte("x"), 0o600))
	openBench(t, dir, durable.LogOptions{}).replay(t)
	left, err := os.ReadDir(filepath.Join(dir, "log"))
	must(t, err)
	if len(left) != 2 {
		t.Errorf("left: %v", left)
	}
}
