package mailstore

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/etc/lab/mailtest"
)

// nextStart opens the store as the next process would.
func (f failing) nextStart(t *testing.T) *Store {
	t.Helper()
	s, err := Open(f.root, Options{})
	must(t, err)
	must(t, s.Recover(RecoverOptions{LogSize: 64 << 10}))
	t.Cleanup(func() { s.Close() })
	return s
}

// failLinks makes every link in a directory fail.
func failLinks(dir string) func(int, mailtest.Op) error {
	return func(_ int, op mailtest.Op) error {
		if op.Kind == "link" && strings.HasPrefix(op.Name, dir) {
			return syscall.EIO
		}
		return nil
	}
}

// TestNothingIsCutBeforeTheRecovery checks that the log keeps the record of a message whose link
// failed, even if a sync, a checkpoint or Close comes before the recovery.
func TestNothingIsCutBeforeTheRecovery(t *testing.T) {
	for what, then := range map[string]func(s *Store) error{
		"sync":       func(s *Store) error { return s.log.Load().log.Checkpoint() },
		"checkpoint": (*Store).Checkpoint,
		"close":      func(s *Store) error { s.maintainer = &maintainer{stop: func() {}}; return s.Close() },
	} {
		t.Run(what, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { keptUntilRecovered(t, then) }) })
	}
}

func keptUntilRecovered(t *testing.T, then func(s *Store) error) {
	f := newFailing(t, ways[0])
	f.maintainer.end() // no recovery from now on
	f.disk.Start(failLinks(anna))
	deliver(t, f.Store, "kept\r\n", anna)
	f.disk.Start(nil)
	told := make(chan error)
	go func() { told <- then(f.Store) }()
	synctest.Wait() // it has ended, or waits for the recovery
	if f.maintainer != nil {
		f.gate.recovered(ErrRecovering)
	}
	if err := <-told; err == nil {
		t.Error("no error")
	}
	wantBodies(t, f.nextStart(t), anna, []string{"kept\r\n"})
}

// TestExclusivelyAfterAFall checks that Exclusively waits for the recovery if an operation inside
// fails meanwhile.
func TestExclusivelyAfterAFall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFailing(t, ways[0])
		got := make(chan error)
		f.disk.Start(func(_ int, op mailtest.Op) error {
			if op.Kind != "link" || !strings.HasPrefix(op.Name, anna) || f.gate.recoveryRequired() {
				return nil
			}
			go func() {
				got <- f.Exclusively(func() error { return f.root.Rename(anna, anna+".new") })
			}()
			for waits := false; !waits; time.Sleep(time.Millisecond) {
				f.gate.mu.Lock()
				waits = f.gate.locked
				f.gate.mu.Unlock()
			}
			return syscall.EIO
		})
		deliver(t, f.Store, "kept\r\n", anna)
		must(t, <-got)
		must(t, f.Close())
		wantBodies(t, f.nextStart(t), anna+".new", []string{"kept\r\n"})
	})
}

// TestFetchedWhileQueued is TestFetchedWhileDelivered for a message that is also in the queue.
func TestFetchedWhileQueued(t *testing.T) {
	for _, w := range ways {
		f := newFailing(t, w)
		f.disk.Start(func(_ int, op mailtest.Op) error {
			if op.Kind != "link" {
				return nil
			}
			names, err := f.root.ReadNames(anna)
			for _, name := range names {
				err = errors.Join(err, f.root.Remove(anna+"/"+name))
			}
			return err
		})
		id, err := spool(f.Store, w.body, "state", anna)
		must(t, err)
		if state, body := spooled(t, f.Store, id); state != "state" || body != w.body {
			t.Errorf("%s: in the queue: %q and %d bytes", w.name, state, len(body))
		}
	}
}

// TestRecoveryLeavesNothingElse checks that a recovery gives no further names to a message that has
// all its names.
func TestRecoveryLeavesNothingElse(t *testing.T) {
	for _, w := range ways[:2] {
		f := newFailing(t, w)
		id, err := spool(f.Store, w.body, "state", anna, boss)
		must(t, err)
		f.crash(t)
		s := f.nextStart(t)
		for _, dir := range []string{anna, boss} {
			names, err := f.root.ReadNames(dir)
			must(t, err)
			if len(names) != 1 {
				t.Errorf("%s: %s holds %q", w.name, dir, names)
			}
			wantBodies(t, s, dir, []string{w.body})
		}
		names, err := f.root.ReadNames(spoolDir)
		must(t, err)
		slices.Sort(names)
		if want := []string{id + messageSuffix, id + stateSuffix}; !slices.Equal(names, want) {
			t.Errorf("%s: the queue holds %q", w.name, names)
		}
	}
}

// TestRecoverCannotBegin checks that a store can be closed after Recover has failed.
func TestRecoverCannotBegin(t *testing.T) {
	f := newFailing(t, ways[2])
	f.disk.Start(mailtest.From(1, syscall.EMFILE))
	wantErr(t, f.Recover(RecoverOptions{}), syscall.EMFILE)
	must(t, f.Close())
}

// TestRecoveryAcrossDevices checks that a mailbox that is on another file system by now gets the
// whole message, durably.
func TestRecoveryAcrossDevices(t *testing.T) {
	for _, w := range ways[:2] {
		f := newFailing(t, w)
		deliver(t, f.Store, w.body, anna)
		f.crash(t)
		names, err := f.root.ReadNames(anna)
		must(t, err)
		must(t, f.root.Remove(anna+"/"+names[0]))
		f.disk.Start(func(_ int, op mailtest.Op) error {
			if op.Kind == "link" {
				return syscall.EXDEV
			}
			return nil
		})
		s, err := Open(f.disk, Options{})
		must(t, err)
		must(t, s.Recover(RecoverOptions{LogSize: 64 << 10}))
		wantBodies(t, s, anna, []string{w.body})
		if mailtest.Index(f.disk.Ops(), "syncdir", anna) < 0 {
			t.Errorf("%s: not synced where it is", w.name)
		}
		must(t, s.Close())
	}
}

// TestRecoveryTakesTheReserve checks that a recovery releases the reserve for whatever step finds
// the disk full.
func TestRecoveryTakesTheReserve(t *testing.T) {
	for what, full := range map[string]func(op mailtest.Op) bool{
		"message":       func(op mailtest.Op) bool { return op.Kind == "link" && strings.HasPrefix(op.Name, anna) },
		"sync":          func(op mailtest.Op) bool { return op.Kind == "syncall" },
		"missing log":   func(op mailtest.Op) bool { return op.Kind == "create" && strings.HasPrefix(op.Name, "log/.log1.") },
		"damaged log":   func(op mailtest.Op) bool { return op.Kind == "create" && strings.HasPrefix(op.Name, "log/.log0.new") },
		"file of a log": func(op mailtest.Op) bool { return op.Kind == "write" && strings.HasPrefix(op.Name, "log/log") },
	} {
		t.Run(what, func(t *testing.T) {
			f := newFailing(t, ways[0])
			deliver(t, f.Store, "kept\r\n", anna)
			f.crash(t)
			switch what {
			case "missing log":
				must(t, f.root.Remove("log/log1"))
			case "damaged log":
				file, err := os.OpenFile(f.dir+"/log/log0", os.O_WRONLY, 0)
				must(t, err)
				_, err = file.WriteAt([]byte("??"), 9)
				must(t, errors.Join(err, file.Close()))
			}
			f.disk.Start(func(_ int, op mailtest.Op) error {
				if _, err := f.root.Lstat(reserveFile); err == nil && full(op) {
					return syscall.ENOSPC
				}
				return nil
			})
			s, err := Open(f.disk, Options{})
			must(t, err)
			must(t, s.Recover(RecoverOptions{LogSize: 64 << 10, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}))
			wantBodies(t, s, anna, []string{"kept\r\n"})
			f.disk.Start(nil)
			must(t, s.Close())
		})
	}
}

// TestNoRoomForTheSecondFile checks a disk with space for only one segment of a new log. The store
// refuses mail and serves existing mail, at this start and the next.
func TestNoRoomForTheSecondFile(t *testing.T) {
	f := newFailing(t, ways[2])
	f.disk.Start(func(_ int, op mailtest.Op) error {
		if op.Kind == "create" && strings.HasPrefix(op.Name, "log/.log1.") {
			return syscall.ENOSPC
		}
		return nil
	})
	for range 2 {
		s, err := Open(f.disk, Options{})
		must(t, err)
		must(t, s.Recover(RecoverOptions{LogSize: 64 << 10}))
		if _, err := s.Stat(anna); err != nil {
			t.Error(err)
		}
		_, err = spool(s, "text\r\n", "", anna)
		wantErr(t, err, syscall.ENOSPC)
		must(t, s.Close())
	}
}

// TestQuarantinePowerCut checks that a quarantined message is whole after a power cut, even one
// that has just arrived.
func TestQuarantinePowerCut(t *testing.T) { synctest.Test(t, quarantinePowerCut) }

func quarantinePowerCut(t *testing.T) {
	for _, dirs := range [][]string{nil, {anna}} {
		disk := mailtest.NewPowerFS()
		must(t, disk.MkdirAll(anna, dirPerm))
		s, err := Open(disk, Options{})
		must(t, err)
		must(t, s.Recover(smallLog))
		id, err := spool(s, "text\r\n", "state", dirs...)
		must(t, err)
		must(t, s.Spool().Quarantine(id))
		found := disk.Restart(mailtest.Nothing, nil)
		must(t, s.Close())
		next, err := Open(found, Options{})
		must(t, err)
		must(t, next.Recover(smallLog))
		for suffix, want := range map[string]string{messageSuffix: "text\r\n", stateSuffix: "state"} {
			f, err := found.OpenFile(quarantineDir+"/"+id+suffix, os.O_RDONLY, 0)
			must(t, err)
			text, err := io.ReadAll(f)
			must(t, errors.Join(err, f.Close()))
			if string(text) != want {
				t.Errorf("%v: %s is %q", dirs, suffix, text)
			}
		}
		must(t, next.Close())
	}
}

// TestRecoveryInTheWay checks that an object in place of a message is renamed only once, however
// often the recovery is repeated.
func TestRecoveryInTheWay(t *testing.T) {
	f := newFailing(t, ways[0])
	deliver(t, f.Store, "kept\r\n", anna)
	f.crash(t)
	names, err := f.root.ReadNames(anna)
	must(t, err)
	must(t, f.root.Remove(anna+"/"+names[0]))
	must(t, f.root.Mkdir(anna+"/"+names[0], dirPerm))
	for range 2 {
		f.disk.Start(func(_ int, op mailtest.Op) error {
			if op.Kind == "syncall" {
				return syscall.EIO
			}
			return nil
		})
		s, err := Open(f.disk, Options{})
		must(t, err)
		must(t, s.Recover(RecoverOptions{LogSize: 64 << 10}))
		wantErr(t, s.Close(), ErrRecovering)
	}
	wantBodies(t, f.nextStart(t), anna, []string{"kept\r\n"})
	if found, err := f.root.ReadNames(anna); err != nil || len(found) != 2 {
		t.Errorf("%q, %v", found, err)
	}
}

// TestRecoveryIsTold checks that a failed recovery is logged once.
func TestRecoveryIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFailing(t, ways[2])
		s, err := Open(f.disk, Options{})
		must(t, err)
		var text strings.Builder
		must(t, s.Recover(RecoverOptions{LogSize: 64 << 10, Log: slog.New(slog.NewTextHandler(&text, nil))}))
		f.disk.Start(failLinks(anna))
		deliver(t, s, "kept\r\n", anna)
		time.Sleep(time.Minute)
		f.disk.Start(nil)
		time.Sleep(time.Minute)
		wantBodies(t, s, anna, []string{"kept\r\n"})
		must(t, s.Close())
		if n := strings.Count(text.String(), "level=ERROR"); n != 1 {
			t.Errorf("told %d times:\n%s", n, text.String())
		}
	})
}
