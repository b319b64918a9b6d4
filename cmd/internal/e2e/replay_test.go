//go:build e2e

package e2e

import (
	"os"
	"strings"
	"testing"
)

// TestReplayGoesToNobodyElse checks the recovery from the log of a killed server, which names
// mailboxes. Mailboxes that were removed, renamed or restored in the seconds before the kill must
// stay as they are.
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

	// The same with commands that run while no server does.
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

// TestReplayOnFullDisk checks that a start on a full disk restores all accepted mail, because the
// reserve has the space. Mail can then be fetched and deleted, and is accepted again when there is
// space.
func TestReplayOnFullDisk(t *testing.T) {
	o := newOffice(t)
	o.onSmallDisk(t, smallDisk)
	s := o.serve(t)
	o.deliver(t, letter("lost by the disk"), boss)
	o.deliver(t, letter("kept"), anna)
	s.kill(t)
	for _, file := range o.files(t, boss) {
		if err := os.Remove(file); err != nil { // as if it had never been synced
			t.Fatal(err)
		}
	}
	reserve := o.path("small", "log", "reserve")
	if err := os.Truncate(reserve, 1<<20); err != nil { // too small for the recovery
		t.Fatal(err)
	}
	o.fillDisk(t)
	s = o.serve(t)
	s.errors = append(s.errors, "the log has no reserve", "452 4.3.1 Insufficient system storage")
	defer s.stop(t)
	for address, password := range map[string]string{anna: annaPassword, boss: bossPassword} {
		if messages, _ := o.fetched(t, address, password); len(messages) != 1 {
			t.Errorf("%s has %d messages, want 1", address, len(messages))
		}
	}
	c := o.mustDial(t, "smtp")
	c.ask(t, "250", "EHLO other.example")
	if reply, err := c.transact("x@other.example", fill(1000), anna); err != nil || !strings.HasPrefix(reply, "452 4.3.1 ") {
		t.Errorf("a message without a reserve: %q, %v", reply, err)
	}
	c.Close()
	p, err := o.logIn(anna, annaPassword)
	if err != nil {
		t.Fatal(err)
	}
	p.ask(t, "+OK", "DELE 1")
	p.ask(t, "+OK", "QUIT")
	p.Close()
	o.pillarbox(t, "", "admin", "mailbox", "remove", boss, "--yes")
	o.emptyDisk(t)
	s.wantLog(t, "the log has its reserve again")
	o.deliver(t, letter("after"), anna)
	if messages, _ := o.fetched(t, anna, annaPassword); len(messages) != 1 || !strings.Contains(messages[0], "after") {
		t.Errorf("anna has %d messages, want the one that came last", len(messages))
	}
}
