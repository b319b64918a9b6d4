package server

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	gosmtp "net/smtp"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/smtp"
	"pillarbox/smtp/delivery"
	"pillarbox/smtp/policy"
)

// send delivers one message over a plain session.
func (o *office) send(t testing.TB, from, to, message string) error {
	t.Helper()
	c, err := net.Dial("tcp", o.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return transact(c, from, to, message)
}

// transact sends a whole transaction at once and checks the last reply.
func transact(c net.Conn, from, to, message string) error {
	c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(c, "EHLO pc.office.example\r\nMAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nDATA\r\n%s.\r\nQUIT\r\n", from, to, message)
	text, err := io.ReadAll(c)
	if !bytes.Contains(text, []byte("\r\n250 2.6.0 ")) {
		return fmt.Errorf("not accepted: %w\n%s", err, text)
	}
	return nil
}

var volatile = regexp.MustCompile(`P3_\d{26}`)

// The stored message has the trace header on top, no forged Return-Path, and its dots as the
// client meant them. The rest is unchanged.
func TestStoredMessage(t *testing.T) {
	o := newOffice(t, smtp.MTA, nil)
	o.mailbox(t, "anna", "")
	const trace = "Return-Path: <a@b.example>\r\nReceived: from pc.office.example ([127.0.0.1])\r\n" +
		"\tby mail.office.example with ESMTP id ID\r\n\tfor <anna@office.example>; Sat, 21 Nov 2026 09:14:00 +0000\r\n"
	tests := []struct{ name, sent, stored string }{
		{"plain", "Subject: x\r\n\r\nhi\r\n", "Subject: x\r\n\r\nhi\r\n"},
		{"dots", "Subject: x\r\n\r\n..\r\n...a\r\n.b\r\n", "Subject: x\r\n\r\n.\r\n..a\r\nb\r\n"},
		{"forged return path", "Return-Path: <x@y.example>\r\n folded\r\nReturn-path : <z@y.example>\r\nSubject: x\r\n\r\n", "Subject: x\r\n\r\n"},
		{"no header", "just text\r\nmore: text\r\n", "\r\njust text\r\nmore: text\r\n"},
		{"header runs into text", "Subject: x\r\nand text\r\n", "Subject: x\r\n\r\nand text\r\n"},
		{"header alone", "Subject: x\r\n", "Subject: x\r\n\r\n"},
		{"nothing", "", "\r\n"},
		{"8 bit", "Subject: \xff\r\n\r\n\xfe\x00\x80\r\n", "Subject: \xff\r\n\r\n\xfe\x00\x80\r\n"},
		{"long line", "\r\n" + strings.Repeat("x", 4900) + "\r\n", "\r\n" + strings.Repeat("x", 4900) + "\r\n"},
		{"line ends at the buffer", "\r\n" + strings.Repeat("x", 4094) + "\r\n" + strings.Repeat("y", 4095) + "\r\nz\r\n",
			"\r\n" + strings.Repeat("x", 4094) + "\r\n" + strings.Repeat("y", 4095) + "\r\nz\r\n"},
	}
	for i, tt := range tests {
		if err := o.send(t, "a@b.example", "anna@office.example", tt.sent); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		all := o.messages(t, "anna")
		if len(all) != i+1 {
			t.Fatalf("%s: %d messages, want %d", tt.name, len(all), i+1)
		}
		if got := volatile.ReplaceAllString(all[i], "ID"); got != trace+tt.stored {
			t.Errorf("%s: stored\n%q, want\n%q", tt.name, got, trace+tt.stored)
		}
	}
}

func TestNormalisedMessage(t *testing.T) {
	cfg := newOffice(t, smtp.MTA, func(c *Config) { c.Rules.LineEnds.Bare = policy.NormaliseBare })
	cfg.mailbox(t, "anna", "")
	if err := cfg.send(t, "a@b.example", "anna@office.example", "Subject: x\n\nhi\n.\n.\r\nCR\rLF\n\r\n"); err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(cfg.messages(t, "anna")[0], "+0000\r\n")
	if want := "Subject: x\r\n\r\nhi\r\n.\r\n.\r\nCR\r\nLF\r\n\r\n"; body != want {
		t.Errorf("stored %q, want %q", body, want)
	}
}

// A submitted message gets the Date and Message-ID that it lacks (RFC 6409 §8), and its Received
// header shows TLS and the login. The client is the one of the standard library.
func TestSubmittedMessage(t *testing.T) {
	o := newOffice(t, smtp.Submission, nil)
	o.mailbox(t, "anna", "secret")
	c, err := gosmtp.Dial(o.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(c.Hello("pc"))
	must(c.StartTLS(o.tls))
	must(c.Auth(gosmtp.PlainAuth("", "anna@office.example", "secret", "127.0.0.1")))
	for _, message := range []string{"Subject: bare\r\n\r\nhi\r\n", "Date: yesterday\r\nMessage-ID: <1@x>\r\n\r\nhi\r\n"} {
		must(c.Mail("anna@office.example"))
		must(c.Rcpt("anna@office.example"))
		w, err := c.Data()
		must(err)
		io.WriteString(w, message)
		must(w.Close())
	}
	must(c.Quit())
	all := o.messages(t, "anna")
	for _, want := range []string{
		"with UTF8SMTPSA id P3_", "(TLS 1.3 TLS_", "(authenticated as anna@office.example)",
		"Date: Sat, 21 Nov 2026 09:14:00 +0000\r\nMessage-ID: <P3_", "@mail.office.example>\r\nSubject: bare\r\n",
	} {
		if !strings.Contains(all[0], want) {
			t.Errorf("the first message lacks %q:\n%s", want, all[0])
		}
	}
	if strings.Count(all[1], "Date:") != 1 || strings.Count(all[1], "Message-ID:") != 1 {
		t.Errorf("the second message got what it had already:\n%s", all[1])
	}
}

// A client that disconnects in the middle of a message leaves nothing behind.
func TestDroppedMessage(t *testing.T) {
	o := newOffice(t, smtp.MTA, nil)
	o.mailbox(t, "anna", "")
	c, err := net.Dial("tcp", o.addr)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "EHLO pc\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<anna@office.example>\r\nDATA\r\nSubject: x\r\n\r\nhalf a\r\n.")
	c.(*net.TCPConn).CloseWrite()
	rest, _ := io.ReadAll(c)
	c.Close()
	if bytes.Contains(rest, []byte("250 2.6.0")) || len(o.messages(t, "anna")) != 0 {
		t.Errorf("half a message was taken:\n%s", rest)
	}
}

// At whatever step the disk fails, the client gets a 4xx and no message is stored, or a 250 and the
// message is. The next message succeeds.
func TestDiskFails(t *testing.T) {
	for _, failure := range []struct {
		err  error
		code string
	}{{syscall.ENOSPC, "452 4.3.1 "}, {syscall.EIO, "45"}} {
		o := newOffice(t, smtp.MTA, nil)
		o.mailbox(t, "anna", "")
		stored, failed := 0, 0
		for n := 1; ; n++ {
			o.disk.Start(mailtest.Nth(n, failure.err))
			err := o.send(t, "a@b.example", "anna@office.example", "Subject: x\r\n\r\nhi\r\n")
			steps := len(o.disk.Ops())
			o.disk.Start(nil)
			if err == nil {
				stored++
			} else if failed++; !strings.Contains(err.Error(), "\r\n"+failure.code) && !strings.Contains(err.Error(), "\r\n451 4.3.0 ") {
				t.Errorf("step %d, %v: %v", n, failure.err, err)
			}
			if got := len(o.messages(t, "anna")); got != stored {
				t.Fatalf("step %d, %v: %d messages, %d accepted (%v)", n, failure.err, got, stored, err)
			}
			if n > steps {
				break
			}
		}
		if failed < 3 || stored < 1 {
			t.Errorf("%v: %d failures and %d successes are not what the steps of a delivery give", failure.err, failed, stored)
		}
	}
}

// A server that is shut down before it serves a listener does not serve it.
func TestShutdownBeforeServe(t *testing.T) {
	o := newOffice(t, smtp.MTA, nil)
	o.server.Shutdown(t.Context())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := o.server.Serve(l, smtp.MTA); err != nil {
		t.Error(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is open: %v", err)
	}
}

// An account that an administrator releases begins a new hour.
func TestReleased(t *testing.T) {
	o := newOffice(t, smtp.MTA, func(c *Config) {
		c.Rules.Outside.PerHour.Value = 1
		c.Rules.LogIns.PlaintextNetworks = hosts(t, "127.0.0.1")
	})
	o.mailbox(t, "anna", "secret")
	login := "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00anna\x00secret")) + "\r\n"
	attempt := func(to string) string {
		return o.converse(t, "EHLO pc\r\n"+login+"MAIL FROM:<anna@office.example>\r\nRCPT TO:<"+to+"@remote.example>\r\nQUIT\r\n")
	}
	held := func() bool {
		box, err := o.dir.Mailbox(address(t, "anna"))
		if err != nil {
			t.Fatal(err)
		}
		return box.Account.Held
	}
	for i, step := range []struct {
		code    string
		held    bool
		release bool
	}{{"250 2.1.5", false, false}, {"450 4.7.1", true, false}, {"450 4.7.1", true, false}, {"250 2.1.5", false, true}, {"450 4.7.1", true, false}} {
		if step.release {
			if err := o.dir.UpdateAccount(address(t, "anna"), func(a *directory.Account) error { a.Held = false; return nil }); err != nil {
				t.Fatal(err)
			}
		}
		if got := attempt("x"); !strings.Contains(got, "\r\n"+step.code) || held() != step.held {
			t.Errorf("step %d: held %v, want %v and %s:\n%s", i, held(), step.held, step.code, got)
		}
	}
}

// TestHeldNoticesAreLimited: notices about an account that is held, released and held again have the
// same limit as other notices to the postmaster.
func TestHeldNoticesAreLimited(t *testing.T) {
	o := newOffice(t, smtp.MTA, func(c *Config) {
		c.Rules.Outside.PerHour.Value = 1
		c.Rules.LogIns.PlaintextNetworks = hosts(t, "127.0.0.1")
	})
	o.desk.SetConfig(delivery.Config{Hostname: "mail.office.example", PerAddress: 2})
	o.mailbox(t, "anna", "secret")
	o.mailbox(t, "postmaster", "")
	login := "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00anna\x00secret")) + "\r\n"
	for range 4 {
		o.converse(t, "EHLO pc\r\n"+login+"MAIL FROM:<anna@office.example>\r\nRCPT TO:<x@remote.example>\r\nRCPT TO:<y@remote.example>\r\nQUIT\r\n")
		if err := o.dir.UpdateAccount(address(t, "anna"), func(a *directory.Account) error { a.Held = false; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if got := o.messages(t, "postmaster"); len(got) != 2 || o.desk.Suppressed() != 2 {
		t.Errorf("%d notices, %d suppressed", len(got), o.desk.Suppressed())
	}
}

// If names are looked up, Received has the result, in the words of the IIS service: the name in EHLO
// is compared with the name in DNS.
func TestReverseDNS(t *testing.T) {
	tests := []struct {
		helo, name string
		state      policy.NameState
		want       string
	}{
		{"mx.else.example", "mx.else.example", policy.NameVerified, "(mx.else.example [127.0.0.1])"},
		{"MX.Else.Example", "mx.else.example", policy.NameVerified, "(mx.else.example [127.0.0.1])"},
		{"[127.0.0.1]", "mx.else.example", policy.NameVerified, "(mx.else.example [127.0.0.1])"},
		{"totally.other.name", "mx.else.example", policy.NameVerified, "(unverified [127.0.0.1])"},
		{"else.example", "mx.else.example", policy.NameVerified, "(unverified [127.0.0.1])"},
		{"[127.0.0.2]", "mx.else.example", policy.NameVerified, "(unverified [127.0.0.1])"},
		{"mx.else.example", "mx.else.example", policy.NameUnverified, "(unverified [127.0.0.1])"},
		{"mx.else.example", "", policy.NameNone, "(RDNS failed [127.0.0.1])"},
		{"mx.else.example", "", policy.NameFailed, "(RDNS failed [127.0.0.1])"},
	}
	for _, tt := range tests {
		o := newOffice(t, smtp.MTA, func(c *Config) { c.Rules.Connections.ReverseDNS.Value = true })
		o.mailbox(t, "anna", "")
		o.dns.set(tt.name, tt.state, "")
		o.converse(t, "EHLO "+tt.helo+"\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<anna@office.example>\r\n"+
			"DATA\r\n\r\nHello\r\n.\r\nQUIT\r\n")
		want := "Received: from " + tt.helo + " " + tt.want + "\r\n"
		if got := o.messages(t, "anna"); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%s, %s: %q lacks %q", tt.helo, tt.state, got, want)
		}
	}
}

// Received names the recipients only if there are few enough: by default one, so that no recipient
// sees a blind copy.
func TestMaxForRecipients(t *testing.T) {
	const id = " with SMTP id ID"
	const one, two = "\r\n\tfor <anna@office.example>", ",\r\n\t<boss@office.example>"
	for _, test := range []struct {
		limit, recipients int
		want              string
	}{{0, 1, id}, {1, 1, id + one}, {1, 2, id}, {2, 2, id + one + two}, {2, 3, id}} {
		o := newOffice(t, smtp.MTA, func(c *Config) { c.MaxFor = test.limit })
		rcpt := ""
		for _, name := range []string{"anna", "boss", "carl"} {
			o.mailbox(t, name, "")
		}
		for _, name := range []string{"anna", "boss", "carl"}[:test.recipients] {
			rcpt += "RCPT TO:<" + name + "@office.example>\r\n"
		}
		o.converse(t, "HELO pc\r\nMAIL FROM:<a@b.example>\r\n"+rcpt+"DATA\r\n\r\nHello\r\n.\r\nQUIT\r\n")
		got := regexp.MustCompile(" id [^\r;]+").ReplaceAllString(o.messages(t, "anna")[0], " id ID")
		if !strings.Contains(got, test.want+"; ") {
			t.Errorf("limit %d, %d recipients: %q lacks %q", test.limit, test.recipients, got, test.want)
		}
	}
}

// A sender domain that does not exist is refused with a permanent error. If DNS does not answer, the
// error is temporary.
func TestSenderDomain(t *testing.T) {
	o := newOffice(t, smtp.MTA, func(c *Config) { c.Rules.Senders.VerifyDomain.Value = true })
	o.mailbox(t, "anna", "")
	for state, want := range map[policy.DomainState]string{
		policy.DomainExists: "250 2.1.0", policy.DomainMissing: "554 5.1.8", policy.DomainFailed: "451 4.1.8",
	} {
		o.dns.set("", "", state)
		if got := o.converse(t, "EHLO pc\r\nMAIL FROM:<a@b.example>\r\nQUIT\r\n"); !strings.Contains(got, "\r\n"+want) {
			t.Errorf("%s: want %s:\n%s", state, want, got)
		}
	}
}

// An account may have only so many sessions at a time.
func TestSessionsOfAnAccount(t *testing.T) {
	o := newOffice(t, smtp.MTA, func(c *Config) { c.Rules.LogIns.PlaintextNetworks = hosts(t, "127.0.0.1") })
	o.server.Accounts.SetLimit(1)
	o.mailbox(t, "anna", "secret")
	login := "EHLO pc\r\nAUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00anna\x00secret")) + "\r\n"
	first, err := net.Dial("tcp", o.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	io.WriteString(first, login)
	for r := bufio.NewReader(first); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(line, "235 ") {
			break
		}
	}
	if got := o.converse(t, login+"QUIT\r\n"); !strings.Contains(got, "\r\n454 4.7.0 Too many sessions") {
		t.Errorf("the second session:\n%s", got)
	}
	first.Close()
	for deadline := time.Now().Add(5 * time.Second); ; {
		got := o.converse(t, login+"QUIT\r\n")
		if strings.Contains(got, "\r\n235 ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after the first ended:\n%s", got)
		}
	}
}

// Domino's enforcement for external hosts: a host with a verified name in a hosted domain may
// relay. Its name is looked up only when it decides.
func TestEnforcementAsksWhereItDecides(t *testing.T) {
	for state, want := range map[policy.NameState]string{
		policy.NameVerified: "250 2.1.5", policy.NameUnverified: "550 5.7.1", policy.NameFailed: "550 5.7.1",
	} {
		o := newOffice(t, smtp.MTA, func(c *Config) { c.Rules.Relay.Enforcement.Value = policy.EnforceExternal })
		o.mailbox(t, "anna", "")
		o.dns.set("pc5.office.example", state, "")
		say := func(to string) string {
			return o.converse(t, "EHLO pc\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<"+to+">\r\nQUIT\r\n")
		}
		if got := say("anna@office.example"); !strings.Contains(got, "\r\n250 2.1.5") || o.dns.asked() > 0 {
			t.Errorf("local mail asked DNS %d times:\n%s", o.dns.asked(), got)
		}
		if got := say("x@remote.example"); !strings.Contains(got, "\r\n"+want) || o.dns.asked() != 1 {
			t.Errorf("%s: DNS was asked %d times, want %s:\n%s", state, o.dns.asked(), want, got)
		}
	}
}

// TestWishesOfStrangers: DSN parameters of a stranger are ignored, and not passed to the next server,
// except NOTIFY=NEVER.
func TestWishesOfStrangers(t *testing.T) {
	const envelope = "MAIL FROM:<victim@b.example> RET=FULL ENVID=x1\r\nRCPT TO:<away> NOTIFY=%s ORCPT=rfc822;x@y.example\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\nQUIT\r\n"
	for _, test := range []struct {
		all    bool
		notify string
		want   string
	}{
		{false, "SUCCESS,FAILURE", " [] away@office.example"},
		{false, "NEVER", " [NEVER] away@office.example"},
		{true, "SUCCESS,FAILURE", "x1 [SUCCESS FAILURE] x@y.example"},
	} {
		o := newOffice(t, smtp.MTA, func(cfg *Config) { cfg.DSNForAll = test.all })
		if err := o.dir.AddAlias(address(t, "away"), addr.Address{Local: "a", Domain: "far.example"}); err != nil {
			t.Fatal(err)
		}
		o.converse(t, "EHLO pc\r\n"+fmt.Sprintf(envelope, test.notify))
		items := o.outbox.all()
		if len(items) != 1 {
			t.Fatal(items)
		}
		it := items[0]
		if got := fmt.Sprint(it.EnvID, " ", it.To[0].Notify, " ", it.To[0].ORcpt); got != test.want || it.Source.Standing != smtp.StandingNone {
			t.Errorf("%+v: %q, standing %q", test, got, it.Source.Standing)
		}
	}
}

// TestResponsible checks which sender a From field names. One that could show another address is bad.
func TestResponsible(t *testing.T) {
	for value, want := range map[string]string{
		`Alice <a@x.example>`:                           "a@x.example",
		`a@x.example, b@x.example`:                      "a@x.example b@x.example",
		`Alice [IT] <a@x.example>`:                      "a@x.example",
		`a@x.example <a@x.example>`:                     "a@x.example",
		`A@x.example <a@X.example>`:                     "a@x.example",
		`Mueller, Alice <a@x.example>`:                  "a@x.example",
		`DOM\alice <a@x.example>`:                       "a@x.example",
		`"Alice <a@x.example>`:                          "a@x.example",
		`Alice" <a@x.example>`:                          "a@x.example",
		"=?utf-8?Q?M=C3=BC\r\n ller, A?= <a@x.example>": "a@x.example",
		`Alice (IT <a@x.example>`:                       "a@x.example",
		`boss@x.example <a@x.example>`:                  "bad",
		`"boss@x.example <a@x.example>`:                 "bad",
		`Boss [boss@y.example] <a@x.example>`:           "bad",
		`a@x.example; b@x.example [`:                    "bad",
		`a@b@x.example <a@x.example>`:                   "bad",
		`Alice [IT]`:                                    "bad",
		`Alice <a@x.example`:                            "bad",
		``:                                              "bad",
	} {
		h := header{from: [][]byte{[]byte(" " + value + "\r\n")}}
		_, all, bad := h.responsible()
		got := addresses(all)
		if got = strings.ReplaceAll(got, ", ", " "); bad {
			got = "bad"
		}
		if got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

// TestMboxSeparator checks that the separator of an mbox file is not taken for text: the header
// after it would become text too.
func TestMboxSeparator(t *testing.T) {
	const rest = "Subject: x\r\n\r\n"
	for first, want := range map[string]string{
		"From a@b.example Mon Jan  5 10:00:00 2026\r\n": rest,
		">From - Mon Jan  5 10:00:00 2026\r\n":          rest,
		"From here on\r\n":                              "\r\nFrom here on\r\n",
	} {
		h, err := readHeader(&textLines{first + rest}, &headerHold{room: new(headroom)})
		if err != nil || string(h.octets) != want {
			t.Errorf("%q: %q, %v; want %q", first, h.octets, err, want)
		}
	}
	text := rest + "From a@b.example Mon Jan  5 10:00:00 2026\r\n"
	if h, err := readHeader(&textLines{text}, &headerHold{room: new(headroom)}); err != nil || string(h.octets) != rest {
		t.Errorf("%q, %v", h.octets, err)
	}
}

// TestLongLine checks that a line of any length is stored as it came, up to the size of a message.
func TestLongLine(t *testing.T) {
	o := newOffice(t, smtp.MTA, func(c *Config) { c.Wire.MaxTextLine, c.Wire.MaxMessageSize = 0, 1<<20 })
	o.mailbox(t, "anna", "")
	message := "Subject: x\r\nContent-Type: text/html\r\n\r\n" + strings.Repeat("<p>long</p>", 50_000) + "\r\n"
	if err := o.send(t, "a@b.example", "anna@office.example", message); err != nil {
		t.Fatal(err)
	}
	if stored := o.messages(t, "anna"); len(stored) != 1 || !strings.HasSuffix(stored[0], message) {
		t.Errorf("%d messages", len(stored))
	}
	if err := o.send(t, "a@b.example", "anna@office.example", strings.Repeat(message, 2)); err == nil {
		t.Error("a message over the limit is accepted")
	}
}
