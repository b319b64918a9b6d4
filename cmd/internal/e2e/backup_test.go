//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// memory is a POP3 client that leaves mail on the server and remembers the unique-ids.
type memory struct {
	subjects map[string]string // by unique-id, of what it has downloaded
}

// download fetches what the client does not know, and returns the subjects.
func (m *memory) download(t *testing.T, o *office, user, password string) (fresh []string) {
	t.Helper()
	s, err := o.logIn(user, password)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.ask(t, "+OK", "UIDL")
	list, err := s.text()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(list) {
		var n int
		var uid string
		if _, err := fmt.Sscanf(line, "%d %s", &n, &uid); err != nil {
			t.Fatalf("UIDL: %q: %v", line, err)
		}
		if _, known := m.subjects[uid]; known {
			continue
		}
		s.ask(t, "+OK", "RETR %d", n)
		text, err := s.text()
		if err != nil {
			t.Fatal(err)
		}
		id, _ := subject(text)
		m.subjects[uid] = id
		fresh = append(fresh, id)
	}
	s.ask(t, "+OK", "QUIT")
	return fresh
}

// TestBackupUnderLoad makes two backups while clients send, loses the disk, and restores the office.
// All that was acknowledged before the last backup began is there, once. A client that remembers
// unique-ids downloads no message twice. Then a mailbox is restored into the running server.
func TestBackupUnderLoad(t *testing.T) {
	o := newOffice(t)
	o.pillarbox(t, claraPassword+"\n", "admin", "mailbox", "add", clara, "--password-stdin")
	o.addStaff(t)
	l := &ledger{to: map[string][]string{}, taken: map[string]bool{}, maybe: map[string]bool{}}
	client := &memory{subjects: map[string]string{}}
	s := o.serve(t)
	var clients sync.WaitGroup
	for w := range 8 {
		clients.Go(func() { l.write(t, o, fmt.Sprintf("b.%d", w)) })
	}
	traffic := func() {
		for before, end := l.count(), time.Now().Add(patience); l.count() < before+50; {
			if time.Now().After(end) {
				t.Fatal("there is too little traffic")
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	traffic()
	o.pillarbox(t, "", "admin", "backup", "create", o.path("backups"))
	traffic()
	client.download(t, o, anna, annaPassword)
	var acknowledged map[string][]string
	l.note(func() { acknowledged = maps.Clone(l.to) })
	o.pillarbox(t, "", "admin", "backup", "create", o.path("backups"))
	traffic()
	s.kill(t)
	clients.Wait()

	// The disk is lost.
	if err := os.RemoveAll(o.path("data")); err != nil {
		t.Fatal(err)
	}
	o.pillarbox(t, "", "admin", "restore", o.path("backups"), "--dry-run")
	o.pillarbox(t, "", "admin", "restore", o.path("backups"))
	s = o.serve(t)
	known := map[string]bool{}
	for _, id := range client.subjects {
		known[id] = true
	}
	fresh := client.download(t, o, anna, annaPassword)
	for _, id := range fresh {
		if known[id] {
			t.Errorf("the client downloaded %s twice", id)
		}
		known[id] = true
	}
	for address, password := range mailboxes {
		held := map[string]int{}
		messages, _ := o.fetched(t, address, password)
		for _, m := range messages {
			id, ok := subject(m)
			if !ok || !strings.HasSuffix(m, "\r\n"+crashMessage(id)) {
				t.Errorf("%s: a message is not whole: %.300q", address, m)
			}
			held[id]++
		}
		before := &ledger{to: acknowledged}
		after := &ledger{to: l.to}
		before.compare(t, address, held)
		for id := range held {
			if to, ok := after.to[id]; ok && held[id] > 1 {
				t.Errorf("%s: message %s for %v is there %d times", address, id, to, held[id])
			}
		}
	}
	t.Logf("%d messages were acknowledged before the last backup, %d in all", len(acknowledged), len(l.to))

	// A mailbox loses its mail while the server runs, and gets it back.
	was, _ := o.fetched(t, anna, annaPassword)
	o.empty(t, anna)
	o.pillarbox(t, "", "admin", "restore", o.path("backups"), "--mailbox", anna)
	if now, _ := o.fetched(t, anna, annaPassword); len(now) != len(was) {
		t.Errorf("%d messages of %d came back", len(now), len(was))
	}
	if fresh := client.download(t, o, anna, annaPassword); len(fresh) > 0 {
		t.Errorf("after the restore of the mailbox the client downloaded %d messages again", len(fresh))
	}
	s.stop(t)
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.to)
}
