package config

import (
	"net/netip"
	"strings"
	"testing"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp/policy"
)

var testMachine = Machine{
	Gateways: []netip.Addr{netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("fe80::1")},
	Bridges:  []netip.Prefix{netip.MustParsePrefix("172.17.0.0/16"), netip.MustParsePrefix("fd00:d::/64")},
}

// relayFile returns a file with these lines in its relay section.
func relayFile(lines string) string {
	return "hostname = \"mail.office.example\"\n[relay]\n" + lines + "\n"
}

// Rules that make an open relay, and the line that is blamed. The policy is asked too: it must let
// a stranger relay in exactly these cases.
func TestOpenRelayByRules(t *testing.T) {
	for _, tt := range []struct {
		lines string // line 3 and on
		want  string // the beginning of the problem, behind the file's name; "" for none
	}{
		{``, ""},
		{`enforcement = "none"`, `:3: relay.enforcement: would make an open relay: no client is kept`},
		{`enforcement = "all"`, ""},
		{`authenticated = "check"`, ""},
		{`deny_hosts = []`, `:3: relay.deny_hosts: would make an open relay: every client that is not denied`},
		{`deny_hosts = ["192.0.2.0/24", "bad.example"]`, `:3: relay.deny_hosts: would make`},
		{`deny_hosts = ["0.0.0.0/0"]`, `:3: relay.deny_hosts: would make`},
		{`deny_hosts = ["0.0.0.0/0", "::/0"]`, ""},
		{"deny_hosts = []\ndeny_domains = [\"*\"]", ""},
		{"deny_hosts = []\ndeny_domains = [\"spam.example\"]", `:3: relay.deny_hosts: would make`},
		{"deny_hosts = []\nallow_hosts = [\"192.168.2.7\"]", ""},
		{"deny_hosts = []\nallow_domains = [\"partner.example\"]", ""},
		{`allow_domains = ["partner.example"]`, ""},
		{`allow_domains = ["partner.example", "*"]`, `:3: relay.allow_domains: would make an open relay: "*" lets every client`},
		{"allow_domains = [\"*\"]\ndeny_domains = [\"*\"]", ""},
		{"allow_domains = [\"*\"]\ndeny_wins = true", ""},
		{"allow_domains = [\"*\"]\ndeny_hosts = []\ndeny_wins = true", `:3: relay.allow_domains: would make`},
		{"deny_wins = true\noverride_domains = [\"*\"]", `:4: relay.override_domains: would make`},
		{`override_domains = ["partner.example"]`, ""},
	} {
		c, err := load(t, relayFile(tt.lines))
		report := ""
		if err != nil {
			report = strings.TrimLeft(err.Error()[strings.Index(err.Error(), "pillarbox.toml")+len("pillarbox.toml"):], "")
		}
		if tt.want == "" && report != "" || !strings.HasPrefix(report, tt.want) || strings.Contains(report, "\n") {
			t.Errorf("%s\ngot  %s\nwant %s", tt.lines, report, tt.want)
		}
		if err != nil {
			c = mustLoad(t, relayFile(tt.lines+"\ni_know_this_is_an_open_relay = true"))
			if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "this is an open relay") {
				t.Errorf("%s\nwarnings %q", tt.lines, c.Warnings)
			}
		}
		open := false
		for _, ip := range []string{"203.0.113.77", "2001:db8::77"} {
			var stranger policy.Facts
			stranger.Remote, stranger.From = netip.MustParseAddr(ip), addr.Address{Local: "a", Domain: "there.example"}
			stranger.To, stranger.Kind = addr.Address{Local: "b", Domain: "elsewhere.example"}, policy.RecipientRemote
			open = open || c.Policy.Rcpt(&stranger).Verdict == policy.Accept
		}
		if open != (tt.want != "") {
			t.Errorf("%s\nopen in the engine: %v", tt.lines, open)
		}
	}
}

// Single entries in a list of trusted hosts that make an open relay.
func TestOpenRelayByEntry(t *testing.T) {
	for _, tt := range []struct{ entry, what, only string }{
		{"*", "is every host", ""},
		{"[*]", "is every host", ""},
		{" * ", "is every host", ""},
		{"*\u00a0", "is every host", ""}, // white space that only some readers trim
		{"0.0.0.0/0\u00a0", "contains the internet", ""},
		{"0.0.0.0\u00a00.0.0.0", "contains the internet", ""},
		{"0.0.0.0/0", "contains the internet", ""},
		{"::/0", "contains the internet", ""},
		{"[*.*.*.*]", "contains the internet", ""},
		{"[10-11.*.*.*]", "contains the internet", ""},
		{"128.0.0.0/1", "contains the internet", ""},
		{"12.0.0.0/7", "contains the internet", ""},
		{"12.0.0.0 254.0.0.0", "contains the internet", ""},
		{"12.0.0.0/254.0.0.0", "contains the internet", ""},
		{"fc00::/6", "contains the internet", ""},
		{"10.0.0.0/8", "", ""},
		{"fc00::/7", "", "the bridge fd00:d::/64"},
		{"192.168.1.7", "", ""},
		{"[192.168.1.7]", "", ""},
		{".office.example", "", ""},
		{"10.office.example", "", ""},
		{"192.168.1.1", "is the gateway 192.168.1.1", ""},
		{"[192.168.1.1]", "is the gateway 192.168.1.1", ""},
		{"192.168.1.0/30", "is the gateway 192.168.1.1", ""},
		{"[192.168.1.1-4]", "is the gateway 192.168.1.1", ""},
		{"[192.168.1.1-5]", "", "the gateway 192.168.1.1 is in it"},
		{"[192.168.1.2-5]", "", ""},
		{"192.168.1.0/24", "", "the gateway 192.168.1.1 is in it"},
		{"[192.168.*.*]", "", "the gateway 192.168.1.1 is in it"},
		{"192.168.1.0 255.255.255.0", "", "the gateway 192.168.1.1 is in it"},
		{"fe80::1", "is the gateway fe80::1", ""},
		{"fe80::/64", "", "the gateway fe80::1 is in it"},
		{"172.17.0.1", "lies on the bridge 172.17.0.0/16", ""},
		{"172.17.3.0/24", "lies on the bridge 172.17.0.0/16", ""},
		{"172.17.0.0/16", "lies on the bridge 172.17.0.0/16", ""},
		{"172.16.0.0/12", "", "the bridge 172.17.0.0/16"},
		{"172.18.0.0/16", "", ""},
		{"fd00:d::5", "lies on the bridge fd00:d::/64", ""},
	} {
		for _, list := range []string{"allow_hosts", "exclude_hosts"} {
			text := "hostname = \"mail.office.example\"\nrelay." + list + " = [\n\"192.168.9.9\",\n" + quote(tt.entry) + ",\n]\n"
			c, problems := loadOn(t, testMachine, text)
			switch {
			case tt.what == "" && problems != nil:
				t.Errorf("%s: %v", tt.entry, problems)
			case tt.what != "" && (len(problems) != 1 || !strings.Contains(problems[0].What, tt.what) ||
				problems[0].Line != 4 || problems[0].Key != "relay."+list):
				t.Errorf("%s: %+v, want %s on line 4", tt.entry, problems, tt.what)
			}
			if c == nil {
				continue
			}
			if warned := strings.Join(c.Warnings, "\n"); tt.only == "" && warned != "" ||
				tt.only != "" && !strings.HasPrefix(warned, "pillarbox.toml:4: relay."+list+": "+quote(tt.entry)+": "+tt.only) {
				t.Errorf("%s: warned %q, want %q", tt.entry, warned, tt.only)
			}
		}
	}
}

// The extent of an entry contains every address that the list matches.
func FuzzExtent(f *testing.F) {
	for _, entry := range []string{"192.168.1.7", "[10.1-2.*.3]", "10.0.0.0 255.252.0.0", "10.0.0.0/255.255.255.128", "192.0.2.0/25", "2001:db8::/33", "*.a", "[::ffff:1.2.3.4]", "a"} {
		f.Add(entry, []byte{10, 1, 2, 3})
	}
	f.Add("[2001:db8::/33]", netip.MustParseAddr("2001:db8:8000::1").AsSlice())
	f.Fuzz(func(t *testing.T, entry string, octets []byte) {
		ip, ok := netip.AddrFromSlice(octets)
		hosts, errs := policy.ParseHosts([]policy.Line{{Text: entry}}, nil)
		if !ok || errs != nil || len(hosts.Spans()) == 1 && hosts.Spans()[0].All {
			return
		}
		var s extent
		isExtent := false
		for _, span := range hosts.Spans() {
			s, isExtent = extent{span.Low, span.High}, !span.All
		}
		if _, want := hosts.Match(ip, ""); want != (isExtent && s.holds(ip)) {
			t.Errorf("%q holds %s: %v", entry, ip, !want)
		}
		if _, want := hosts.Match(ip, ""); isExtent && want && (ip.Unmap().Less(s.lowest()) || s.highest().Less(ip.Unmap())) {
			t.Errorf("%q from %s to %s lacks %s", entry, s.lowest(), s.highest(), ip)
		}
	})
}

func TestTrustedSenderHostsAreWarnedOf(t *testing.T) {
	c, problems := loadOn(t, testMachine, "hostname = \"a.example\"\nsenders.trusted_hosts = [\"192.168.1.7\", \"192.168.1.1\"]\n")
	if problems != nil || len(c.Warnings) != 1 || !strings.HasPrefix(c.Warnings[0], `pillarbox.toml:2: senders.trusted_hosts: "192.168.1.1" is the gateway`) {
		t.Errorf("%v, %q", problems, c.Warnings)
	}
}
