//go:build e2e

package e2e

import (
	"bytes"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestDiskFull checks that a full disk defers mail with a clear reply and loses nothing. Stored
// mail can be fetched and deleted, and mail is accepted again as soon as there is space.
func TestDiskFull(t *testing.T) {
	o := newOffice(t)
	o.onSmallDisk(t, smallDisk)
	s := o.serve(t)
	s.errors = append(s.errors, "452 4.3.1 Insufficient system storage", "no space left on device")
	defer s.stop(t)
	o.deliver(t, letter("before"), anna)

	o.fillDisk(t)
	for _, size := range []int{1000, 300_000} {
		c := o.mustDial(t, "smtp")
		c.ask(t, "250", "EHLO other.example")
		reply, err := c.transact("x@other.example", fill(size), anna)
		if err != nil || !strings.HasPrefix(reply, "452 4.3.1 ") {
			t.Errorf("a message of %d octets for a full disk: %q, %v", size, reply, err)
		}
		c.ask(t, "221", "QUIT")
		c.Close()
	}
	messages, _ := o.fetched(t, anna, annaPassword)
	if len(messages) != 1 {
		t.Fatalf("anna has %d messages, want the one from before", len(messages))
	}
	p, err := o.logIn(anna, annaPassword)
	if err != nil {
		t.Fatal(err)
	}
	p.ask(t, "+OK", "DELE 1")
	p.ask(t, "+OK", "QUIT")
	p.Close()

	o.emptyDisk(t)
	for i, size := range []int{1000, 300_000} {
		o.deliver(t, fill(size), anna)
		if messages, _ := o.fetched(t, anna, annaPassword); len(messages) != i+1 {
			t.Errorf("with room again anna has %d messages, want %d", len(messages), i+1)
		}
	}
}

// smallDisk is large enough for the log, its reserve and some mail.
const smallDisk = "96m"

// onSmallDisk moves the data to a file system of this size.
func (o *office) onSmallDisk(t *testing.T, size string) {
	t.Helper()
	disk, small := o.path("data"), o.path("small")
	if err := os.Mkdir(small, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("cannot mount a small file system: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(small, syscall.MNT_DETACH) })
	mustRun(t, o.command(t, "cp", "-a", disk+"/.", small))
	o.edit(t, func(config string) string { return strings.Replace(config, `data = "data"`, `data = "small"`, 1) })
	if err := os.RemoveAll(disk); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(small, disk); err != nil { // for helpers that read the files
		t.Fatal(err)
	}
}

// fillDisk uses all free space of the disk.
func (o *office) fillDisk(t *testing.T) {
	t.Helper()
	file, err := os.Create(o.path("small", "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = file.Write(bytes.Repeat([]byte("x"), 4096))
	}
	file.Close()
}

func (o *office) emptyDisk(t *testing.T) {
	t.Helper()
	if err := os.Remove(o.path("small", "ballast")); err != nil {
		t.Fatal(err)
	}
}
