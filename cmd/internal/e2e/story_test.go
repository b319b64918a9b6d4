//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"pillarbox/mailstore/track"
)

// stories returns the answer of 'admin trace' to a question.
func (o *office) stories(t testing.TB, question ...string) (found track.Stories) {
	t.Helper()
	args := append([]string{"admin", "trace", "--json", "-n", "100000"}, question...)
	if err := json.Unmarshal([]byte(o.pillarbox(t, "", args...)), &found); err != nil {
		t.Fatal(err)
	}
	return found
}

// told returns the kinds of events in an answer.
func told(found track.Stories) map[track.Kind]bool {
	kinds := make(map[track.Kind]bool)
	for _, s := range found.Messages {
		for _, e := range s.Events {
			kinds[e.Kind] = true
		}
	}
	for _, e := range found.Others {
		kinds[e.Kind] = true
	}
	return kinds
}

// ofConnections are the events that belong to no story, and what 'admin trace --follow' says.
var ofConnections = map[track.Kind]string{
	track.Connected:    "connected from 127.0.0.1",
	track.Secured:      "began TLS from 127.0.0.1",
	track.Disconnected: "disconnected from 127.0.0.1",
}

// TestStory brings about every kind of event with the programs of others. 'admin trace' must tell
// each of them. A kind that is declared and never appears fails the test.
func TestStory(t *testing.T) {
	needs(t, "curl", "swaks", "mpop")
	o, _ := sendingOffice(t)
	good, hard, soft := newSink(t, ""), newSink(t, "", "-f", "RCPT"), newSink(t, "", "-r", "RCPT")
	for name, k := range map[string]*sink{"good.example": good, "hard.example": hard, "soft.example": soft} {
		o.route(t, `domains = ["`+name+`"]`, `smart_host = ["[127.0.0.1]:`+k.port+`"]`, "allow_relay = true")
	}
	file := o.write(t, "letter", letter("a story"))
	o.serve(t)

	send := func(program func(*testing.T, *office, submission) *exec.Cmd, s submission, want int) {
		t.Helper()
		if out, code := run(t, program(t, o, s)); (code == 0) != (want == 0) {
			t.Fatalf("sending to %s: exit code %d\n%s", s.to, code, out)
		}
	}
	stranger := submission{service: "smtp", security: "plain", file: file, ca: o.ca}
	user := submission{service: "submission", security: "starttls", login: "PLAIN", user: anna,
		password: annaPassword, file: file, ca: o.ca}
	to := func(s submission, address string) submission {
		return s.with(func(s *submission) { s.to = address })
	}

	// In: by an alias, to a mailbox that does not exist, to one that is full, with a wrong password.
	o.pillarbox(t, "", "admin", "alias", "add", "chef@"+domain, boss)
	send(swaksSend, to(stranger, "chef@"+domain), 0)
	send(swaksSend, to(stranger, "unknown@"+domain), 1)
	send(curlSend, to(user, boss).with(func(s *submission) { s.password = wrongPassword }), 1)
	o.pillarbox(t, "", "admin", "mailbox", "quota", boss, "3KB")
	large := submission{service: "smtp", security: "plain", ca: o.ca, to: anna + "," + boss,
		file: o.write(t, "large", letter("large")+strings.Repeat(strings.Repeat("x", 70)+"\r\n", 40))}
	send(swaksSend, large, 0)
	o.pillarbox(t, "", "admin", "mailbox", "quota", boss, "none")

	// Settled by the mailbox: marked and copied to an archive, answered, thrown away.
	o.pillarbox(t, "", "admin", "mailbox", "rules", "add", boss, "mark", "--subject", "marked", "--text", "seen")
	o.pillarbox(t, "", "admin", "mailbox", "rules", "add", boss, "discard", "--subject", "useless")
	o.pillarbox(t, "", "admin", "mailbox", "archive", boss, anna)
	o.pillarbox(t, "", "admin", "mailbox", "absence", "set", boss, "--text", "I am away.")
	for _, subject := range []string{"marked", "useless"} {
		settled := to(user, boss)
		settled.file = o.write(t, subject, letter(subject))
		send(curlSend, settled, 0)
	}
	o.pillarbox(t, "", "admin", "mailbox", "archive", boss, "--off")
	o.pillarbox(t, "", "admin", "mailbox", "absence", "off", boss)

	// Out: taken, refused with a report, deferred; and a report that cannot be delivered.
	send(curlSend, to(user, "x@good.example"), 0)
	send(curlSend, to(user, "x@hard.example"), 0)
	send(curlSend, to(user, "x@soft.example"), 0)
	good.wantDumps(t, 1)
	s := o.mustDial(t, "smtp")
	s.ask(t, "250", "EHLO other.example")
	if reply, err := s.transact("gone@hard.example", letter("for badmail"), "x@hard.example"); err != nil || reply[0] != '2' {
		t.Fatalf("relaying: %q, %v", reply, err)
	}
	s.ask(t, "221", "QUIT")
	var waiting string
	eventually(t, "one message waits", func() bool {
		all := o.queue(t)
		if len(all) == 1 {
			waiting = all[0].ID
		}
		return len(all) == 1 && len(all[0].To) == 1 && all[0].To[0].Attempts > 0
	})
	o.pillarbox(t, "", "admin", "queue", "hold", waiting)
	o.pillarbox(t, "", "admin", "queue", "release", waiting)
	o.pillarbox(t, "", "admin", "queue", "remove", waiting, "--yes")

	// Read: with a program that deletes what it has fetched.
	visit := fetch{service: "pop3s", security: "implicit", login: "user", user: boss, password: bossPassword,
		out: o.path("fetched"), ca: o.ca}
	mustRun(t, mpopFetch(t, o, visit))

	// The administrator: undelete, retention, export, import.
	o.pillarbox(t, "", "admin", "undelete", "restore", boss, "--all")
	old := o.mailbox(anna) + "/P3_20050110090047026500000003.eml"
	noError(t, os.WriteFile(old, []byte(letter("old")), 0o600))
	o.pillarbox(t, "", "admin", "retention", "set", anna, "--after", "365", "--yes")
	o.pillarbox(t, "", "admin", "retention", "run", anna, "--yes")
	o.pillarbox(t, "", "admin", "mailbox", "export", anna, o.path("anna.mbox"))
	o.pillarbox(t, "", "admin", "mailbox", "import", boss, o.path("anna.mbox"))

	missing := func() (names []string) {
		seen := told(o.stories(t, "--since", "1h"))
		for kind := track.Kind(1); kind.String() != "unknown"; kind++ {
			if ofConnections[kind] == "" && !seen[kind] {
				names = append(names, kind.String())
			}
		}
		return names
	}
	for end := time.Now().Add(patience); len(missing()) > 0; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("'admin trace' does not tell the events %s\n%s", strings.Join(missing(), ", "),
				o.pillarbox(t, "", "admin", "trace", "--since", "1h", "-n", "100"))
		}
	}
	o.wantConnections(t)
}

// wantConnections checks that 'admin trace --follow' tells the events of connections.
func (o *office) wantConnections(t *testing.T) {
	t.Helper()
	cmd := o.command(t, binary, "admin", "trace", "--since", "1h", "--follow")
	out := &serverLog{ready: make(chan struct{})}
	cmd.Stdout = out
	noError(t, cmd.Start())
	defer cmd.Wait()
	defer cmd.Process.Kill()
	for kind, words := range ofConnections {
		eventually(t, "'admin trace --follow' tells "+kind.String(), func() bool {
			return strings.Contains(out.String(), words)
		})
	}
}
