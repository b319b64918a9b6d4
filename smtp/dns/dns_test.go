package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/addr"
	"pillarbox/smtp/policy"
)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func servers(all ...*mailtest.DNS) (addresses []string) {
	for _, one := range all {
		addresses = append(addresses, one.Addr())
	}
	return addresses
}

func newTest(t *testing.T) (*Resolver, *mailtest.DNS) {
	t.Helper()
	server := mailtest.NewDNS(t)
	return New(Options{Servers: servers(server), Timeout: 5 * time.Second}), server
}

func TestName(t *testing.T) {
	r, d := newTest(t)
	d.SetHost("Scanner.Office.Example", ip("192.0.2.1"))
	d.SetHost("six.office.example", ip("2001:db8::6"))
	d.SetPTR(ip("192.0.2.2"), "mail.big.example")
	d.SetAddrs("mail.big.example", ip("192.0.2.99"), ip("2001:db8::99"))
	d.SetPTR(ip("192.0.2.3"), "gone.example")
	d.SetPTR(ip("192.0.2.5"), "other.example", "scanner5.office.example")
	d.SetAddrs("scanner5.office.example", ip("192.0.2.5"))
	d.SetPTR(ip("192.0.2.6"), `bad name\013.example`, "-x.example")
	d.SetPTR(ip("192.0.2.7"), "new\r\nline.example", "good7.example")
	d.SetAddrs("good7.example", ip("192.0.2.7"))
	d.Fail(mailtest.DNSServFail, mailtest.ReverseName(ip("192.0.2.8")))
	d.SetPTR(ip("192.0.2.9"), "forward-fails.example")
	d.Fail(mailtest.DNSServFail, "forward-fails.example")
	d.SetPTR(ip("192.0.2.10"), "forward-fails.example", "ten.example")
	d.SetAddrs("ten.example", ip("192.0.2.10"))
	d.SetPTR(ip("192.0.2.11")) // the name exists, but not this record type
	d.SetPTR(ip("192.0.2.12"), "only-six.example")
	d.SetAddrs("only-six.example", ip("2001:db8::12"))
	d.SetPTR(ip("192.0.2.13"), "10.0.0.1")
	d.SetPTR(ip("192.0.2.14"), "n1.example", "n2.example", "n3.example", "n4.example", "n5.example")
	d.SetAddrs("n5.example", ip("192.0.2.14")) // beyond the limit of names
	for _, c := range []struct {
		ip, name string
		state    policy.NameState
	}{
		{"192.0.2.1", "scanner.office.example", policy.NameVerified},
		{"::ffff:192.0.2.1", "scanner.office.example", policy.NameVerified},
		{"2001:db8::6", "six.office.example", policy.NameVerified},
		{"192.0.2.2", "mail.big.example", policy.NameUnverified},
		{"192.0.2.3", "gone.example", policy.NameUnverified},
		{"192.0.2.4", "", policy.NameNone},
		{"192.0.2.5", "scanner5.office.example", policy.NameVerified},
		{"192.0.2.6", "", policy.NameNone},
		{"192.0.2.7", "good7.example", policy.NameVerified},
		{"192.0.2.8", "", policy.NameFailed},
		{"192.0.2.9", "", policy.NameFailed},
		{"192.0.2.10", "ten.example", policy.NameVerified},
		{"192.0.2.11", "", policy.NameNone},
		{"192.0.2.12", "only-six.example", policy.NameUnverified},
		{"192.0.2.13", "", policy.NameNone},
		{"192.0.2.14", "n1.example", policy.NameUnverified},
	} {
		if name, state := r.Name(t.Context(), ip(c.ip)); name != c.name || state != c.state {
			t.Errorf("%s: %q %s, want %q %s", c.ip, name, state, c.name, c.state)
		}
	}
	if name, state := r.Name(t.Context(), netip.Addr{}); name != "" || state != policy.NameNone {
		t.Errorf("no address: %q %s", name, state)
	}
}

func TestSenderDomain(t *testing.T) {
	r, d := newTest(t)
	d.SetMX("big.example", "mx1.big.example", "mx2.big.example")
	d.SetMX("null.example", ".")
	d.SetAddrs("null.example", ip("192.0.2.1"))
	d.SetAddrs("four.example", ip("192.0.2.1"))
	d.SetAddrs("six.example", ip("2001:db8::1"))
	d.SetTXT("text.example", "v=spf1 -all")
	d.Fail(mailtest.DNSServFail, "broken.example")
	d.Fail(mailtest.DNSRefused, "refused.example")
	d.SetAddrs("mx-broken.example", ip("192.0.2.1"))
	d.Fail(mailtest.DNSServFail, "mx-broken.example", "MX")
	d.SetTXT("a-broken.example", "x")
	d.Fail(mailtest.DNSServFail, "a-broken.example", "A")
	d.SetTXT("aaaa-broken.example", "x")
	d.Fail(mailtest.DNSServFail, "aaaa-broken.example", "AAAA")
	d.SetAddrs("half.example", ip("2001:db8::1"))
	d.Fail(mailtest.DNSServFail, "half.example", "A")
	d.SetMX("many.example", strings.Fields(strings.Repeat("a-rather-long-name.of-a-mail-server.example ", 30))...)
	d.SetMX("rubbish.example", "192.0.2.1")
	for domain, want := range map[addr.Domain]policy.DomainState{
		"big.example":                policy.DomainExists,
		"null.example":               policy.DomainMissing,
		"four.example":               policy.DomainExists,
		"six.example":                policy.DomainExists,
		"text.example":               policy.DomainMissing,
		"nowhere.example":            policy.DomainMissing,
		"broken.example":             policy.DomainFailed,
		"refused.example":            policy.DomainFailed,
		"mx-broken.example":          policy.DomainFailed,
		"a-broken.example":           policy.DomainFailed,
		"aaaa-broken.example":        policy.DomainFailed,
		"half.example":               policy.DomainExists,
		"many.example":               policy.DomainExists,
		"rubbish.example":            policy.DomainExists,
		"[192.0.2.1]":                policy.DomainExists,
		"[ipv6:2001:db8::1]":         policy.DomainExists,
		"192.0.2.1":                  policy.DomainMissing,
		addr.Domain(longest + "xyz"): policy.DomainMissing,
	} {
		if got := r.SenderDomain(t.Context(), domain); got != want {
			t.Errorf("%s: %s, want %s", domain, got, want)
		}
	}
	if d.AskedTCP() == 0 {
		t.Error("the long answer did not come by TCP")
	}
}

var longest = strings.Repeat(strings.Repeat("x", 62)+".", 4)

func TestAnswersAreRemembered(t *testing.T) {
	r, d := newTest(t)
	d.SetMX("big.example", "mx.big.example")
	d.SetHost("a.example", ip("192.0.2.1"))
	d.Fail(mailtest.DNSServFail, "broken.example")
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			r.SenderDomain(t.Context(), "big.example")
			r.Name(t.Context(), ip("192.0.2.1"))
			r.SenderDomain(t.Context(), "broken.example")
		})
	}
	all.Wait()
	once := d.Asked("broken.example", "MX") // including the tries of package net
	r.SenderDomain(t.Context(), "broken.example")
	for _, c := range []struct {
		name, kind string
		want       int
	}{
		{"big.example", "MX", 1}, {"a.example", "A", 1}, {"a.example", "AAAA", 0},
		{mailtest.ReverseName(ip("192.0.2.1")), "PTR", 1}, {"broken.example", "MX", once},
	} {
		if got := d.Asked(c.name, c.kind); got != c.want {
			t.Errorf("%s %s was asked %d times, want %d", c.name, c.kind, got, c.want)
		}
	}
}

func TestNextServer(t *testing.T) {
	for name, how := range map[string]mailtest.DNSFailure{
		"refused": mailtest.DNSRefused, "servfail": mailtest.DNSServFail, "silent": mailtest.DNSSilent,
	} {
		t.Run(name, func(t *testing.T) {
			bad, good := mailtest.NewDNS(t), mailtest.NewDNS(t)
			bad.Fail(how, "")
			good.SetHost("a.example", ip("192.0.2.1"))
			r := New(Options{Servers: servers(bad, good), Timeout: 400 * time.Millisecond})
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if name, state := r.Name(ctx, ip("192.0.2.1")); name != "a.example" || state != policy.NameVerified {
				t.Errorf("%q %s", name, state)
			}
			if bad.Asked("a.example", "A") == 0 {
				t.Error("the first server was not asked")
			}
		})
	}
}

func TestSilenceIsAFailure(t *testing.T) {
	d := mailtest.NewDNS(t)
	d.Fail(mailtest.DNSSilent, "")
	r := New(Options{Servers: servers(d), Timeout: 20 * time.Millisecond})
	start := time.Now()
	if name, state := r.Name(t.Context(), ip("192.0.2.1")); name != "" || state != policy.NameFailed {
		t.Errorf("%q %s", name, state)
	}
	if state := r.SenderDomain(t.Context(), "silent.example"); state != policy.DomainFailed {
		t.Errorf("%s", state)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
}

// The sender's domain has a time-out of its own, which may be longer than that of a query.
func TestSenderDomainWaitsLonger(t *testing.T) {
	d := mailtest.NewDNS(t)
	d.Fail(mailtest.DNSSilent, "late.example")
	d.SetMX("late.example", "mx.late.example")
	r := New(Options{Servers: servers(d), Timeout: 40 * time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	go func() {
		for d.Asked("late.example", "MX") < 5 {
			time.Sleep(time.Millisecond)
		}
		d.Fail(mailtest.DNSAnswers, "late.example")
	}()
	if state := r.SenderDomain(ctx, "late.example"); state != policy.DomainExists {
		t.Errorf("answered after five queries: %s", state)
	}

	d.Fail(mailtest.DNSSilent, "silent.example")
	ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	state := r.SenderDomain(ctx, "silent.example")
	if took := time.Since(start); state != policy.DomainFailed || took < 290*time.Millisecond || took > 2*time.Second {
		t.Errorf("never answered: %s after %v", state, took)
	}
}

// A caller that cancels gets no answer; a later caller gets the cached one.
func TestAskerGoesAway(t *testing.T) {
	r, d := newTest(t)
	d.SetMX("big.example", "mx.big.example")
	d.Fail(mailtest.DNSSilent, "silent.example")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	start := time.Now()
	if state := r.SenderDomain(ctx, "silent.example"); state != policy.DomainFailed {
		t.Errorf("%s", state)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v", took)
	}
	r.SenderDomain(ctx, "big.example")
	if state := r.SenderDomain(t.Context(), "big.example"); state != policy.DomainExists || d.Asked("big.example", "MX") != 1 {
		t.Errorf("afterwards %s, asked %d times", state, d.Asked("big.example", "MX"))
	}
}

func TestNoServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // UDP is not answered
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := New(Options{Servers: []string{l.Addr().String()}, Timeout: 100 * time.Millisecond})
	if state := r.SenderDomain(t.Context(), "x.example"); state != policy.DomainFailed {
		t.Errorf("%s", state)
	}
}

// With all slots taken, a lookup waits until its deadline.
func TestSlots(t *testing.T) {
	d := mailtest.NewDNS(t)
	d.SetMX("big.example", "mx.big.example")
	r := New(Options{Servers: servers(d), Timeout: 5 * time.Second, Concurrent: 1})
	r.slots <- struct{}{}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if state := r.SenderDomain(ctx, "big.example"); state != policy.DomainFailed {
		t.Errorf("%s", state)
	}
	<-r.slots
	var all sync.WaitGroup
	for i := range 10 {
		domain := addr.Domain(fmt.Sprintf("d%d.example", i))
		d.SetMX(string(domain), "mx.big.example")
		all.Go(func() {
			if state := r.SenderDomain(t.Context(), domain); state != policy.DomainExists {
				t.Errorf("%s: %s", domain, state)
			}
		})
	}
	all.Wait()
}

func FuzzCleanName(f *testing.F) {
	f.Add("mail.example.")
	f.Add("a\r\nb.example.")
	f.Add("[1.2.3.4]")
	f.Add(strings.Repeat("x.", 200))
	f.Fuzz(func(t *testing.T, record string) {
		name, ok := cleanName(record)
		if !ok {
			return
		}
		for i := range len(name) {
			if c := name[i]; c != '-' && c != '.' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
				t.Fatalf("%q became %q", record, name)
			}
		}
		if name == "" || len(name) > addr.MaxDomain {
			t.Fatalf("%q became %q", record, name)
		}
	})
}
