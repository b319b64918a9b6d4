//go:build e2e

package e2e

import (
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fill returns a message of about this number of octets.
func fill(octets int) string {
	return "Subject: fill\r\n\r\n" + strings.Repeat(strings.Repeat("x", 62)+"\r\n", octets/64)
}

// wantNotice waits for a notice with this subject, and expects it once.
func (o *office) wantNotice(t *testing.T, address, subject string) {
	t.Helper()
	count := func() (n int) {
		for _, text := range o.stored(t, address) {
			if strings.Contains(text, "\r\nSubject: "+subject) {
				n++
			}
		}
		return n
	}
	for range 100 {
		if count() > 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if n := count(); n != 1 {
		t.Errorf("%s has %d notices %q, want 1, among %d messages", address, n, subject, len(o.stored(t, address)))
	}
}

// TestQuota checks that a full mailbox is refused while other recipients get the message, that
// notices are sent once, and that a deletion frees space at once.
func TestQuota(t *testing.T) {
	o := newOffice(t)
	o.pillarbox(t, clara, "admin", "mailbox", "add", clara, "--no-password")
	o.pillarbox(t, "", "admin", "quota", "set", boss, "--size", "100KB", "--warn", "80%")
	s := o.serve(t)
	defer s.stop(t)

	send := func(want, params, body string, to ...string) {
		t.Helper()
		c := o.mustDial(t, "submission")
		defer c.Close()
		c.startTLSAfterEHLO(t, o)
		c.ask(t, "250", "EHLO pc.example")
		c.ask(t, "235", "AUTH PLAIN %s", base64.StdEncoding.EncodeToString([]byte("\x00"+anna+"\x00"+annaPassword)))
		c.ask(t, "250", "MAIL FROM:<%s>%s", anna, params)
		for _, a := range to {
			c.ask(t, "250", "RCPT TO:<%s>", a)
		}
		c.ask(t, "354", "DATA")
		c.ask(t, want, "%s.", body)
		c.ask(t, "221", "QUIT")
	}
	send("250 2.6.0 ", "", fill(70_000), boss)
	if n := len(o.files(t, boss)); n != 1 {
		t.Errorf("boss has %d messages, want 1", n)
	}
	send("250 2.6.0 ", "", fill(15_000), boss) // above the warning level
	o.wantNotice(t, boss, "Your mailbox is ")
	send("552 5.2.2 The mailbox boss@office.example has room for 1", "", fill(30_000), boss) // 1x.y KB
	o.wantNotice(t, anna, "The mailbox boss@office.example is full")                         // she is the postmaster

	// One of three mailboxes is full.
	send("250 2.6.0 Message accepted, queued as ", "", fill(31_000), boss, anna, clara)
	if n := len(o.files(t, clara)); n != 1 {
		t.Errorf("clara has %d messages, want 1", n)
	}
	o.wantNotice(t, anna, "Not delivered: fill")

	// A client that declares the size gets the refusal before it sends the message.
	c := o.mustDial(t, "smtp")
	c.ask(t, "250", "EHLO pc.example")
	c.ask(t, "250", "MAIL FROM:<x@other.example> SIZE=40000")
	c.ask(t, "552 5.2.2 ", "RCPT TO:<%s>", boss)
	c.ask(t, "250", "RCPT TO:<%s>", clara)
	c.ask(t, "221", "QUIT")
	c.Close()

	// A deletion by POP3 frees space at once.
	p, err := o.logIn(boss, bossPassword)
	if err != nil {
		t.Fatal(err)
	}
	p.ask(t, "+OK", "DELE 1")
	p.ask(t, "+OK", "QUIT")
	p.Close()
	send("250 2.6.0 ", "", fill(30_000), boss)
	if out := o.pillarbox(t, "", "admin", "quota", "recalculate"); !strings.Contains(out, " right") {
		t.Errorf("the ledger was wrong: %s", out)
	}

	o.edit(t, func(config string) string {
		return strings.Replace(config, `# over_quota = "refuse"`, `over_quota = "defer"`, 1)
	})
	o.pillarbox(t, "", "admin", "reload")
	send("452 4.2.2 The mailbox boss@office.example has room for ", "", fill(90_000), boss)
}

// TestQuotaIsNeverExceeded checks the limits of a mailbox and of a domain with many concurrent
// clients.
func TestQuotaIsNeverExceeded(t *testing.T) {
	o := newOffice(t)
	o.pillarbox(t, "", "admin", "quota", "set", boss, "--size", "200KB", "--warn", "none")
	o.pillarbox(t, "", "admin", "quota", "set", domain, "--messages", "60", "--warn-messages", "none")
	s := o.serve(t)
	defer s.stop(t)
	var clients sync.WaitGroup
	var taken [2]atomic.Int64
	for i := range 30 {
		clients.Go(func() {
			c, err := o.dial("smtp")
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			c.say("EHLO pc.example")
			for n := range 8 {
				who := (i + n) % 2
				reply, err := c.transact("x@other.example", fill(5000+100*i), []string{anna, boss}[who])
				if err != nil {
					t.Error(err)
					return
				}
				if strings.HasPrefix(reply, "250 2.6.0 ") {
					taken[who].Add(1)
				} else {
					c.say("RSET")
				}
			}
		})
	}
	clients.Wait()
	octets, notices := 0, 0
	for i, address := range []string{anna, boss} {
		messages := o.stored(t, address)
		for _, m := range messages {
			if strings.Contains(m, "Auto-Submitted: auto-generated") {
				notices++
			} else if taken[i].Add(-1); address == boss {
				octets += len(m)
			}
		}
		if n := taken[i].Load(); n != 0 {
			t.Errorf("%s: %d messages more were acknowledged than are there", address, n)
		}
	}
	all := len(o.files(t, anna)) + len(o.files(t, boss)) - notices
	if octets > 200_000 || octets < 180_000 || all > 60 || all < 55 {
		t.Errorf("boss holds %d octets of 200,000, the domain %d messages of 60: %s", octets, all, fmt.Sprint(notices, " notices"))
	}
}
