//go:build e2e

package e2e

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pillarbox/mailstore/track"
)

const (
	clara         = "clara@" + domain
	claraPassword = "Korrekt.Horse+clara3"
	staff         = "staff@" + domain // a group of all three

	writers   = 50
	downAfter = 200 * time.Millisecond // the shortest life of a server
	downUntil = 600 * time.Millisecond
)

var mailboxes = map[string]string{anna: annaPassword, boss: bossPassword, clara: claraPassword}

// ledger records the results that the clients of a killed server know.
type ledger struct {
	mu    sync.Mutex
	to    map[string][]string // the mailboxes of each message with a 250
	sent  int                 // number of messages tried
	taken map[string]bool     // from anna's mailbox: fetched and deleted, and QUIT was answered
	maybe map[string]bool     // the same, but the result of QUIT is unknown
	ids   []string            // the server's IDs of the messages with a 250 in this round
}

// TestSIGKILLUnderLoad kills the server again and again while it receives and serves mail. Every
// message with a 250 must be once in each recipient's mailbox, unless it was fetched and deleted.
// No message may be incomplete, and no deleted message may come back.
func TestSIGKILLUnderLoad(t *testing.T) {
	o := newOffice(t)
	o.pillarbox(t, claraPassword+"\n", "admin", "mailbox", "add", clara, "--password-stdin")
	o.addStaff(t)
	rounds, _ := strconv.Atoi(cmp.Or(os.Getenv("PILLARBOX_E2E_KILL_ROUNDS"), "5"))
	l := &ledger{to: map[string][]string{}, taken: map[string]bool{}, maybe: map[string]bool{}}
	for round := range rounds {
		begun := time.Now()
		l.ids = nil
		o.killOnce(t, l, round)
		s := o.serve(t)
		o.wantNothingIncoming(t)
		o.wantAccepted(t, l.ids, begun)
		for address, password := range mailboxes {
			l.check(t, o, address, password)
		}
		s.stop(t)
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Logf("%d messages sent, %d got a 250, %d were fetched and deleted for certain, %d perhaps",
		l.sent, len(l.to), len(l.taken), len(l.maybe)-len(l.taken))
	if len(l.to) < rounds || len(l.taken) == 0 {
		t.Error("there was too little traffic to prove anything")
	}
}

// killOnce starts a server, runs the clients and kills the server.
func (o *office) killOnce(t *testing.T, l *ledger, round int) {
	t.Helper()
	s := o.serve(t)
	var clients sync.WaitGroup
	for w := range writers {
		clients.Go(func() { l.write(t, o, fmt.Sprintf("%d.%d", round, w)) })
	}
	clients.Go(func() { l.fetch(t, o) })
	time.Sleep(downAfter + rand.N(downUntil-downAfter))
	s.kill(t)
	clients.Wait()
}

// write sends messages in one session until the server is killed.
func (l *ledger) write(t *testing.T, o *office, name string) {
	s, err := o.dial("smtp")
	if err != nil {
		return
	}
	defer s.Close()
	_, err = s.say("EHLO other.example")
	for n := 0; err == nil; n++ {
		id := fmt.Sprintf("%s.%d.%d", name, n, rand.IntN(2000))
		recipients, boxes := someRecipients()
		l.note(func() { l.sent++ })
		var reply string
		reply, err = s.transact("someone@other.example", crashMessage(id), recipients...)
		switch {
		case err != nil: // the server was killed; the message may be stored
		case strings.HasPrefix(reply, "250 2.6.0 "):
			l.note(func() { l.to[id], l.ids = boxes, append(l.ids, serverID.FindString(reply)) })
		default:
			t.Errorf("message %s was refused: %s", id, reply)
		}
	}
}

func (l *ledger) note(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

// someRecipients returns one recipient, two, or the group, and the mailboxes that they lead to.
func someRecipients() (recipients, boxes []string) {
	all := slices.Sorted(maps.Keys(mailboxes))
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	switch n := rand.IntN(5); n {
	case 0:
		return []string{staff}, all
	case 1:
		return all[:2], all[:2]
	default:
		return all[:1], all[:1]
	}
}

// crashMessage returns a message whose every line contains its id. The end of the id is its number
// of lines.
func crashMessage(id string) string {
	count, _ := strconv.Atoi(id[strings.LastIndexByte(id, '.')+1:])
	return "Subject: " + id + "\r\n\r\n" + strings.Repeat("."+id+"\r\n", count) + "the end of " + id + "\r\n"
}

// fetch reads anna's mailbox again and again, and deletes some messages each time, until the server
// is killed.
func (l *ledger) fetch(t *testing.T, o *office) {
	var err error
	for err == nil {
		var s *session
		if s, err = o.logIn(anna, annaPassword); err != nil {
			break
		}
		var ids []string
		ids, err = takeSome(s)
		l.note(func() { l.mark(l.maybe, ids) })
		if err == nil {
			_, err = s.ok("QUIT")
		}
		if err == nil {
			l.note(func() { l.mark(l.taken, ids) })
		}
		s.Close()
	}
	if errors.As(err, new(*refusal)) {
		t.Errorf("%s was refused: %v", anna, err)
	}
}

func (*ledger) mark(set map[string]bool, ids []string) {
	for _, id := range ids {
		set[id] = true
	}
}

// takeSome fetches up to five messages and marks them for deletion.
func takeSome(s *session) (ids []string, err error) {
	reply, err := s.ok("STAT")
	count := 0
	fmt.Sscanf(reply, "+OK %d", &count)
	for n := 1; n <= min(count, 5) && err == nil; n++ {
		var text string
		if _, err = s.ok("RETR %d", n); err != nil {
			break
		}
		if text, err = s.text(); err != nil {
			break
		}
		if _, err = s.ok("DELE %d", n); err == nil {
			id, _ := subject(text)
			ids = append(ids, id)
		}
	}
	return ids, err
}

var subjectLine = regexp.MustCompile(`(?m)^Subject: (\S+)\r\n`)

func subject(message string) (string, bool) {
	m := subjectLine.FindStringSubmatch(message)
	if m == nil {
		return "", false
	}
	return m[1], true
}

// wantNothingIncoming checks that a new server has removed the unfinished messages of the previous
// one.
func (o *office) wantNothingIncoming(t *testing.T) {
	t.Helper()
	left, err := os.ReadDir(o.path("data", "incoming"))
	if err != nil || len(left) > 0 {
		t.Errorf("incoming holds %d files, %v", len(left), err)
	}
}

// serverID is the ID that the 250 names.
var serverID = regexp.MustCompile(`P3_[0-9]+`)

// wantAccepted checks that 'admin trace' tells the acceptance of every message with a 250. The
// server may have been killed before it wrote the events of the last second: the new one adds those.
func (o *office) wantAccepted(t *testing.T, ids []string, begun time.Time) {
	t.Helper()
	var missing []string
	more := false
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		accepted := make(map[string]bool)
		found := o.stories(t, "--since", begun.Add(-time.Second).Format(time.RFC3339))
		more = found.More
		for _, s := range found.Messages {
			for _, e := range s.Events {
				if e.Kind == track.Accepted && e.ID == s.ID {
					accepted[s.ID] = true
				}
			}
		}
		missing = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return accepted[id] })
		if len(missing) == 0 {
			return
		}
	}
	t.Errorf("%d of %d messages with a 250 have no event of their acceptance (more: %v): %.200v",
		len(missing), len(ids), more, missing)
}

// check compares a mailbox, its files and its messages by POP3 with the results that the clients
// know.
func (l *ledger) check(t *testing.T, o *office, address, password string) {
	t.Helper()
	messages, sizes := o.fetched(t, address, password)
	if stored := o.stored(t, address); !slices.Equal(stored, messages) {
		t.Errorf("%s: %d files, but POP3 gives %d messages, or others", address, len(stored), len(messages))
		return
	}
	for i, file := range o.files(t, address) {
		if size := sizeInName(file); size != len(messages[i]) || size != sizes[i] {
			t.Errorf("%s has %d octets, LIST says %d", file, len(messages[i]), sizes[i])
		}
	}
	held := make(map[string]int)
	for _, message := range messages {
		id, ok := subject(message)
		if !ok || !strings.HasPrefix(message, "Return-Path: ") || !strings.HasSuffix(message, "\r\n"+crashMessage(id)) {
			t.Errorf("%s: a message is not whole: %.300q", address, message)
		}
		held[id]++
	}
	l.compare(t, address, held)
}

var sizeDigits = regexp.MustCompile(`_(\d+)d?\.eml$`)

// sizeInName returns the size in the name of a message's file.
func sizeInName(file string) int {
	m := sizeDigits.FindStringSubmatch(filepath.Base(file))
	if m == nil {
		return -1
	}
	size, _ := strconv.Atoi(m[1])
	return size
}

// compare checks how often a mailbox holds each message.
func (l *ledger) compare(t *testing.T, address string, held map[string]int) {
	t.Helper()
	for id, n := range held {
		if n > 1 {
			t.Errorf("%s: message %s is there %d times", address, id, n)
		}
		if address == anna && l.taken[id] {
			t.Errorf("%s: message %s was deleted and is there", address, id)
		}
		if to, ok := l.to[id]; ok && !slices.Contains(to, address) {
			t.Errorf("%s: message %s is there, but was for %v", address, id, to)
		}
	}
	for id, to := range l.to {
		gone := address == anna && l.maybe[id]
		if slices.Contains(to, address) && held[id] == 0 && !gone {
			t.Errorf("%s: message %s got its 250 and is not there", address, id)
		}
	}
}
