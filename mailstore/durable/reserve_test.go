package durable_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/durable"
)

func TestReserve(t *testing.T) {
	dir := t.TempDir()
	root, err := durable.Open(dir)
	must(t, err)
	defer root.Close()
	disk := mailtest.NewFailFS(root)
	r := durable.NewReserve(disk, "reserve", 1<<20)
	if r.Held() {
		t.Error("held before it was made")
	}
	must(t, r.Ensure())
	fi, err := os.Stat(filepath.Join(dir, "reserve"))
	must(t, err)
	if blocks := fi.Sys().(*syscall.Stat_t).Blocks * 512; !r.Held() || fi.Size() != 1<<20 || blocks < 1<<20 {
		t.Errorf("held %v: %d bytes in %d on disk", r.Held(), fi.Size(), blocks)
	}
	must(t, r.Release())
	must(t, r.Release())
	if r.Held() {
		t.Error("held after Release")
	}
	// A partial reserve is useless, and other files need its space.
	disk.Start(func(_ int, op mailtest.Op) error {
		if op.Kind == "sync" {
			return syscall.ENOSPC
		}
		return nil
	})
	if err := r.Ensure(); !errors.Is(err, syscall.ENOSPC) || !durable.NoSpace(err) {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "reserve")); err == nil {
		t.Error("a part of it is left")
	}
	must(t, os.WriteFile(filepath.Join(dir, "reserve"), []byte("half"), 0o600))
	disk.Start(nil)
	must(t, r.Ensure())
	if !r.Held() {
		t.Error("half a reserve is taken for one")
	}
}
