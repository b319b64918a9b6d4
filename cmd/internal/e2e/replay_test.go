//go:build e2e

package e2e

import (
	"os"
	"strings"
	"testing"
)

// TestReplayGoesToNobodyElse: the log of a killed server knows mailboxes by name. What was taken away, renamed or put
// back within the seconds before stays so.
func TestReplayGoesToNobodyElse(t *testing.T) {
	o := newOffice(t)
	o.pillarbox(t, bossPassword+"\n", "admin", "mailbox", "add", clara, "--password-stdin")
	s := o.serve(t)
	o.deliver(t, letter("for the old clara"), clara)
	o.pillarbox(t, "", "admin", "mailbox", "remove", clara, "--yes")
	o.pillarbox(t, bossPassword+"\n", "admin", "mailbox", "add", clara, "--password-stdin")

	o.deliver(t, letter("for anna"), anna)
	o.pillarbox(t, "", "admin", "mailbox", "rename", anna, "second")
	o.pillarbox(t, annaPassword+"\n", "admin", "mailbox", "add", anna, "--password-stdin")

	o.deliver(t, letter("for boss"), boss)
	copies := o.path("copies")
	o.pillarbox(t, "", "admin", "mailbox", "export", boss, copies)
	p, err := o.logIn(boss, bossPassword)
	if err != nil {
		t.Fatal(err)
	}
	p.ask(t, "+OK", "DELE 1")
	p.ask(t, "+OK", "QUIT")
	p.Close()
	o.pillarbox(t, "", "admin", "mailbox", "import", boss, copies)
	s.kill(t)

	// A server that is down leaves the same to those who work without it.
	s = o.serve(t)
	o.deliver(t, letter("late"), clara)
	s.kill(t)
	o.pillarbox(t, "", "admin", "mailbox", "remove", clara, "--yes")
	o.pillarbox(t, bossPassword+"\n", "admin", "mailbox", "add", clara, "--password-stdin")

	s = o.serve(t)
	defer s.stop(t)
	for address, want := range map[string]int{clara: 0, anna: 0, "second@" + domain: 1, boss: 1} {
		if got := len(o.files(t, address)); got != want {
			t.Errorf("%s has %d messages, want %d", address, got, want)
		}
	}
}

// TestReplayOnFullDisk: what cannot be put back at start does not keep the server down; it is put back when there is
// room again.
func TestReplayOnFullDisk(t *testing.T) {
	o := newOffice(t)
	o.onSmallDisk(t, "48m")
	s := o.serve(t)
	o.deliver(t, letter("lost by the disk"), boss)
	o.deliver(t, letter("kept"), anna)
	s.kill(t)
	for _, file := range o.files(t, boss) {
		if err := os.Remove(file); err != nil { // as if it had never been synced
			t.Fatal(err)
		}
	}
	o.fillDisk(t)
	s = o.serve(t)
	s.errors = append(s.errors, "cannot be put back now")
	defer s.stop(t)
	if messages, _ := o.fetched(t, anna, annaPassword); len(messages) != 1 {
		t.Errorf("anna has %d messages, want 1", len(messages))
	}
	o.emptyDisk(t)
	s.wantLog(t, "what the log held is put back")
	messages, _ := o.fetched(t, boss, bossPassword)
	if len(messages) != 1 || !strings.Contains(messages[0], "lost by the disk") {
		t.Errorf("boss has %q", messages)
	}
}
