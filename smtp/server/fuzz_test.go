package server

import (
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"pillarbox/smtp"
	"pillarbox/smtp/policy"
)

var (
	replyForm  = regexp.MustCompile(`^([2345]\d\d)(?:[- ](?:[245]\.\d+\.\d+ )?[ -~\x{a0}-\x{10ffff}]*)$`)
	acceptForm = regexp.MustCompile(`^250 2\.6\.0 .* queued as (P3_\d{26})$`)
)

// FuzzSession sends arbitrary input to the server. Every line that comes back has the form of
// RFC 5321. Every accepted message is in the mailbox once, and no other message is. What is stored
// has only CRLF line ends.
func FuzzSession(f *testing.F) {
	const begin = "MAIL FROM:<a@b.example>\r\nRCPT TO:<anna@office.example>\r\nDATA\r\n"
	for _, s := range []string{
		begin + "Subject: x\r\n\r\nhi\r\n.\r\nQUIT\r\n",
		begin + "hi\n.\r\n" + begin + "\r\n.\r\n.\r\n" + begin,
		begin + "Return-Path: <x>\r\n y\r\n\r\n..\r\n.\r\nNOOP\r\n",
		"AUTH PLAIN\r\nAGEAYg==\r\nAUTH LOGIN YQ==\r\n*\r\nRSET\r\n" + begin + "x\r\n.\r\n",
		"MAIL FROM:<\"a b\"@c> SIZE=12 BODY=8BITMIME RET=FULL ENVID=x\r\nRCPT TO:<anna> NOTIFY=NEVER ORCPT=rfc822;x@y\r\nVRFY x\r\nHELP\r\n",
		"EHLO \xff\r\nMAIL FROM:<ä@b> SMTPUTF8\r\nBDAT 3 LAST\r\nabcSTARTTLS\r\n",
	} {
		f.Add(s, false)
		f.Add(s, true)
	}
	offices := map[bool]*office{}
	for _, normalise := range []bool{false, true} {
		o := newOffice(f, smtp.MTA, func(c *Config) {
			c.Wire.TLS = nil
			if normalise {
				c.Rules.LineEnds.Bare = policy.NormaliseBare
			}
		})
		o.mailbox(f, "anna", "")
		offices[normalise] = o
	}
	f.Fuzz(func(t *testing.T, input string, normalise bool) {
		o := offices[normalise]
		replies := o.converse(t, "EHLO fuzz\r\n"+input)
		want := map[string]bool{}
		for line := range strings.Lines(replies) {
			line, ok := strings.CutSuffix(line, "\r\n")
			if !ok || !replyForm.MatchString(line) {
				t.Fatalf("%q was answered with %q", input, line)
			}
			if m := acceptForm.FindStringSubmatch(line); m != nil {
				want[m[1]] = true
			}
		}
		for _, message := range o.read(t, "anna", true) {
			id := volatile.FindString(message)
			if !want[id] {
				t.Fatalf("%q stored %s, which was not accepted:\n%s", input, id, replies)
			}
			delete(want, id)
			if bare := strings.ReplaceAll(message, "\r\n", ""); strings.ContainsAny(bare, "\r\n") {
				t.Fatalf("%q stored a bare line end: %q", input, message)
			}
		}
		if len(want) > 0 {
			t.Fatalf("%q: accepted and not stored: %v", input, want)
		}
	})
}

// converse sends input, closes its side of the connection, and returns all replies.
func (o *office) converse(t *testing.T, input string) string {
	t.Helper()
	c, err := net.Dial("tcp", o.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	go func() {
		io.WriteString(c, input)
		c.(*net.TCPConn).CloseWrite()
	}()
	text, err := io.ReadAll(c)
	if err != nil && !strings.Contains(err.Error(), "reset") { // the server closed before it had read all
		t.Fatalf("%q: %v", input, err)
	}
	return string(text)
}
