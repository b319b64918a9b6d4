package mailstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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

// spool puts a message into the spool and into mailboxes.
func spool(s *Store, body, state string, dirs ...string) (id string, err error) {
	in := s.Create()
	defer in.Abort()
	if _, err := io.WriteString(in, body); err != nil {
		return "", err
	}
	in.Spool([]byte(state))
	return in.Commit(dirs)
}

func spooled(t *testing.T, s *Store, id string) (state, body string) {
	t.Helper()
	text, err := s.Spool().State(id)
	must(t, err)
	r, size, err := s.Spool().Open(id)
	must(t, err)
	defer r.Close()
	content, err := io.ReadAll(r)
	must(t, err)
	if size != int64(len(content)) {
		t.Errorf("size %d of %d octets", size, len(content))
	}
	return string(text), string(content)
}

// TestSpoolStateIsNoState puts objects in place of a state that could block a reader or use all
// memory.
func TestSpoolStateIsNoState(t *testing.T) {
	for what, put := range map[string]func(file string) error{
		"a pipe":      func(file string) error { return syscall.Mkfifo(file, 0o600) },
		"a directory": func(file string) error { return os.Mkdir(file, 0o700) },
		"a link":      func(file string) error { return os.Symlink("/dev/zero", file) },
		"too large": func(file string) error {
			return errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, MaxState+1))
		},
	} {
		h := newHouse(t, Options{})
		id, err := spool(h.Store, "small\r\n", "first")
		must(t, err)
		file := filepath.Join(h.dir, spooledState(id))
		must(t, errors.Join(os.Remove(file), put(file)))
		if text, err := h.Spool().State(id); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %d octets, %v", what, len(text), err)
		}
	}
}

func TestSpool(t *testing.T) {
	for _, behind := range []*RecoverOptions{nil, {SyncEach: true}, {LogSize: 64 << 10}} {
		for _, body := range []string{"small\r\n", bigBody} {
			h := newHouse(t, Options{})
			if behind != nil {
				must(t, h.Recover(*behind))
			}
			id, err := spool(h.Store, body, "first", anna, boss)
			must(t, err)
			away, err := spool(h.Store, body, "away")
			must(t, err)
			must(t, h.Spool().Update(id, []byte("second")))
			if state, content := spooled(t, h.Store, id); state != "second" || content != body {
				t.Errorf("%q, %.20q", state, content)
			}
			one, err := os.Stat(filepath.Join(h.dir, spooledMessage(id)))
			must(t, err)
			files, err := filepath.Glob(filepath.Join(h.dir, anna, id+"*"))
			must(t, err)
			if other, err := os.Stat(files[0]); err != nil || !os.SameFile(one, other) {
				t.Error("not the same file in the mailbox")
			}
			if ids, strays, err := h.Spool().List(true); err != nil || !slices.Equal(ids, []string{id, away}) || len(strays) > 0 {
				t.Error(ids, strays, err)
			}
			must(t, h.Spool().Remove(id))
			must(t, h.Spool().Quarantine(away))
			if ids, strays, err := h.Spool().List(true); err != nil || len(ids)+len(strays) > 0 {
				t.Error(ids, strays, err)
			}
			if _, err := os.Stat(filepath.Join(h.dir, quarantineDir, away+messageSuffix)); err != nil {
				t.Error(err)
			}
			wantBodies(t, h.Store, anna, []string{body})
			_, err = h.Spool().State(id)
			wantErr(t, err, ErrNotSpooled)
			_, _, err = h.Spool().Open(id)
			wantErr(t, err, ErrNotSpooled)
			must(t, h.Close())
		}
	}
}

func TestSpoolNames(t *testing.T) {
	h := newHouse(t, Options{})
	h.put(t, "queue/../mailbox/secret.env", "no")
	for _, id := range []string{"", "../mailbox/secret", "x"} {
		_, err := h.Spool().State(id)
		wantErr(t, err, ErrNotSpooled)
		_, _, err = h.Spool().Open(id)
		wantErr(t, err, ErrNotSpooled)
	}
}

func TestSpoolStrays(t *testing.T) {
	h := newHouse(t, Options{})
	id, err := spool(h.Store, "text\r\n", "state")
	must(t, err)
	must(t, os.Remove(filepath.Join(h.dir, spooledState(id))))
	h.put(t, "queue/.x.env.ABC.tmp", "half")
	h.put(t, "queue/README", "somebody's")
	ids, strays, err := h.Spool().List(true)
	must(t, err)
	if len(ids) > 0 || !slices.Equal(strays, []string{id}) {
		t.Error(ids, strays)
	}
	if names, _ := h.root.ReadNames(spoolDir); len(names) != 2 {
		t.Error(names)
	}
}

// TestSpoolOnFailingDisk makes each step fail in turn. An unacknowledged message is not in the
// spool. An acknowledged one is, with the state before or after the change.
func TestSpoolOnFailingDisk(t *testing.T) {
	for _, w := range ways {
		failingSpool(t, w, anna)
		failingSpool(t, w)
	}
}

func failingSpool(t *testing.T, w way, dirs ...string) {
	{
		reached := true
		for n := 1; reached; n++ {
			f := newFailing(t, w)
			f.disk.Start(mailtest.Nth(n, syscall.EIO))
			id, err := spool(f.Store, f.body, "first", dirs...)
			accepted := err == nil
			var updated, removed error
			if accepted {
				updated = f.Spool().Update(id, []byte("second"))
				removed = f.Spool().Remove(id)
			}
			reached = len(f.disk.Ops()) >= n
			if n == 3 && !reached {
				t.Errorf("%s: only %d steps", w.name, len(f.disk.Ops()))
			}
			f.disk.Start(nil)
			ids, _, err := f.Spool().List(false)
			must(t, err)
			switch {
			case !accepted && len(ids) > 0:
				t.Errorf("%s, step %d: not acknowledged, and there", w.name, n)
			case accepted && removed == nil && len(ids) > 0:
				t.Errorf("%s, step %d: removed, and there", w.name, n)
			case len(ids) > 0:
				state, body := spooled(t, f.Store, id)
				if body != f.body || state != "second" && updated == nil || state != "first" && state != "second" {
					t.Errorf("%s, step %d: %q, %v", w.name, n, state, updated)
				}
			}
		}
	}
}

// queued is what was promised about a message in the spool.
type queued struct {
	body    string
	states  []string // that may be found
	removed int      // 1: begun; 2: confirmed
}

// TestSpoolPowerCut cuts the power at each operation of additions, state changes and removals.
func TestSpoolPowerCut(t *testing.T) { synctest.Test(t, spoolPowerCut) }

func spoolPowerCut(t *testing.T) {
	disk := mailtest.NewPowerFS()
	must(t, disk.MkdirAll(anna, dirPerm))
	s, err := Open(disk, Options{})
	must(t, err)
	must(t, s.Recover(smallLog))
	must(t, s.Close())
	mailtest.CutEverywhere(t, disk, powerRounds, func(fsys *mailtest.PowerFS) func(*mailtest.PowerFS) error {
		told := make(map[string]*queued)
		accept := func(s *Store, size int, dirs ...string) string {
			body := fmt.Sprint(len(told), "\r\n") + strings.Repeat("a line of text\r\n", size/16)
			id, err := spool(s, body, "new", dirs...)
			if err == nil {
				told[id] = &queued{body: body, states: []string{"new"}}
			}
			return id
		}
		update := func(s *Store, id, state string) {
			if q := told[id]; q != nil {
				q.states = append(q.states, state)
				if s.Spool().Update(id, []byte(state)) == nil {
					q.states = []string{state}
				}
			}
		}
		remove := func(s *Store, id string) {
			if q := told[id]; q != nil {
				q.removed = 1
				if s.Spool().Remove(id) == nil {
					q.removed = 2
				}
			}
		}
		if s, err := Open(fsys, Options{}); err == nil && s.Recover(smallLog) == nil {
			first := accept(s, 2000, anna)
			large := accept(s, smallMax+1, anna)
			second := accept(s, 100)
			update(s, first, "tried once")
			update(s, large, "tried once")
			remove(s, second)
			time.Sleep(time.Minute)
			third := accept(s, 3000)
			update(s, first, "tried twice")
			update(s, third, "tried once")
			remove(s, large)
			update(s, third, "tried twice")
			remove(s, first)
			accept(s, 100)
			_ = s.Close()
		}
		round := 0
		return func(found *mailtest.PowerFS) error {
			round++
			found.Start(mailtest.Nth(1+round%40, mailtest.ErrPowerCut))
			if s, err := Open(found, Options{}); err == nil && s.Recover(smallLog) == nil {
				_ = s.Close()
			}
			rng := rand.New(rand.NewPCG(uint64(round), 0))
			return verifySpool(found.Restart(mailtest.PowerMode(round%4), rng), told)
		}
	})
}

func verifySpool(fsys durable.FS, told map[string]*queued) error {
	s, err := Open(fsys, Options{})
	if err != nil {
		return err
	}
	if err := s.Recover(smallLog); err != nil {
		return err
	}
	defer s.Close()
	for id, q := range told {
		state, err := s.Spool().State(id)
		if errors.Is(err, ErrNotSpooled) && q.removed > 0 {
			continue
		}
		if err != nil {
			return err
		}
		if q.removed == 2 {
			return fmt.Errorf("%s was removed and is there", id)
		}
		if !slices.Contains(q.states, string(state)) {
			return fmt.Errorf("%s: state %q, want one of %q", id, state, q.states)
		}
		r, _, err := s.Spool().Open(id)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil || string(body) != q.body {
			return fmt.Errorf("%s: %w, %.20q", id, err, body)
		}
	}
	return nil
}

// Close waits for an operation that is running, and lets it have room in the log. Others fail.
func TestCloseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Options{})
		must(t, h.Recover(RecoverOptions{}))
		must(t, h.gate.enter())
		closed := make(chan error, 1)
		go func() { closed <- h.Close() }()
		synctest.Wait()
		select {
		case err := <-closed:
			t.Fatalf("closed beside an operation: %v", err)
		default:
		}
		_, err := spool(h.Store, "late\r\n", "new")
		wantErr(t, err, ErrClosed)
		must(t, h.gate.enterToMakeRoom())
		h.gate.leave()
		h.gate.leave()
		must(t, <-closed)
		wantErr(t, h.gate.enterToMakeRoom(), ErrClosed)
	})
}

// TestLogOnly checks that a message for the spool only gets no files if it leaves at once, and gets
// them if it stays.
func TestLogOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Options{})
		must(t, h.Recover(RecoverOptions{}))
		files := func() int {
			names, err := h.root.ReadNames(spoolDir)
			must(t, err)
			return len(names)
		}
		quick, err := spool(h.Store, "quick\r\n", "new")
		must(t, err)
		slow, err := spool(h.Store, "slow\r\n", "new")
		must(t, err)
		if ids, _, err := h.Spool().List(false); len(ids) != 2 || err != nil || files() != 0 {
			t.Error(ids, err, files())
		}
		must(t, h.Spool().Remove(quick))
		if state, body := spooled(t, h.Store, slow); state != "new" || body != "slow\r\n" || files() != 0 {
			t.Error(state, body, files())
		}
		_, err = h.Spool().State(quick)
		wantErr(t, err, ErrNotSpooled)
		time.Sleep(2 * writeOutAfter)
		if state, body := spooled(t, h.Store, slow); state != "new" || body != "slow\r\n" || files() != 2 {
			t.Error(state, body, files())
		}
		tried, err := spool(h.Store, "tried\r\n", "new")
		must(t, err)
		must(t, h.Spool().Update(tried, []byte("tried once")))
		if state, body := spooled(t, h.Store, tried); state != "tried once" || body != "tried\r\n" || files() != 4 {
			t.Error(state, body, files())
		}
		last, err := spool(h.Store, "last\r\n", "new")
		must(t, err)
		must(t, h.Close())
		again, err := Open(h.root, Options{})
		must(t, err)
		if state, body := spooled(t, again, last); state != "new" || body != "last\r\n" || files() != 6 {
			t.Error(state, body, files())
		}
	})
}

// TestLogOnlyOnFullDisk checks that a message stays in the log until there is space for its files,
// and that the store waits until then.
func TestLogOnlyOnFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFailing(t, ways[0])
		f.disk.Start(fullSpool)
		id, err := spool(f.Store, "text\r\n", "new")
		must(t, err)
		time.Sleep(time.Minute)
		_, err = f.Spool().State(id)
		wantErr(t, err, ErrRecovering)
		wantErr(t, f.Checkpoint(), ErrRecovering)
		f.disk.Start(nil)
		time.Sleep(time.Minute)
		if state, body := spooled(t, f.Store, id); state != "new" || body != "text\r\n" {
			t.Error(state, body)
		}
		if names, _ := f.root.ReadNames(spoolDir); len(names) != 2 {
			t.Error(names)
		}
		must(t, f.Checkpoint())
		must(t, f.Close())
	})
}

// fullSpool makes every new file in the spool fail.
func fullSpool(_ int, op mailtest.Op) error {
	if strings.HasPrefix(op.Name, spoolDir) && op.Kind != "opendir" {
		return syscall.ENOSPC
	}
	return nil
}

// TestCloseOnFullDisk checks that a message without files is in the log for the next start.
func TestCloseOnFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFailing(t, ways[0])
		f.disk.Start(fullSpool)
		id, err := spool(f.Store, "text\r\n", "new")
		must(t, err)
		time.Sleep(time.Minute)
		if err := f.Close(); err == nil {
			t.Error("closed as if all were well")
		}
		next, err := Open(f.root, Options{})
		must(t, err)
		must(t, next.Recover(RecoverOptions{LogSize: 64 << 10}))
		if state, body := spooled(t, next, id); state != "new" || body != "text\r\n" {
			t.Error(state, body)
		}
		must(t, next.Close())
	})
}

// TestRemoveWithFullLog checks that removals free space in a full log: waiting for space must not
// prevent them.
func TestRemoveWithFullLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFailing(t, ways[0])
		var ids []string
		for range 60 {
			id, err := spool(f.Store, strings.Repeat("x", 3000)+"\r\n", "state")
			must(t, err)
			ids = append(ids, id)
		}
		began := time.Now()
		var all sync.WaitGroup
		for _, id := range ids {
			all.Go(func() { must(t, f.Spool().Remove(id)) })
		}
		all.Wait()
		if took := time.Since(began); took > time.Second {
			t.Errorf("took %v", took)
		}
		must(t, f.Close())
	})
}

// TestGate starts after a kill with mail in the log and a disk that is full even without the
// reserve. No operation acts on the store before all mail is back.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFailing(t, ways[0])
		lost, err := spool(f.Store, "lost\r\n", "state")
		must(t, err)
		half, err := spool(f.Store, "half\r\n", "state")
		must(t, err)
		must(t, f.Spool().writeOut(f.spool.logOnly.find(half)))
		must(t, f.root.Remove(spooledState(half))) // not synced before the power cut
		f.crash(t)

		disk := mailtest.NewFailFS(f.root)
		disk.Start(func(_ int, op mailtest.Op) error {
			if op.Kind == "write" || op.Kind == "create" {
				return syscall.ENOSPC
			}
			return nil
		})
		next, err := Open(disk, Options{})
		must(t, err)
		back := make(chan struct{})
		must(t, next.Recover(RecoverOptions{LogSize: 64 << 10, Recovered: func() { close(back) }}))
		for what, err := range everyOperation(next, lost) {
			if !errors.Is(err, ErrRecovering) {
				t.Errorf("%s: %v", what, err)
			}
		}
		disk.Start(nil)
		<-back
		for id, body := range map[string]string{lost: "lost\r\n", half: "half\r\n"} {
			if state, content := spooled(t, next, id); state != "state" || content != body {
				t.Error(id, state, content)
			}
		}
		must(t, next.Close())
	})
}

// crash ends the store's work as SIGKILL does; its writes remain.
func (f failing) crash(t *testing.T) {
	t.Helper()
	f.maintainer.end()
	f.spool.logOnly.stop()
	must(t, f.Store.log.Load().log.Abandon())
}

// everyOperation runs every operation on the store.
func everyOperation(s *Store, id string) map[string]error {
	all := make(map[string]error)
	in := s.Create()
	defer in.Abort()
	_, all["commit"] = in.Commit([]string{anna})
	all["import"] = in.CommitAs("P3_20050110090047026500000003", anna)
	_, all["open a maildrop"] = s.OpenMaildrop(anna)
	_, all["count"] = s.Stat(anna)
	_, all["snapshot"] = s.Snapshot(anna)
	_, all["expire"] = s.Expire(context.Background(), anna, Rule{After: 1}, time.Time{}, time.Now(), ignore)
	_, all["check"] = s.Faults(anna, func(Fault) {})
	_, _, all["list the queue"] = s.Spool().List(false)
	_, all["state"] = s.Spool().State(id)
	_, _, all["open in the queue"] = s.Spool().Open(id)
	all["update"] = s.Spool().Update(id, []byte("x"))
	all["remove"] = s.Spool().Remove(id)
	all["quarantine"] = s.Spool().Quarantine(id)
	all["checkpoint"] = s.Checkpoint()
	all["rename"] = s.Exclusively(func() error { return nil })
	return all
}
