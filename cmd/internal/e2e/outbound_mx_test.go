//go:build e2e

package e2e

import (
	"bufio"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// wantLetter compares a message that Postfix stored with the one that was sent, octet by octet
// below the trace fields. It must have one Return-Path, from Postfix.
func wantLetter(t *testing.T, stored, sent string) {
	t.Helper()
	trace, ok := strings.CutSuffix(stored, lines(sent))
	if !ok {
		t.Fatalf("Postfix has\n%q\nwant below the trace fields\n%q", stored, lines(sent))
	}
	if n := strings.Count(trace, "Return-Path:"); n != 1 || !strings.HasPrefix(trace, "Return-Path: <"+anna+">\n") {
		t.Errorf("%d Return-Path fields, want the one of the delivery:\n%s", n, trace)
	}
	if !strings.Contains(trace, "\tby "+hostname+" with ESMTPA id ") {
		t.Errorf("our Received field is missing:\n%s", trace)
	}
}

// TestOutboundMX delivers to the second mail exchanger of a domain while the first is down, and to
// the address of a domain without MX.
func TestOutboundMX(t *testing.T) {
	p := newPostfix(t, "")
	o, dns := sendingOffice(t)
	dns.SetMX("partner.example", "down.partner.example", "mx.partner.example")
	dns.SetAddrs("down.partner.example", netip.MustParseAddr("127.0.0.2"))
	dns.SetAddrs("mx.partner.example", netip.MustParseAddr("127.0.0.1"))
	dns.SetAddrs("nomx.example", netip.MustParseAddr("127.0.0.1"))
	o.set(t, "outbound", "port", p.port)
	o.serve(t)

	first, second := letter("by MX"), letter("by A")
	o.submit(t, first, "bob@partner.example")
	wantLetter(t, p.wantMail(t, 1)[0], first)
	o.submit(t, second, "bob@nomx.example")
	wantLetter(t, p.wantMail(t, 2)[1], second)
	o.wantQueueEmpty(t)
	if dns.Asked("partner.example", "MX") == 0 {
		t.Error("nobody asked for the MX")
	}
}

// TestOutboundBoth sends one message to a local mailbox and two remote domains; each must get it
// once.
func TestOutboundBoth(t *testing.T) {
	p := newPostfix(t, "")
	o, dns := sendingOffice(t)
	dns.SetAddrs("partner.example", netip.MustParseAddr("127.0.0.1"))
	dns.SetAddrs("other.example", netip.MustParseAddr("127.0.0.1"))
	o.set(t, "outbound", "port", p.port)
	o.serve(t)
	sent := letter("to all")
	o.submit(t, sent, boss, "bob@partner.example", "bob@other.example")
	for _, stored := range p.wantMail(t, 2) {
		wantLetter(t, stored, sent)
	}
	if here := o.wantMail(t, boss, 1)[0]; !strings.HasSuffix(here, "\r\n"+sent) {
		t.Errorf("boss has %q", here)
	}
	o.wantQueueEmpty(t)
}

// greylist runs a policy service for Postfix (SMTPD_POLICY_README) that defers the first attempt
// for each recipient.
func greylist(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var mu sync.Mutex
	seen := make(map[string]bool)
	decide := func(request map[string]string) string {
		mu.Lock()
		defer mu.Unlock()
		known := seen[request["recipient"]]
		seen[request["recipient"]] = true
		if known {
			return "DUNNO"
		}
		return "DEFER_IF_PERMIT Greylisted, come back later"
	}
	serve := func(c net.Conn) {
		defer c.Close()
		request := make(map[string]string)
		for in := bufio.NewScanner(c); in.Scan(); {
			if name, value, ok := strings.Cut(in.Text(), "="); ok {
				request[name] = value
				continue
			}
			if _, err := c.Write([]byte("action=" + decide(request) + "\n\n")); err != nil {
				return
			}
			clear(request)
		}
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return l.Addr().String()
}

// TestOutboundGreylisted checks that deferred mail is tried again: by an administrator's command,
// or after the first interval.
func TestOutboundGreylisted(t *testing.T) {
	p := newPostfix(t, "smtpd_recipient_restrictions = check_policy_service inet:"+greylist(t)+"\n")
	o, dns := sendingOffice(t)
	dns.SetMX("partner.example", "mx.partner.example")
	dns.SetMX("soon.example", "mx.partner.example")
	dns.SetAddrs("mx.partner.example", netip.MustParseAddr("127.0.0.1"))
	o.set(t, "outbound", "port", p.port)
	o.route(t, `domains = ["soon.example"]`, `retries = ["1s"]`)
	o.serve(t)

	sent := letter("grey")
	id := o.submit(t, sent, "bob@partner.example")
	words, server := o.wantDeferred(t, id)
	if !strings.HasPrefix(words, "450 4.7.1 ") || !strings.Contains(words, "Greylisted, come back later") {
		t.Errorf("the queue says %q, want Postfix's words", words)
	}
	if !strings.Contains(server, "mx.partner.example") {
		t.Errorf("the queue says that %q said so", server)
	}
	if n := len(p.mail(t)); n != 0 {
		t.Fatalf("%d messages arrived all the same", n)
	}
	o.pillarbox(t, "", "admin", "queue", "retry", id)
	wantLetter(t, p.wantMail(t, 1)[0], sent)

	again := letter("grey again")
	o.submit(t, again, "bob@soon.example")
	wantLetter(t, p.wantMail(t, 2)[1], again)
	o.wantQueueEmpty(t)
}
