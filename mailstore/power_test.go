package mailstore

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/durable"
)

// powerRounds is the number of choices tried for each step in each mode that chooses.
const powerRounds = 10

// smallLog is a log that a few messages fill.
var smallLog = RecoverOptions{LogSize: 5 * 4096}

// promise is what a client was told about one message.
type promise struct {
	body    string
	dirs    []string
	done    bool            // acknowledged
	removed map[string]bool // by mailbox: true if the deletion was confirmed, false if it was only begun
}

// promises are by the first line of the body.
type promises map[string]*promise

func (ps promises) deliver(s *Store, first string, size int, dirs ...string) {
	p := &promise{body: first + strings.Repeat("a line of text\r\n", size/16), dirs: dirs, removed: make(map[string]bool)}
	ps[first] = p
	in := s.Create()
	defer in.Abort()
	if _, err := io.WriteString(in, p.body); err != nil {
		return
	}
	_, err := in.Commit(dirs)
	p.done = err == nil
}

// remove deletes the first message of a mailbox.
func (ps promises) remove(s *Store, dir string) {
	m, err := s.OpenMaildrop(dir)
	if err != nil {
		return
	}
	defer m.Close()
	if len(m.Messages()) == 0 {
		return
	}
	body, err := firstBody(m)
	if err != nil {
		return
	}
	first, _, _ := strings.Cut(body, "\n")
	p := ps[first+"\n"]
	p.removed[dir] = false
	p.removed[dir] = m.Remove([]int{0}) == nil
}

func firstBody(m *Maildrop) (string, error) {
	r, err := m.Open(0)
	if err != nil {
		return "", err
	}
	defer r.Close()
	body, err := io.ReadAll(r)
	return string(body), err
}

// verify compares what is found with what was promised.
func (ps promises) verify(fsys durable.FS) error {
	s, err := Open(fsys, Options{})
	if err != nil {
		return err
	}
	if err := s.Recover(smallLog); err != nil {
		return err
	}
	defer s.Close()
	for _, dir := range everybody {
		held := make(map[string]int)
		m, err := s.OpenMaildrop(dir)
		if err := errors.Join(err, s.Check(dir)); err != nil {
			return err
		}
		for i := range m.Messages() {
			r, err := m.Open(i)
			if err != nil {
				return err
			}
			body, err := io.ReadAll(r)
			if err := errors.Join(err, r.Close()); err != nil {
				return err
			}
			first, _, _ := strings.Cut(string(body), "\n")
			if p := ps[first+"\n"]; p == nil || p.body != string(body) {
				return fmt.Errorf("%s: %.20q was never sent like that", dir, body)
			}
			held[first+"\n"]++
		}
		if err := ps.verifyBox(dir, held); err != nil {
			return err
		}
		if err := m.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (ps promises) verifyBox(dir string, held map[string]int) error {
	for first, p := range ps {
		deleted, tried := p.removed[dir]
		meant := strings.Contains(strings.Join(p.dirs, " "), dir)
		switch n := held[first]; {
		case n > 1:
			return fmt.Errorf("%s: %q is there %d times", dir, first, n)
		case n > 0 && (deleted || !meant):
			return fmt.Errorf("%s: %q was deleted, or never for it", dir, first)
		case n == 0 && p.done && meant && !tried:
			return fmt.Errorf("%s: %q was acknowledged and is gone", dir, first)
		}
	}
	return nil
}

// powerStore is a store with all mailboxes on a disk that can lose its power.
func powerStore(t *testing.T) (*mailtest.PowerFS, *Store) {
	t.Helper()
	return powerStoreWith(t, smallLog)
}

func powerStoreWith(t *testing.T, opts RecoverOptions) (*mailtest.PowerFS, *Store) {
	t.Helper()
	disk := mailtest.NewPowerFS()
	for _, box := range everybody {
		must(t, disk.MkdirAll(box, dirPerm))
	}
	s, err := Open(disk, Options{})
	must(t, err)
	must(t, s.Recover(opts))
	return disk, s
}

// TestPowerCutAtEveryStep cuts the power at each operation of deliveries, with and without the log,
// and of deletions, and once more during the recovery.
func TestPowerCutAtEveryStep(t *testing.T) { synctest.Test(t, cutAtEveryStep) }

func cutAtEveryStep(t *testing.T) {
	disk, s := powerStore(t)
	must(t, s.Close())
	mailtest.CutEverywhere(t, disk, powerRounds, func(fsys *mailtest.PowerFS) func(*mailtest.PowerFS) error {
		told := make(promises)
		if s, err := Open(fsys, Options{}); err == nil && s.Recover(smallLog) == nil {
			told.deliver(s, "first\r\n", 4000, anna)
			told.deliver(s, "second\r\n", 1000, everybody...)
			told.remove(s, anna)
			told.deliver(s, "large\r\n", smallMax+1, anna, boss)
			told.deliver(s, "more than the log holds\r\n", 6000, boss)
			told.remove(s, boss)
			time.Sleep(time.Minute) // the checkpoint is done
			told.deliver(s, "last\r\n", 100, carla)
			_ = s.Close()
		}
		round := 0
		return func(found *mailtest.PowerFS) error {
			round++
			found.Start(mailtest.Nth(1+round%60, mailtest.ErrPowerCut))
			if s, err := Open(found, Options{}); err == nil && s.Recover(smallLog) == nil {
				_ = s.Close()
			}
			rng := rand.New(rand.NewPCG(uint64(round), 0))
			return told.verify(found.Restart(mailtest.PowerMode(round%4), rng))
		}
	})
}

// TestLogCutShort checks that changes whose records a damaged log has lost are synced before the
// rest of the log is emptied.
func TestLogCutShort(t *testing.T) { synctest.Test(t, logCutShort) }

func logCutShort(t *testing.T) {
	disk, s := powerStore(t)
	told := make(promises)
	told.deliver(s, "first\r\n", 4000, anna)
	killed := disk.Kill()
	_ = s.Close() // fails
	for _, name := range []string{"log/log0", "log/log1"} {
		killed.Edit(name, func(text []byte) []byte { return text[:4096] })
	}
	s, err := Open(killed, Options{})
	must(t, err)
	must(t, s.Recover(smallLog))
	lost := killed.Restart(mailtest.Nothing, nil)
	must(t, s.Close())
	must(t, told.verify(lost))
}

// TestRecordIsSyncedBeforeItsFiles kills the process at each operation of a delivery. The recovery
// of the next process makes the files of a record that may be in memory only. Then its sync fails,
// and the system drops all that it could not write. No later process may find a message in part.
func TestRecordIsSyncedBeforeItsFiles(t *testing.T) {
	for step := 1; step < 30; step++ {
		synctest.Test(t, func(t *testing.T) { recordBeforeFiles(t, step) })
	}
}

func recordBeforeFiles(t *testing.T, step int) {
	disk, s := powerStore(t)
	disk.Start(mailtest.Nth(step, mailtest.ErrPowerCut))
	told := make(promises)
	told.deliver(s, "first\r\n", 4000, anna)
	disk.Cut()
	_ = s.Close() // fails
	killed := disk.Kill()
	killed.Start(func(_ int, op mailtest.Op) error {
		if op.Kind == "syncall" {
			return syscall.EIO
		}
		return nil
	})
	s, err := Open(killed, Options{})
	must(t, err)
	must(t, s.Recover(smallLog))
	_ = s.Close()
	killed.DropPages()
	if err := told.verify(killed.Kill()); err != nil {
		t.Errorf("killed in step %d: %v", step, err)
	}
}

// TestDeletedBesideOldLog kills the process at each operation of a checkpoint, so that the empty log
// may be in memory only. The system cannot write that, and drops it after the start of the next
// process. A message that is deleted then must not come back from the old log.
func TestDeletedBesideOldLog(t *testing.T) {
	for step := range 12 * 5 { // what a killed process leaves depends on chance too
		synctest.Test(t, func(t *testing.T) { deletedBesideOldLog(t, 1+step%12) })
	}
}

func deletedBesideOldLog(t *testing.T, step int) {
	disk, s := powerStore(t)
	told := make(promises)
	told.deliver(s, "first\r\n", 4000, anna)
	disk.Start(mailtest.Nth(step, mailtest.ErrPowerCut))
	time.Sleep(10 * time.Second)
	disk.Cut()
	_ = s.Close() // fails
	killed := disk.Kill()
	killed.FailWriteback(1, rand.New(rand.NewPCG(1, 1)))
	s, err := Open(killed, Options{})
	must(t, err)
	must(t, s.Recover(smallLog))
	told.remove(s, anna)
	killed.DropPages()
	time.Sleep(30 * time.Second)
	told.remove(s, anna)
	if err := s.Close(); err != nil || !told["first\r\n"].removed[anna] {
		t.Errorf("killed in step %d: the message cannot be deleted: %v", step, err)
	}
	if err := told.verify(killed.Kill()); err != nil {
		t.Errorf("killed in step %d: %v", step, err)
	}
}

// TestNamesAreSynced checks that a message is in its mailbox after a power cut, although a rename
// of the mailbox was undone or interrupted and only half of it is on the disk.
func TestNamesAreSynced(t *testing.T) {
	for _, killed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) { namesAreSynced(t, killed) })
	}
}

func namesAreSynced(t *testing.T, killed bool) {
	disk, s := powerStore(t)
	_ = s.Exclusively(func() error {
		err := errors.Join(disk.Rename(anna, anna+".other"), disk.SyncDir(path.Dir(anna)), disk.Rename(anna+".other", anna))
		if killed {
			disk.Cut()
		}
		return err
	})
	if killed {
		_ = s.Close() // fails
		disk = disk.Kill()
		var err error
		s, err = Open(disk, Options{})
		must(t, err)
		must(t, s.Recover(smallLog))
	}
	told := make(promises)
	told.deliver(s, "first\r\n", 4000, anna)
	if !told["first\r\n"].done {
		t.Error("the message was not taken")
	}
	lost := disk.Restart(mailtest.Nothing, nil)
	must(t, s.Close())
	must(t, told.verify(lost))
}
