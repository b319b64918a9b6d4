package mailstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/durable"
	"pillarbox/quota"
)

func everything(DeletedMessage) bool { return true }

// deletedIDs returns what Restore takes.
func deletedIDs(t testing.TB, s *Store, dir string) (ids []string) {
	t.Helper()
	all, err := s.Deleted(dir)
	must(t, err)
	for _, d := range all {
		ids = append(ids, d.ID)
	}
	return ids
}

// removeAll deletes all messages of anna's mailbox.
func removeAll(t testing.TB, s *Store) {
	t.Helper()
	m := openDrop(t, s, anna)
	var all []int
	for i := range m.Messages() {
		all = append(all, i)
	}
	must(t, errors.Join(m.Remove(all), m.Close()))
}

// TestUndelete deletes messages of both kinds and restores them. They come back once, as they were,
// under new unique-ids, and the quota is exact all the time.
func TestUndelete(t *testing.T) {
	b := &book{bytes: make(map[string]int64)}
	h := newHouse(t, Options{Reserver: b})
	h.KeepDeleted(true)
	first := deliver(t, h.Store, "first\r\n.\r\n", anna)
	deliver(t, h.Store, "second\r\n", anna)
	h.put(t, anna+"/by hand.eml", "third\n")
	long := strings.Repeat("n", 251) + ".eml"
	h.put(t, anna+"/"+long, "fourth\n")
	m := openDrop(t, h.Store, anna)
	before := uids(m)
	b.bytes[anna] = m.Octets()
	want := bodies(t, h.Store, boss) // none
	var all []int
	for i := range m.Messages() {
		all = append(all, i)
		want = append(want, readMessage(t, m, i))
	}
	must(t, m.Remove(all))
	must(t, m.Remove(all)) // no message is deleted twice
	must(t, m.Close())
	if got := bodies(t, h.Store, anna); len(got) != 0 || b.bytes[anna] != 0 {
		t.Errorf("left: %q, %d octets", got, b.bytes[anna])
	}
	deleted, err := h.Deleted(anna)
	must(t, err)
	if len(deleted) != 4 {
		t.Fatalf("deleted: %v", deleted)
	}
	for _, d := range deleted {
		if time.Since(d.Deleted) > time.Hour || d.Arrived.IsZero() || d.Size == 0 {
			t.Errorf("%+v", d)
		}
	}
	if d := deleted[slices.IndexFunc(deleted, func(d DeletedMessage) bool { return d.UID == first })]; d.Size != 10 {
		t.Errorf("%+v", d)
	}
	done, err := h.Restore(anna, append(deletedIDs(t, h.Store, anna), "P3_unknown"))
	must(t, err)
	again, err := h.Restore(anna, deletedIDs(t, h.Store, anna))
	must(t, err)
	if len(done) != 4 || len(again) != 0 {
		t.Errorf("restored %d, then %d", len(done), len(again))
	}
	m = openDrop(t, h.Store, anna)
	var got []string
	for i, msg := range m.Messages() {
		got = append(got, readMessage(t, m, i))
		if slices.Contains(before, msg.UID) {
			t.Errorf("%s is back: a program that has seen it does not fetch it", msg.UID)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || b.bytes[anna] != m.Octets() || b.open != 0 {
		t.Errorf("restored %q, want %q; %d octets of %d", got, want, b.bytes[anna], m.Octets())
	}
	must(t, h.Check(anna))
}

// TestBothDirectoriesAreSynced checks the order: a file system that syncs one directory at a time then
// has two names of a message after a crash, never none.
func TestBothDirectoriesAreSynced(t *testing.T) {
	h := newHouse(t, Options{})
	deliver(t, h.Store, "text\r\n", anna)
	disk := mailtest.NewFailFS(h.root)
	s, err := Open(disk, Options{})
	must(t, err)
	s.KeepDeleted(true)
	const in, out = anna + "/deleted", anna
	for _, c := range []struct {
		name string
		do   func()
		want []string
	}{
		{"first deletion", func() { removeAll(t, s) }, []string{out, in, out}},
		{"restore", func() {
			_, err := s.Restore(anna, deletedIDs(t, s, anna))
			must(t, err)
		}, []string{out, in}},
		{"second deletion", func() { removeAll(t, s) }, []string{in, out}},
	} {
		disk.Start(nil)
		c.do()
		var synced []string
		for _, op := range disk.Ops() {
			if op.Kind == "syncdir" {
				synced = append(synced, op.Name)
			}
		}
		if !slices.Equal(synced, c.want) {
			t.Errorf("%s: synced %q, want %q", c.name, synced, c.want)
		}
	}
}

// BenchmarkRemove deletes 1,000 messages at once: for good, and so that they can be restored.
func BenchmarkRemove(b *testing.B) {
	for _, keep := range []bool{false, true} {
		b.Run(map[bool]string{false: "final", true: "kept"}[keep], func(b *testing.B) {
			h := newHouse(b, Options{})
			must(b, h.Recover(RecoverOptions{}))
			defer h.Close()
			h.KeepDeleted(keep)
			for b.Loop() {
				b.StopTimer()
				for range 1000 {
					deliver(b, h.Store, "text\r\n", anna)
				}
				b.StartTimer()
				removeAll(b, h.Store)
			}
		})
	}
}

// TestNotKept checks that deletions are final unless the store is told to keep.
func TestNotKept(t *testing.T) {
	h := newHouse(t, Options{})
	h.KeepDeleted(true)
	h.KeepDeleted(false)
	deliver(t, h.Store, "text\r\n", anna)
	removeAll(t, h.Store)
	if all, err := h.Deleted(anna); len(all) != 0 || err != nil {
		t.Errorf("%v, %v", all, err)
	}
}

func TestPurge(t *testing.T) {
	h := newHouse(t, Options{})
	h.KeepDeleted(true)
	deliver(t, h.Store, "one\r\n", anna)
	deliver(t, h.Store, "three\r\n", anna)
	removeAll(t, h.Store)
	h.put(t, anna+"/deleted/notes.txt", "not ours")
	gone, err := h.Purge(anna, func(d DeletedMessage) bool { return d.Size == 5 })
	if want := (Stat{Messages: 1, Bytes: 5}); gone != want || err != nil {
		t.Errorf("%v, %v", gone, err)
	}
	if gone, err := h.Purge(anna, everything); gone.Messages != 1 || err != nil {
		t.Errorf("%v, %v", gone, err)
	}
	if ids := deletedIDs(t, h.Store, anna); len(ids) != 0 {
		t.Errorf("%q", ids)
	}
	if names, _ := os.ReadDir(filepath.Join(h.dir, anna, "deleted")); len(names) != 1 {
		t.Errorf("%v", names)
	}
}

// TestRestoreRespectsQuota restores all or nothing.
func TestRestoreRespectsQuota(t *testing.T) {
	var h house
	ledger := quota.NewLedger(quota.Options{
		Limits: func(string) (box, domain quota.Limits, err error) {
			return quota.Limits{Messages: 3}, domain, nil
		},
		Usage: func(dir string) (quota.Usage, error) {
			stat, err := h.Stat(dir)
			return quota.Usage{Bytes: stat.Bytes, Messages: int64(stat.Messages)}, err
		},
	})
	h = newHouse(t, Options{Reserver: ledger})
	h.KeepDeleted(true)
	for range 2 {
		deliver(t, h.Store, "old\r\n", anna)
	}
	removeAll(t, h.Store)
	deliver(t, h.Store, "new\r\n", anna)
	deliver(t, h.Store, "new\r\n", anna)
	ids := deletedIDs(t, h.Store, anna)
	_, err := h.Restore(anna, ids)
	wantErr(t, err, ErrOverQuota)
	if got := bodies(t, h.Store, anna); !slices.Equal(got, []string{"new\r\n", "new\r\n"}) {
		t.Errorf("after the refusal: %q", got)
	}
	done, err := h.Restore(anna, ids[:1])
	if len(done) != 1 || err != nil {
		t.Errorf("one: %v, %v", done, err)
	}
	if ids := deletedIDs(t, h.Store, anna); len(ids) != 1 {
		t.Errorf("left: %q", ids)
	}
}

// TestCannotKeep checks that deletions make room when there is none for a new name, or when the
// message cannot be moved for another reason.
func TestCannotKeep(t *testing.T) {
	for _, kind := range []string{"mkdir", "rename"} {
		h := newHouse(t, Options{})
		deliver(t, h.Store, "text\r\n", anna)
		disk := mailtest.NewFailFS(h.root)
		s, err := Open(disk, Options{})
		must(t, err)
		s.KeepDeleted(true)
		m := openDrop(t, s, anna)
		disk.Start(func(_ int, op mailtest.Op) error {
			if op.Kind == kind {
				return syscall.ENOSPC
			}
			return nil
		})
		if err := m.Remove([]int{0}); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		must(t, m.Close())
		disk.Start(nil)
		if got, ids := bodies(t, s, anna), deletedIDs(t, s, anna); len(got)+len(ids) != 0 {
			t.Errorf("%s: %q and %q are left", kind, got, ids)
		}
	}
}

// TestNoDeletedDir deletes where something else has the name of the directory.
func TestNoDeletedDir(t *testing.T) {
	h := newHouse(t, Options{})
	h.KeepDeleted(true)
	h.put(t, anna+"/deleted", "a file")
	deliver(t, h.Store, "text\r\n", anna)
	removeAll(t, h.Store)
	if got, ids := bodies(t, h.Store, anna), deletedIDs(t, h.Store, anna); len(got)+len(ids) != 0 {
		t.Errorf("%q and %q are left", got, ids)
	}
}

// TestOnlyDeleted decides what counts after a crash has left a message with two names.
func TestOnlyDeleted(t *testing.T) {
	kept := func(serial int, name string) DeletedMessage {
		d, ok := parseKept(keptName(fmt.Sprintf("P3_2026120109000000010000%04d", serial), name))
		if !ok {
			t.Fatalf("%d, %s", serial, name)
		}
		return d
	}
	const mail = "P3_20261122090047012300000042_6.eml"
	once, twice := kept(1, mail), kept(2, mail)
	again := kept(3, once.restoredName())
	byHand := kept(4, "by hand.eml")
	for _, c := range []struct {
		name    string
		all     []DeletedMessage
		present []string
		want    []DeletedMessage
	}{
		{"deleted", []DeletedMessage{once, byHand}, nil, []DeletedMessage{once, byHand}},
		{"not deleted after all", []DeletedMessage{once}, []string{mail}, nil},
		{"deleted at the second attempt", []DeletedMessage{once, twice}, nil, []DeletedMessage{twice}},
		{"restored", []DeletedMessage{once}, []string{once.ID}, nil},
		{"restored and deleted again", []DeletedMessage{once, again}, nil, []DeletedMessage{again}},
		{"copied by hand again", []DeletedMessage{byHand}, []string{"by hand.eml", "by hand"}, []DeletedMessage{byHand}},
	} {
		present := make(map[string]bool)
		for _, name := range c.present {
			present[name] = true
		}
		if got := onlyDeleted(c.all, present); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// fate is what is known of a message: what was begun, and what was confirmed.
type fate struct{ accepted, removing, removed, restoring, restored, purging, purged bool }

// fates are by the text of the message, all in anna's mailbox.
type fates map[string]*fate

func (fs fates) deliver(s *Store, text string) {
	fs[text] = &fate{}
	in := s.Create()
	defer in.Abort()
	if _, err := io.WriteString(in, text); err == nil {
		_, err = in.Commit([]string{anna})
		fs[text].accepted = err == nil
	}
}

// remove deletes all messages of the mailbox.
func (fs fates) remove(s *Store) {
	m, err := s.OpenMaildrop(anna)
	if err != nil {
		return
	}
	defer m.Close()
	var all []int
	var those []*fate
	for i := range m.Messages() {
		if text, err := textOf(m, i); err == nil {
			all, those = append(all, i), append(those, fs[text])
			*fs[text] = fate{accepted: true, removing: true, purging: fs[text].purging}
		}
	}
	done := m.Remove(all) == nil
	for _, f := range those {
		f.removed = done
	}
}

func textOf(m *Maildrop, i int) (string, error) {
	r, err := m.Open(i)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(r)
	return string(text), errors.Join(err, r.Close())
}

// restore restores the deleted messages; purge removes them.
func (fs fates) restore(s *Store) {
	all, err := s.Deleted(anna)
	if err != nil {
		return
	}
	fs.each(func(f *fate) { f.restoring = true })
	var ids []string
	for _, d := range all {
		ids = append(ids, d.ID)
	}
	done, err := s.Restore(anna, ids)
	if err != nil {
		return
	}
	for text, f := range fs {
		for _, d := range done {
			if d.Size == int64(len(text)) { // no two texts have one length
				f.restored = f.removed
			}
		}
	}
}

func (fs fates) purge(s *Store) {
	fs.each(func(f *fate) { f.purging = true })
	if s.Checkpoint() == nil {
		if _, err := s.Purge(anna, everything); err == nil {
			fs.each(func(f *fate) { f.purged = f.removed })
		}
	}
}

// each calls do for the messages that are, or may be, deleted.
func (fs fates) each(do func(*fate)) {
	for _, f := range fs {
		if f.removing && !f.restored {
			do(f)
		}
	}
}

// verify compares the mailbox and its deleted mail with what is known, and then restores all of it.
func (fs fates) verify(fsys durable.FS) error {
	s, err := Open(fsys, Options{})
	if err != nil {
		return err
	}
	if err := s.Recover(smallLog); err != nil {
		return err
	}
	defer s.Close()
	held, err := fs.count(s)
	if err != nil {
		return err
	}
	for text, f := range fs {
		switch n := held[text]; {
		case n > 0 && f.removed && !f.restoring:
			return fmt.Errorf("%.8q was deleted and is there", text)
		case n == 0 && f.accepted && !f.removing, n == 0 && f.restored:
			return fmt.Errorf("%.8q is gone", text)
		}
	}
	all, err := s.Deleted(anna)
	if err != nil {
		return err
	}
	var ids []string
	for _, d := range all {
		ids = append(ids, d.ID)
	}
	if _, err := s.Restore(anna, ids); err != nil {
		return err
	}
	if held, err = fs.count(s); err != nil {
		return err
	}
	for text, f := range fs {
		switch n := held[text]; {
		case n > 1:
			return fmt.Errorf("%.8q is there %d times", text, n)
		case n == 0 && f.accepted && !f.purging:
			return fmt.Errorf("%.8q cannot be restored", text)
		case n > 0 && f.purged:
			return fmt.Errorf("%.8q was removed for good and is back", text)
		}
	}
	return nil
}

func (fs fates) count(s *Store) (map[string]int, error) {
	m, err := s.OpenMaildrop(anna)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	held := make(map[string]int)
	for i := range m.Messages() {
		text, err := textOf(m, i)
		if err != nil {
			return nil, err
		}
		if fs[text] == nil {
			return nil, fmt.Errorf("%.20q was never sent", text)
		}
		held[text]++
	}
	return held, s.Check(anna)
}

// undeleteLife is a life of messages with each kind of step, in the log and after a checkpoint.
func undeleteLife(s *Store, told fates) {
	s.KeepDeleted(true)
	told.deliver(s, "first\r\n"+strings.Repeat("a line of text\r\n", 200))
	told.deliver(s, "large\r\n"+strings.Repeat("a line of text\r\n", smallMax/16+1))
	told.remove(s)
	told.restore(s)
	told.deliver(s, "second of them\r\n")
	time.Sleep(time.Minute) // the checkpoint is done
	told.remove(s)
	told.deliver(s, "third\r\n")
	told.remove(s)
	told.purge(s)
	told.deliver(s, "fourth\r\n")
	told.remove(s)
	told.restore(s)
	_ = s.Close()
}

// TestUndeleteAtPowerCut cuts the power at each operation of deletions, restores and purges, and
// once more during the recovery.
func TestUndeleteAtPowerCut(t *testing.T) { synctest.Test(t, undeleteAtPowerCut) }

func undeleteAtPowerCut(t *testing.T) {
	disk, s := powerStore(t)
	must(t, s.Close())
	mailtest.CutEverywhere(t, disk, powerRounds, func(fsys *mailtest.PowerFS) func(*mailtest.PowerFS) error {
		told := make(fates)
		if s, err := Open(fsys, Options{}); err == nil && s.Recover(smallLog) == nil {
			undeleteLife(s, told)
		}
		round := 0
		return func(found *mailtest.PowerFS) error {
			round++
			found.Start(mailtest.Nth(1+round%60, mailtest.ErrPowerCut))
			if s, err := Open(found, Options{}); err == nil && s.Recover(smallLog) == nil {
				_ = s.Close()
			}
			return told.verify(found.Restart(mailtest.Everything, nil))
		}
	})
}

// TestUndeleteOnFailingDisk fails each operation in turn, in each way, and then cuts the power.
func TestUndeleteOnFailingDisk(t *testing.T) {
	for _, failure := range []error{syscall.EIO, syscall.ENOSPC, syscall.EMFILE} {
		synctest.Test(t, func(t *testing.T) { undeleteOnFailingDisk(t, failure) })
	}
}

func undeleteOnFailingDisk(t *testing.T, failure error) {
	whole, s := powerStore(t)
	must(t, s.Close())
	for step, over := 1, false; !over; step++ {
		disk := whole.Restart(mailtest.Everything, nil)
		disk.Start(mailtest.Nth(step, failure))
		told := make(fates)
		if s, err := Open(disk, Options{}); err == nil && s.Recover(smallLog) == nil {
			undeleteLife(s, told)
		}
		over = len(disk.Ops()) < step
		if !over { // what cannot be kept is deleted for good
			for _, f := range told {
				f.purging = f.removing
			}
		}
		disk.Start(nil)
		if err := told.verify(disk.Restart(mailtest.Nothing, nil)); err != nil {
			t.Errorf("%v in step %d: %v", failure, step, err)
		}
	}
}

// TestOldRecordOfDeletion checks that a release that knows no undelete deletes for good what a
// record of this one moves, and that this release reads both.
func TestOldRecordOfDeletion(t *testing.T) {
	const id = "P3_20261201090000000100000001"
	all, err := decode(removal(anna, []string{"a.eml", "b.eml", path.Join(DeletedDir, keptName(id, "b.eml"))}))
	must(t, err)
	var got []string
	for _, c := range all {
		what := c.path + " removed"
		if c.source != nil {
			what = c.path + " from " + c.moved
		}
		got = append(got, what)
	}
	want := []string{anna + "/a.eml removed", anna + "/deleted/" + id + ".b.eml from " + anna + "/b.eml", anna + "/b.eml removed"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
