package badmail

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/durable"
)

const day = 24 * time.Hour

// folder is a Store on a disk that can fail.
type folder struct {
	*Store
	t     *testing.T
	dir   string
	disk  *mailtest.FailFS
	grown []Usage
	log   strings.Builder
}

func newFolder(t *testing.T, l Limits) *folder {
	f := &folder{t: t, dir: t.TempDir()}
	root, err := durable.Open(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	f.disk = mailtest.NewFailFS(root)
	f.open(l)
	return f
}

func (f *folder) open(l Limits) {
	f.Store = New(f.disk, slog.New(slog.NewTextHandler(&f.log, nil)), func(u Usage) { f.grown = append(f.grown, u) })
	f.SetLimits(l)
}

func message(size int) Message {
	text := strings.Repeat("x", size)
	return Message{
		Original: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil },
		Size:     int64(size), Envelope: []byte("{}\n"), Reason: "because\n",
	}
}

func (f *folder) put(id string, size int) {
	f.t.Helper()
	if err := f.Put(id, message(size)); err != nil {
		f.t.Fatal(err)
	}
}

func (f *folder) want(ids ...string) {
	f.t.Helper()
	all, err := List(f.disk)
	if err != nil {
		f.t.Fatal(err)
	}
	var got []string
	var size int64
	for _, e := range all {
		got = append(got, e.ID)
		size += e.Size
	}
	slices.Sort(got)
	if !slices.Equal(got, ids) {
		f.t.Errorf("there are %q, want %q", got, ids)
	}
	if u := f.Usage(); u.Messages != len(ids) || u.Size != size {
		f.t.Errorf("the store believes %+v, the disk has %d in %d", u, size, len(ids))
	}
}

// TestCeilingBySize: the oldest messages are deleted first, and the limit holds after each message.
func TestCeilingBySize(t *testing.T) {
	const one = 3 * block // a small message with its two other files
	f := newFolder(t, Limits{Size: 3 * one})
	for i := range 5 {
		f.put(fmt.Sprint("m", i), 100)
	}
	f.want("m2", "m3", "m4")
	f.put("large", 2*block) // takes the room of two
	f.want("large", "m4")
	f.put("huge", 100*one) // is not kept, and costs no other its place
	f.want("large", "m4")
	f.SetLimits(Limits{Size: one})
	if err := f.Trim(); err != nil {
		t.Fatal(err)
	}
	f.want()
	f.SetLimits(Limits{})
	for i := range 5 {
		f.put("same", 10*i)
	}
	f.want("same", "same-2", "same-3", "same-4", "same-5")
}

func TestCeilingByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFolder(t, Limits{Age: 30 * day})
		f.put("old", 1)
		time.Sleep(29 * day)
		f.put("new", 1)
		f.want("new", "old")
		time.Sleep(day + time.Hour)
		f.put("newer", 1)
		f.want("new", "newer")
	})
}

// TestTrimAfterRestart: ages come from the files, and files that an administrator deleted cause no
// error.
func TestTrimAfterRestart(t *testing.T) {
	f := newFolder(t, Limits{Age: 30 * day})
	for _, id := range []string{"a", "b", "c"} {
		f.put(id, 1)
	}
	old := time.Now().Add(-31 * day)
	for _, suffix := range suffixes() {
		if err := os.Chtimes(filepath.Join(f.dir, Dir, "a"+suffix), old, old); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(f.dir, Dir, "b"+suffix)); err != nil {
			t.Fatal(err)
		}
	}
	f.open(Limits{Age: 30 * day})
	if err := f.Trim(); err != nil {
		t.Fatal(err)
	}
	f.want("c")
	if err := os.Remove(filepath.Join(f.dir, Dir, "c.eml")); err != nil {
		t.Fatal(err)
	}
	if err := f.Trim(); err != nil {
		t.Fatal(err)
	}
	if all, err := List(f.disk); err != nil || len(all) != 1 || all[0].Complete {
		t.Error(all, err)
	}
}

// TestGrowthIsTold: grown is called once when half is used, and again only after the store was
// nearly empty. The log has one line a minute.
func TestGrowthIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const one = 3 * block
		f := newFolder(t, Limits{Size: 8 * one, Age: 30 * day})
		for i := range 40 {
			f.put(fmt.Sprint("m", i), 100)
		}
		if len(f.grown) != 1 || f.grown[0] != (Usage{4, 4 * one, 8 * one}) {
			t.Errorf("told %+v", f.grown)
		}
		if n := strings.Count(f.log.String(), "\n"); n != 1 {
			t.Errorf("%d lines:\n%s", n, f.log.String())
		}
		time.Sleep(time.Minute)
		f.put("more", 100)
		if !strings.Contains(f.log.String(), "new=40 removed=33 messages=8") {
			t.Errorf("the log says\n%s", f.log.String())
		}
		f.open(Limits{Size: 8 * one})
		f.put("after a restart", 100)
		if len(f.grown) != 1 {
			t.Errorf("told %+v", f.grown)
		}
		for _, e := range func() []Entry { all, _ := List(f.disk); return all }() {
			if err := Remove(f.disk, e.ID); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Trim(); err != nil {
			t.Fatal(err)
		}
		for i := range 4 {
			f.put(fmt.Sprint("n", i), 100)
		}
		if len(f.grown) != 2 {
			t.Errorf("told %+v", f.grown)
		}
	})
}

// TestPutFails: whichever step fails on the disk, Put returns the error, and the next try succeeds.
// An incomplete message never counts as complete.
func TestPutFails(t *testing.T) {
	for _, trouble := range []error{syscall.ENOSPC, syscall.EIO} {
		for n := 1; ; n++ {
			f := newFolder(t, Limits{})
			f.disk.Start(mailtest.Nth(n, trouble))
			err := f.Put("m", message(100))
			reached := len(f.disk.Ops()) >= n
			f.disk.Start(nil)
			if !reached {
				break
			}
			if err == nil {
				continue // nothing was lost by it
			}
			if !errors.Is(err, trouble) {
				t.Errorf("step %d: %v", n, err)
			}
			if err := f.Put("m", message(100)); err != nil {
				t.Errorf("step %d, again: %v", n, err)
			}
			all, err := List(f.disk)
			if err != nil || !slices.ContainsFunc(all, func(e Entry) bool { return e.Complete && e.Message == 100 }) {
				t.Errorf("step %d: %+v, %v", n, all, err)
			}
		}
	}
}

// slowFS makes a directory in an hour.
type slowFS struct{ durable.FS }

func (f slowFS) MkdirAll(path string, perm os.FileMode) error {
	time.Sleep(time.Hour)
	return f.FS.MkdirAll(path, perm)
}

// Messages wait for each other and for the disk; the question of how much is kept waits for neither.
func TestUsageNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys, err := durable.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer fsys.Close()
		s := New(slowFS{fsys}, slog.New(slog.DiscardHandler), nil)
		s.SetLimits(Limits{Size: 1 << 30})
		start := time.Now()
		var puts sync.WaitGroup
		for _, id := range []string{"a", "b"} {
			puts.Go(func() {
				if err := s.Put(id, message(3)); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Minute)
		if got := s.Usage(); got.Messages != 0 || got.Limit != 1<<30 || time.Since(start) != time.Minute {
			t.Errorf("after %v: %+v", time.Since(start), got)
		}
		puts.Wait()
		if got := s.Usage(); got.Messages != 2 || time.Since(start) != 2*time.Hour {
			t.Errorf("after %v: %+v", time.Since(start), got)
		}
	})
}
