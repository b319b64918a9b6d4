//go:build e2e

package e2e

import (
	"net/netip"
	"strings"
	"testing"
)

// TestOutboundForwarded sends a remote message to an alias of a remote address. The next server sees
// a sender of the office, and an ARC seal. A report to that sender goes to the first one; a forged one is refused.
func TestOutboundForwarded(t *testing.T) {
	k := newSink(t, "")
	o, dns := sendingOffice(t)
	for _, name := range []string{"partner.example", "first.example"} {
		dns.SetMX(name, "mx."+name)
		dns.SetAddrs("mx."+name, netip.MustParseAddr("127.0.0.1"))
	}
	o.set(t, "outbound", "port", k.port)
	o.serve(t)
	o.pillarbox(t, "", "admin", "dkim", "create", domain)
	o.pillarbox(t, "", "admin", "alias", "add", "away@"+domain, "bob@partner.example")
	s, err := o.dial("smtp")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	deliver := func(from, to, text string) {
		t.Helper()
		s.ask(t, "250", "MAIL FROM:<%s>", from)
		s.ask(t, "250", "RCPT TO:<%s>", to)
		s.ask(t, "354", "DATA")
		s.ask(t, "250 2.6.0 ", "%s", stuff(text))
	}
	s.ask(t, "250", "EHLO mx.first.example")
	deliver("Carl@first.example", "away@"+domain, letter("forwarded"))
	got := k.wantDumps(t, 1)[0]
	sender, _, ok := strings.Cut(strings.TrimPrefix(got.mail, "<"), ">")
	if !ok || !strings.HasPrefix(sender, "SRS0=") || !strings.HasSuffix(sender, "=first.example=Carl@"+domain) {
		t.Fatalf("the next server saw MAIL FROM:%s", got.mail)
	}
	if !strings.HasPrefix(got.message, "ARC-Seal: i=1; a=") || !strings.Contains(got.message, "ARC-Authentication-Results: i=1; ") {
		t.Errorf("no ARC seal:\n%s", got.message)
	}
	deliver("", strings.ToLower(sender), "From: mx@partner.example\r\nSubject: not delivered\r\n\r\nno\r\n")
	back := k.wantDumps(t, 2)[1]
	if !strings.HasPrefix(back.mail, "<>") || len(back.rcpt) != 1 || !strings.HasPrefix(back.rcpt[0], "<carl@first.example>") {
		t.Errorf("the report went from %s to %q", back.mail, back.rcpt)
	}
	s.ask(t, "250", "MAIL FROM:<>")
	s.ask(t, "550", "RCPT TO:<%s>", strings.Replace(sender, "=Carl@", "=dora@", 1))
	o.wantQueueEmpty(t)
}
