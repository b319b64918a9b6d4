//go:build e2e

package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"pillarbox/etc/lab/mailtest"
)

// patience is the longest wait for an event.
const patience = 45 * time.Second

// eventually waits until so returns true.
func eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if so() {
			return
		}
	}
	t.Fatalf("not after %v: %s", patience, what)
}

// sendingOffice returns an office that uses this empty name server. By default it retries after an
// hour.
func sendingOffice(t *testing.T) (*office, *mailtest.DNS) {
	t.Helper()
	o, dns := newOffice(t), mailtest.NewDNS(t)
	o.set(t, "dns", "servers", `["`+dns.Addr()+`"]`)
	o.set(t, "outbound", "retries", `["1h"]`)
	o.set(t, "outbound", "mta_sts", "false")
	return o, dns
}

// set replaces the value of a key in the configuration; value is in TOML.
func (o *office) set(t *testing.T, section, key, value string) {
	t.Helper()
	o.edit(t, func(config string) string {
		before, after, ok := strings.Cut(config, "["+section+"]\n")
		if !ok {
			t.Fatalf("the configuration has no [%s]", section)
		}
		body, rest := after, ""
		if next := regexp.MustCompile(`(?m)^\[`).FindStringIndex(after); next != nil {
			body, rest = after[:next[0]], after[next[0]:]
		}
		body = regexp.MustCompile(`(?m)^`+key+` = .*\n`).ReplaceAllString(body, "")
		return before + "[" + section + "]\n" + key + " = " + value + "\n" + body + rest
	})
}

// route adds a [[route]].
func (o *office) route(t *testing.T, lines ...string) {
	t.Helper()
	o.edit(t, func(config string) string { return config + "\n[[route]]\n" + strings.Join(lines, "\n") + "\n" })
}

// senderSession returns a connection on which anna has logged in for submission.
func (o *office) senderSession() (*session, error) {
	s, err := o.dial("submission")
	if err != nil {
		return nil, err
	}
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + anna + "\x00" + annaPassword))
	for _, command := range []string{"EHLO pc." + domain, "AUTH PLAIN " + plain} {
		if reply, err := s.say("%s", command); err != nil || reply[0] != '2' {
			s.Close()
			return nil, fmt.Errorf("%.4s… was answered %q, %v", command, reply, err)
		}
	}
	return s, nil
}

// submit sends a message of anna's like a mail program, and returns the ID that the server assigns.
// Parameters may follow a recipient: "x@y.example> NOTIFY=NEVER" without the second ">".
func (o *office) submit(t testing.TB, message string, to ...string) string {
	t.Helper()
	return o.submitWith(t, "", message, to...)
}

// submitWith is submit with parameters of MAIL.
func (o *office) submitWith(t testing.TB, parameters, message string, to ...string) string {
	t.Helper()
	s, err := o.senderSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.ask(t, "250", "MAIL FROM:<%s> BODY=8BITMIME %s", anna, parameters)
	for _, recipient := range to {
		address, parameters, _ := strings.Cut(recipient, "> ")
		s.ask(t, "250", "RCPT TO:<%s> %s", address, parameters)
	}
	s.ask(t, "354", "DATA")
	reply := s.ask(t, "250 2.6.0 ", "%s", stuff(message))
	s.ask(t, "221", "QUIT")
	return reply[strings.LastIndexByte(reply, ' ')+1:]
}

// queued is a message in the output of "admin queue list --json".
type queued struct {
	ID    string
	State struct{ Wait string }
	To    []struct {
		Address  string
		Done     string
		Attempts int
		Last     *struct {
			Reply struct {
				Code     int
				Enhanced [3]int
				Text     string
			}
			MTA string
		}
	}
}

// queue returns the server's queue.
func (o *office) queue(t testing.TB) []queued {
	t.Helper()
	cmd := o.command(t, binary, "admin", "queue", "list", "--limit", "0", "--json")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("admin queue list: %v\n%s", err, out)
	}
	var listing struct{ Messages []queued }
	if err := json.Unmarshal(out, &listing); err != nil {
		t.Fatalf("admin queue list --json: %v\n%s", err, out)
	}
	return listing.Messages
}

// wantDeferred waits until an attempt for a message has failed, and returns the status of its only
// recipient.
func (o *office) wantDeferred(t testing.TB, id string) (words, server string) {
	t.Helper()
	eventually(t, id+" is deferred", func() bool {
		for _, m := range o.queue(t) {
			if r := m.To[0]; m.ID == id && r.Attempts > 0 && r.Done == "" && r.Last != nil {
				e := r.Last.Reply.Enhanced
				words = fmt.Sprintf("%d %d.%d.%d %s", r.Last.Reply.Code, e[0], e[1], e[2], r.Last.Reply.Text)
				server = r.Last.MTA
				return true
			}
		}
		return false
	})
	return words, server
}

// wantQueueEmpty waits until the queue is empty, and expects that no file is left.
func (o *office) wantQueueEmpty(t testing.TB) {
	t.Helper()
	eventually(t, "the queue is empty", func() bool { return len(o.queue(t))+len(o.queueFiles(t)) == 0 })
}

// queueFiles returns the files of queued messages. A new message may have no files yet, only an
// entry in the log.
func (o *office) queueFiles(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(o.path("data", "queue", "*.e??"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// wantMail waits for this number of messages in a mailbox of the office.
func (o *office) wantMail(t testing.TB, address string, count int) []string {
	t.Helper()
	eventually(t, fmt.Sprintf("%s has %d messages", address, count), func() bool { return len(o.files(t, address)) >= count })
	messages := o.stored(t, address)
	if len(messages) != count {
		t.Fatalf("%s has %d messages, want %d: %q", address, len(messages), count, messages)
	}
	return messages
}

// freePort returns an unused port of loopback.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// listening waits until a process listens on a port of loopback.
func listening(t testing.TB, port string) {
	t.Helper()
	eventually(t, "somebody listens on port "+port, func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}
