package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"pillarbox/mailstore/addr"
)

func lines(entries ...string) (out []Line) {
	for i, e := range entries {
		out = append(out, Line{e, fmt.Sprint("line ", i+1)})
	}
	return out
}

func TestHosts(t *testing.T) {
	tests := []struct {
		entry   string
		yes, no []string // address, or address/name
	}{
		{"1.2.3.4", []string{"1.2.3.4", "::ffff:1.2.3.4"}, []string{"1.2.3.5"}},
		{"[1.2.3.4]", []string{"1.2.3.4"}, []string{"1.2.3.5"}},
		{"[1.2.3.1-3]", []string{"1.2.3.1", "1.2.3.3"}, []string{"1.2.3.0", "1.2.3.4"}},
		{"[1.2.3.*]", []string{"1.2.3.0", "1.2.3.255"}, []string{"1.2.4.0"}},
		{"[192.168.1-10.*]", []string{"192.168.1.1", "192.168.10.9"}, []string{"192.168.11.1", "192.168.0.1"}},
		{"[1.2.3.0/27]", []string{"1.2.3.31"}, []string{"1.2.3.32"}},
		{"1.2.3.0/27", []string{"1.2.3.31"}, []string{"1.2.3.32"}},
		{"1.2.3.0 255.255.255.224", []string{"1.2.3.31"}, []string{"1.2.3.32"}},
		{"1.2.3.0/255.255.255.224", []string{"1.2.3.31"}, []string{"1.2.3.32"}},
		{"2001:db8::/32", []string{"2001:db8::1"}, []string{"2001:db9::1", "1.2.3.4"}},
		{"[2001:db8::1]", []string{"2001:db8::1"}, []string{"2001:db8::2"}},
		{".example.at", []string{"9.9.9.9/pc.example.at", "9.9.9.9/a.b.example.at"}, []string{"9.9.9.9/example.at", "9.9.9.9/badexample.at", "9.9.9.9"}},
		{"*.example.at", []string{"9.9.9.9/pc.example.at"}, []string{"9.9.9.9/example.at"}},
		{"pc.example.at", []string{"9.9.9.9/pc.example.at"}, []string{"9.9.9.9/x.pc.example.at", "9.9.9.9"}},
		{"*", []string{"9.9.9.9", "::1"}, nil},
	}
	for _, tt := range tests {
		l, errs := ParseHosts(lines(tt.entry), nil)
		if len(errs) > 0 {
			t.Errorf("%s: %v", tt.entry, errs)
			continue
		}
		for want, hosts := range map[bool][]string{true: tt.yes, false: tt.no} {
			for _, h := range hosts {
				ip, name := cutHost(h)
				if line, got := l.Match(ip, name); got != want || got && line.Text != tt.entry {
					t.Errorf("%s against %s: %v", tt.entry, h, got)
				}
			}
		}
	}
}

func cutHost(s string) (netip.Addr, string) {
	for i := range s {
		if s[i] == '/' {
			return netip.MustParseAddr(s[:i]), s[i+1:]
		}
	}
	return netip.MustParseAddr(s), ""
}

func TestBadEntries(t *testing.T) {
	for _, bad := range []string{
		"", "1.2.3", "1.2.3.256", "[1.2.3.4", "[192.168.*.0/24]", "[pc.example.at]", "1.2.3.4/33", "1.2.3.4/24", "1.2.3.0 255.0.255.0",
		"[1.2.3.9-1]", "[1.2.3.1-300]", "a b", "-x", "*x", "x..y", "group:none", "fe80::1%eth0/64", "1.2.3.4-1.2.3.9", "a\x00b",
	} {
		_, errs := ParseHosts(lines(bad), nil)
		var entry *EntryError
		if len(errs) != 1 || !errors.As(errs[0], &entry) || entry.Line.Origin != "line 1" || entry.Hint == "" {
			t.Errorf("hosts: %q: %v", bad, errs)
		}
	}
	for _, bad := range []string{"", "@", "a@", "a@b@c", "*.", "x..y", "a b@c", "group:none", "a\x00@b", "*@b c"} {
		if _, errs := ParseAddresses(lines(bad), nil); len(errs) != 1 {
			t.Errorf("addresses: %q: %v", bad, errs)
		}
	}
}

func TestGroups(t *testing.T) {
	groups := map[string][]Line{
		"all": lines("group:a", "group:b"), "a": lines("1.1.1.1"), "b": lines("2.2.2.2", "group:a"),
		"x": lines("group:y"), "y": lines("group:x"),
	}
	l, errs := ParseHosts(lines("group:all"), groups)
	if len(errs) > 0 || l.Len() != 3 {
		t.Fatal(errs, l.Lines())
	}
	if _, ok := l.Match(netip.MustParseAddr("2.2.2.2"), ""); !ok {
		t.Error("a group in a group is lost")
	}
	if _, errs := ParseHosts(lines("group:x"), groups); len(errs) != 1 {
		t.Errorf("a loop of groups: %v", errs)
	}
}

func TestAddresses(t *testing.T) {
	tests := []struct {
		entry   string
		yes, no []string
	}{
		{"bad@x.example", []string{"BAD@x.example"}, []string{"good@x.example", "bad@sub.x.example"}},
		{"x.example", []string{"a@x.example", "a@y.x.example"}, []string{"a@wx.example", "a@example"}},
		{"@x.example", []string{"a@x.example"}, []string{"a@y.x.example"}},
		{"*.x.example", []string{"a@y.x.example"}, []string{"a@x.example"}},
		{"*", []string{"a@b"}, nil},
		{"bücher.example", []string{"a@xn--bcher-kva.example"}, nil},
		{"0.1", nil, []string{"a@[127.0.0.1]"}},
	}
	for _, tt := range tests {
		l, errs := ParseAddresses(lines(tt.entry), nil)
		if len(errs) > 0 {
			t.Errorf("%s: %v", tt.entry, errs)
			continue
		}
		for want, all := range map[bool][]string{true: tt.yes, false: tt.no} {
			for _, s := range all {
				a, err := addr.Parse(s)
				if err != nil {
					t.Fatal(err)
				}
				if _, got := l.Match(a); got != want {
					t.Errorf("%s against %s: %v", tt.entry, s, got)
				}
			}
		}
	}
	l, _ := ParseAddresses(lines("<>", "x.example"), nil)
	if line, ok := l.Match(addr.Address{}); !ok || line.Text != "<>" {
		t.Error("the null sender is not matched")
	}
}

// thousand returns lists of 1,000 entries each, and facts that match none of them.
func thousand(t testing.TB) (*Rules, *Facts) {
	t.Helper()
	var hosts, domains []string
	for i := range 1000 {
		switch i % 3 {
		case 0:
			hosts = append(hosts, fmt.Sprintf("10.%d.%d.0/24", i/250, i%250))
		case 1:
			hosts = append(hosts, fmt.Sprintf("172.16.%d.%d", i/250, i%250))
		default:
			hosts = append(hosts, fmt.Sprintf(".host%d.example", i))
		}
		domains = append(domains, fmt.Sprintf("domain%d.example", i))
	}
	h, errs := ParseHosts(lines(hosts...), nil)
	a, errs2 := ParseAddresses(lines(domains...), nil)
	if len(errs)+len(errs2) > 0 {
		t.Fatal(errs, errs2)
	}
	deny, _ := ParseHosts(lines("*"), nil)
	return &Rules{Relay: Relay{
			Enforcement: Setting[Enforcement]{EnforceExternal, "default"}, ExcludeHosts: h, AllowHosts: h, DenyHosts: deny, AllowDomains: a, DenyDomains: a,
		}, Recipients: Recipients{Deny: a}}, &Facts{
			Client{Remote: netip.MustParseAddr("198.51.100.7"), Name: "mx.a.b.c.example", NameState: NameVerified},
			Transaction{Recipient: Recipient{To: addr.Address{Local: "x", Domain: "remote.example"}, Kind: RecipientRemote}},
		}
}

// BenchmarkRcpt measures a refused relay decision with lists of 1,000 entries. The look-ups alone
// allocate no memory.
func BenchmarkRcpt(b *testing.B) {
	r, f := thousand(b)
	b.ReportAllocs()
	for b.Loop() {
		if r.Rcpt(f).Verdict == Accept {
			b.Fatal("accepted")
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	r, f := thousand(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := r.Relay.AllowHosts.Match(f.Remote, f.Name); ok {
			b.Fatal("matched")
		}
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	r, f := thousand(t)
	if n := testing.AllocsPerRun(100, func() {
		r.Relay.AllowHosts.Match(f.Remote, f.Name)
		r.Relay.AllowDomains.Match(f.To)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzRelay: an anonymous client that no allow rule names never gets mail to another server
// through, whatever else is true.
func FuzzRelay(f *testing.F) {
	f.Add("198.51.100.7", "x@remote.example", "a@office.example", "mx.else.example", uint16(0), uint8(0), true)
	f.Add("::1", `"x@office.example"@remote.example`, "", "pc.office.example", uint16(0x304), uint8(1), false)
	f.Fuzz(func(t *testing.T, ip, to, from, name string, tlsVersion uint16, bits uint8, denyDomains bool) {
		remote, err1 := netip.ParseAddr(ip)
		recipient, err2 := addr.Parse(to)
		if err1 != nil || err2 != nil {
			return
		}
		sender, _ := addr.Parse(from)
		rules := &Rules{Sites: map[string]Site{"smtp": {Anonymous: Setting[bool]{Value: true}, OfferAuth: Setting[bool]{Value: true}}}}
		rules.Relay.Enforcement.Value = []Enforcement{EnforceExternal, EnforceAll}[bits&1]
		rules.Relay.AuthenticatedAllow.Value = bits&2 != 0
		rules.Relay.DenyWins.Value = bits&4 != 0
		rules.Relay.DominoReplies.Value = bits&8 != 0
		rules.Senders.RefuseForged.Value = bits&16 != 0
		if denyDomains {
			rules.Relay.DenyDomains, _ = ParseAddresses(lines("*"), nil)
		} else {
			rules.Relay.DenyHosts, _ = ParseHosts(lines("*"), nil)
		}
		state := []NameState{NameUnverified, NameNone, NameFailed, NameVerified}[bits>>6]
		facts := &Facts{
			Client{Remote: remote, Name: name, NameState: state, TLSVersion: tlsVersion},
			Transaction{From: sender, FromHosted: bits&32 != 0, Recipient: Recipient{To: recipient, Kind: RecipientRemote}},
		}
		all := rules.Evaluate(facts)
		last := all[len(all)-1]
		if last.Verdict == Accept || last.Reply == nil {
			t.Fatalf("%+v was let through: %v", facts, all)
		}
		if len(last.Steps) == 0 || last.Remedy == "" {
			t.Fatalf("%+v was refused without a reason: %+v", facts, last)
		}
	})
}
