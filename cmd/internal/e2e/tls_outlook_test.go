//go:build e2e

package e2e

import (
	"strings"
	"testing"
)

// newXPOffice returns an office with an old computer whose user ticks "Log on using Secure Password
// Authentication".
func newXPOffice(t *testing.T) *office {
	t.Helper()
	o := newOldOffice(t)
	o.set(t, "auth", "challenge_networks", `["`+oldPC+`"]`)
	o.pillarbox(t, annaPassword+"\n", "admin", "mailbox", "passwd", anna, "--password-stdin", "--spa")
	return o
}

// TestOutlookExpress is a whole run of Outlook Express on Windows XP: TLS 1.0 with 3DES, Secure
// Password Authentication, a NetBIOS name in EHLO, blanks in MAIL and RCPT. It sends a message to
// itself and fetches it. On ports 25 and 110 its "this server requires a secure connection (SSL)"
// means STARTTLS and STLS; on other ports TLS comes first.
func TestOutlookExpress(t *testing.T) {
	o := newXPOffice(t)
	s := o.serve(t)
	for _, ways := range []struct{ send, fetch string }{{"smtp", "pop3"}, {"submission", "pop3"}, {"smtps", "pop3s"}} {
		t.Run(ways.send+" and "+ways.fetch, func(t *testing.T) {
			before := s.logIns("NTLM")
			message := letter("from XP by " + ways.send)
			o.expressSends(t, ways.send, message)
			o.expressFetches(t, ways.fetch, message)
			if n := s.awaitLogIns("NTLM", before+2) - before; n != 2 {
				t.Errorf("%d log-ins by NTLM are in the log, want 2", n)
			}
		})
	}
	if n := strings.Count(s.log.String(), "a client still needs old TLS"); n != 1 {
		t.Errorf("the log tells of it %d times, want once a day", n)
	}
}

func (o *office) expressSends(t *testing.T, service, message string) {
	t.Helper()
	c := o.mustDialTLS(t, oldPC, service, oldPrograms[0].config())
	c.ask(t, "334 ", "AUTH NTLM")
	c.finishNTLM(t, "", "334 ", "anna", annaPassword, "235 2.7.0 ")
	c.ask(t, "250", "MAIL FROM: <%s>", anna)
	c.ask(t, "250", "RCPT TO: <%s>", anna)
	c.ask(t, "354", "DATA")
	c.ask(t, "250 2.6.0 ", "%s", stuff(message))
	c.quit(t)
	if stored := o.stored(t, anna); len(stored) != 1 || !strings.HasSuffix(stored[0], message) ||
		!strings.Contains(stored[0], "TLS_RSA_WITH_3DES_EDE_CBC_SHA") || !strings.Contains(stored[0], "(authenticated as "+anna+")") {
		t.Errorf("stored is\n%q", stored)
	}
}

func (o *office) expressFetches(t *testing.T, service, message string) {
	t.Helper()
	c := o.mustDialTLS(t, oldPC, service, oldPrograms[0].config())
	if reply := c.ask(t, "+OK", "AUTH NTLM"); reply != "+OK" {
		t.Errorf("AUTH NTLM: %q, want the form of Windows", reply)
	}
	c.finishNTLM(t, "", "+ ", "anna", annaPassword, "+OK")
	c.ask(t, "+OK 1 ", "STAT")
	c.ask(t, "+OK", "UIDL")
	if list, err := c.text(); err != nil || !strings.HasPrefix(list, "1 ") || strings.Count(list, "\r\n") != 1 {
		t.Errorf("UIDL lists %q, %v", list, err)
	}
	c.ask(t, "+OK", "RETR 1")
	if text, err := c.text(); err != nil || !strings.HasSuffix(text, message) {
		t.Errorf("fetched is %q, %v", text, err)
	}
	c.ask(t, "+OK", "DELE 1")
	c.quit(t)
	if n := len(o.files(t, anna)); n != 0 {
		t.Errorf("%d messages are left", n)
	}
}

// TestOutlookExpressElsewhere checks that the same program is refused on a computer that is not in
// the settings, and with a wrong password.
func TestOutlookExpressElsewhere(t *testing.T) {
	o := newXPOffice(t)
	s := o.serve(t)
	for _, service := range services {
		if _, err := o.dialTLS(t, stranger, service, oldPrograms[0].config()); err == nil {
			t.Errorf("%s lets it in", service)
		}
	}
	s.wantLog(t, `and was refused" remote_ip=`+stranger)
	c := o.mustDialTLS(t, oldPC, "smtp", oldPrograms[0].config())
	c.ask(t, "334 ", "AUTH NTLM")
	c.finishNTLM(t, "", "334 ", "anna", wrongPassword, "535 5.7.8 ")
	c.quit(t)
}
