package mailtest_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/durable"
)

func TestDiskSize(t *testing.T) {
	disk := mailtest.NewPowerFS()
	must(t, durable.WriteFile(disk, "old", make([]byte, 10_000), 0o600))
	disk.SetSize(disk.Used() + 4096)
	f, err := disk.OpenFile("new", os.O_WRONLY|os.O_CREATE, 0o600)
	must(t, err)
	if n, err := f.Write(make([]byte, 5000)); n != 4096 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%d octets written, %v", n, err)
	}
	old, err := disk.OpenFile("old", os.O_WRONLY, 0)
	must(t, err)
	if _, err := old.WriteAt([]byte("in its place"), 9000); err != nil {
		t.Errorf("a write to blocks that are there: %v", err)
	}
	must(t, disk.Remove("old"))
	if _, err := f.Write([]byte("more")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("an open file gave its room back: %v", err)
	}
	must(t, old.Close())
	if _, err := f.Write([]byte("more")); err != nil {
		t.Errorf("after a file was removed: %v", err)
	}
	must(t, f.Close())
	for _, found := range []*mailtest.PowerFS{disk.Restart(mailtest.Everything, nil), disk.Kill()} {
		if found.Used() != 8192 {
			t.Errorf("%d octets are used after a restart", found.Used())
		}
	}
}

func TestMostOpen(t *testing.T) {
	disk := mailtest.NewPowerFS()
	must(t, durable.WriteFile(disk, "f", message, 0o600))
	dir, err := disk.OpenDir(".")
	must(t, err)
	f, err := disk.OpenFile("f", os.O_RDONLY, 0)
	must(t, err)
	disk.SetMostOpen(disk.OpenFiles())
	_, open := disk.OpenFile("f", os.O_RDONLY, 0)
	_, list := disk.ReadNames(".")
	for what, err := range map[string]error{"open": open, "list": list, "remove": disk.Remove("f"), "sync": disk.SyncDir(".")} {
		if !errors.Is(err, syscall.EMFILE) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := disk.Lstat("f"); err != nil {
		t.Errorf("lstat needs no handle: %v", err)
	}
	must(t, errors.Join(dir.Remove("f"), dir.Sync(), f.Close(), dir.Close()))
	if disk.OpenFiles() != 0 {
		t.Errorf("%d handles are open", disk.OpenFiles())
	}
}

func TestFailWriteback(t *testing.T) {
	disk := mailtest.NewPowerFS()
	must(t, durable.Replace(disk, "f", message, 0o600))
	if !disk.FailWriteback(1, newRand(1)) {
		t.Fatal("nothing was to be written")
	}
	disk = disk.Kill()
	if got, err := durable.ReadFile(disk, "f"); err != nil || !bytes.Equal(got, message) {
		t.Errorf("it reads %.20q, %v", got, err)
	}
	if err := disk.SyncAll(); !errors.Is(err, syscall.EIO) {
		t.Errorf("the sync says %v", err)
	}
	must(t, disk.SyncAll())
	if got, _ := durable.ReadFile(disk.Restart(mailtest.Nothing, nil), "f"); bytes.Contains(got, []byte("a line")) {
		t.Error("it is on the disk")
	}
	disk.DropPages()
	if got, err := durable.ReadFile(disk, "f"); err != nil || len(got) != len(message) || bytes.Contains(got, []byte("a line")) {
		t.Errorf("it reads %.20q, %v", got, err)
	}
}

func TestKill(t *testing.T) {
	disk := mailtest.NewPowerFS()
	unlock, err := durable.TryLock(disk, "lock")
	must(t, err)
	if _, err := durable.TryLock(disk, "lock"); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("locked twice: %v", err)
	}
	unlock()
	_, err = durable.TryLock(disk, "lock")
	must(t, err)
	must(t, durable.Replace(disk, "f", message, 0o600))
	next := disk.Kill()
	if err := disk.Remove("f"); !errors.Is(err, syscall.EIO) {
		t.Errorf("the dead process still works: %v", err)
	}
	if _, err := durable.TryLock(next, "lock"); err != nil {
		t.Errorf("the lock outlived its process: %v", err)
	}
	if got, err := durable.ReadFile(next, "f"); err != nil || !bytes.Equal(got, message) {
		t.Errorf("it reads %.20q, %v", got, err)
	}
	if _, err := next.Restart(mailtest.Nothing, nil).Lstat("f"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was not synced is certain: %v", err)
	}
}
