package durable

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func open(t *testing.T) (*Root, string) {
	t.Helper()
	dir := t.TempDir()
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r, dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestNamesAreBelowTheRoot(t *testing.T) {
	r, dir := open(t)
	must(t, os.WriteFile(filepath.Join(dir, "..", "outside"), nil, 0o600))
	must(t, os.Symlink("..", filepath.Join(dir, "up")))
	must(t, r.Mkdir("a", 0o700))
	names := []string{"../outside", "/etc/passwd", "a/../../outside", "a/../a", "./a", "a/", "", "a\x00b", "up/outside"}
	for _, name := range names {
		if _, err := r.OpenFile(name, os.O_RDONLY, 0); err == nil {
			t.Errorf("OpenFile(%q) succeeded", name)
		}
		for op, err := range map[string]error{
			"Mkdir":    r.Mkdir(name, 0o700),
			"MkdirAll": r.MkdirAll(name, 0o700),
			"Link":     r.Link("a", name),
			"Rename":   r.Rename("a", name),
			"Remove":   r.Remove(name),
			"SyncDir":  r.SyncDir(name),
		} {
			if err == nil {
				t.Errorf("%s(%q) succeeded", op, name)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "..", "outside")); err != nil {
		t.Error(err)
	}
}

func TestTree(t *testing.T) {
	r, dir := open(t)
	must(t, r.MkdirAll("a/b/c", 0o700))
	must(t, r.MkdirAll("a/b/c", 0o700))
	must(t, r.MkdirAll(".", 0o700))
	must(t, WriteFile(r, "a/b/c/f", []byte("x"), 0o600))
	must(t, r.Link("a/b/c/f", "a/g"))
	if err := r.Link("a/b/c/f", "a/g"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Link to an existing name: %v", err)
	}
	if err := r.MkdirAll("a/g", 0o700); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("MkdirAll on a file: %v", err)
	}
	must(t, r.Rename("a/g", "a/h"))
	names, err := r.ReadNames("a")
	slices.Sort(names)
	if !slices.Equal(names, []string{"b", "h"}) || err != nil {
		t.Errorf("ReadNames: %q, %v", names, err)
	}
	entries, err := r.ReadDir("a")
	if len(entries) != 2 || err != nil {
		t.Errorf("ReadDir: %v, %v", entries, err)
	}
	must(t, os.Symlink("h", filepath.Join(dir, "a/link")))
	if fi, err := r.Lstat("a/link"); err != nil || fi.Mode().Type() != fs.ModeSymlink {
		t.Errorf("Lstat of a link: %v, %v", fi, err)
	}
	must(t, r.Remove("a/h"))
	must(t, r.SyncDir("a"))
	must(t, r.RemoveAll("a"))
	must(t, r.RemoveAll("a"))
	if _, err := r.ReadNames("a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadNames of a missing directory: %v", err)
	}
}

func TestOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	dir := t.TempDir()
	must(t, os.Chown(dir, 4711, 4712))
	r, err := Open(dir)
	must(t, err)
	defer r.Close()
	must(t, r.MkdirAll("a/b", 0o700))
	must(t, WriteFile(r, "a/b/f", nil, 0o600))
	for _, name := range []string{"a", "a/b", "a/b/f"} {
		fi, err := r.Lstat(name)
		must(t, err)
		if st := fi.Sys().(*syscall.Stat_t); st.Uid != 4711 || st.Gid != 4712 {
			t.Errorf("%s belongs to %d:%d", name, st.Uid, st.Gid)
		}
	}
}

func TestWriteFile(t *testing.T) {
	r, _ := open(t)
	for _, content := range []string{"first, longer", "second", ""} {
		must(t, WriteFile(r, "f", []byte(content), 0o600))
		got, err := ReadFile(r, "f")
		if string(got) != content || err != nil {
			t.Errorf("ReadFile: %q, %v; want %q", got, err, content)
		}
	}
	names, err := r.ReadNames(".")
	if !slices.Equal(names, []string{"f"}) || err != nil {
		t.Errorf("left behind: %q, %v", names, err)
	}
	fi, err := r.Lstat("f")
	must(t, err)
	if fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", fi.Mode())
	}
	if !IsTemp(tempName("f")) || IsTemp("f") || IsTemp(".hidden") {
		t.Error("IsTemp is wrong")
	}
}

func TestLock(t *testing.T) {
	r, _ := open(t)
	unlock, err := Lock(t.Context(), r, "lock")
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if _, err := Lock(ctx, r, "lock"); !errors.Is(err, ErrLocked) {
		t.Fatalf("second Lock: %v, want ErrLocked", err)
	}
	got := make(chan error)
	go func() {
		unlock, err := Lock(t.Context(), r, "lock")
		if err == nil {
			unlock()
		}
		got <- err
	}()
	unlock()
	must(t, <-got)
}

func TestTryLock(t *testing.T) {
	r, _ := open(t)
	must(t, WriteFile(r, "lock", []byte("123456789012\nan earlier holder with a long name\n"), 0o600)) // ended long ago
	unlock, err := TryLock(r, "lock")
	must(t, err)
	_, err = TryLock(r, "lock")
	locked, ok := errors.AsType[*LockedError](err)
	if !errors.Is(err, ErrLocked) || !ok || locked.PID != os.Getpid() {
		t.Fatalf("second TryLock: %v, want one that names process %d", err, os.Getpid())
	}
	unlock()
	for _, as := range []string{"server", "a", ""} {
		unlock, err = TryLockAs(r, "lock", as)
		must(t, err)
		_, err = TryLock(r, "lock")
		if locked, ok := errors.AsType[*LockedError](err); !ok || locked.PID != os.Getpid() || locked.As != as {
			t.Errorf("held as %q: %+v", as, locked)
		}
		unlock()
	}
	must(t, WriteFile(r, "lock", []byte("77\n"), 0o600)) // of a release that writes no role
	f, err := openLock(r, "lock")
	must(t, err)
	if e := lockedBy("lock", f); e.PID != 77 || e.As != "" {
		t.Errorf("%+v", e)
	}
	must(t, f.Close())
}

// TestSyncerShares checks that callers that come during a sync share the next one, and only that.
func TestSyncerShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Syncer
		var syncs atomic.Int32
		broken := errors.New("second sync fails")
		slow := func() error {
			n := syncs.Add(1)
			time.Sleep(time.Second)
			if n == 2 {
				return broken
			}
			return nil
		}
		errs := make(chan string, 20)
		call := func(group string, count int) {
			for range count {
				go func() { errs <- fmt.Sprint(group, ": ", s.Do("dir", slow)) }()
			}
			synctest.Wait()
		}
		call("first", 1)
		call("second", 10) // too late for the first sync
		time.Sleep(1500 * time.Millisecond)
		call("third", 5) // too late for the second
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := syncs.Load(); n != 3 {
			t.Errorf("%d syncs, want 3", n)
		}
		close(errs)
		got := make(map[string]int)
		for e := range errs {
			got[e]++
		}
		if got["first: <nil>"] != 1 || got["second: second sync fails"] != 10 || got["third: <nil>"] != 5 {
			t.Errorf("results: %v", got)
		}
		if len(s.running)+len(s.gathering) != 0 {
			t.Error("the Syncer remembers keys that nobody waits for")
		}
	})
}

// TestSyncerBeginsAfterTheCall checks that a sync sees every change that its caller made before Do.
func TestSyncerBeginsAfterTheCall(t *testing.T) {
	var s Syncer
	var written, synced atomic.Int64
	done := make(chan struct{})
	for range 8 {
		go func() {
			defer func() { done <- struct{}{} }()
			for range 2000 {
				mine := written.Add(1)
				_ = s.Do("dir", func() error { synced.Store(written.Load()); return nil })
				if synced.Load() < mine {
					t.Error("Do returned before a sync that saw the write")
					return
				}
			}
		}()
	}
	for range 8 {
		<-done
	}
}
