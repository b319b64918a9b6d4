package policy

import (
	"net/netip"
	"strings"
	"testing"

	"pillarbox/mailstore/addr"
)

func TestParseDNSBLSite(t *testing.T) {
	for _, c := range []struct {
		text, zone string
		counts     []string
		others     []string
	}{
		{"zen.example", "zen.example", []string{"127.0.0.2", "127.1.2.3"}, nil},
		{" Zen.Example. ", "zen.example", []string{"127.0.0.2"}, nil},
		{"zen.example=127.0.0.2", "zen.example", []string{"127.0.0.2"}, []string{"127.0.0.3"}},
		{"zen.example = 127.0.0.4-7", "zen.example", []string{"127.0.0.4", "127.0.0.7"}, []string{"127.0.0.3", "127.0.0.8"}},
		{"zen.example=[127.0.1.*]", "zen.example", []string{"127.0.1.9"}, []string{"127.0.0.9"}},
		{"zen.example=127.0.0.0/24", "zen.example", []string{"127.0.0.9"}, []string{"127.0.1.9"}},
	} {
		site, err := ParseDNSBLSite(Line{Text: c.text, Origin: "here"})
		if err != nil || site.Zone != c.zone || site.Line != (Line{c.text, "here"}) {
			t.Errorf("%q: %+v %v", c.text, site, err)
		}
		for _, ip := range c.counts {
			if !site.counts(netip.MustParseAddr(ip)) {
				t.Errorf("%q: %s does not count", c.text, ip)
			}
		}
		for _, ip := range c.others {
			if site.counts(netip.MustParseAddr(ip)) {
				t.Errorf("%q: %s counts", c.text, ip)
			}
		}
	}
	for _, text := range []string{
		"", "zen", "zen..example", "192.0.2.1", "[192.0.2.1]", "zen.example=", "zen.example=*", "zen.example=10.0.0.1",
		"zen.example=126-127.0.0.1", "zen.example=0.0.0.0/0", "zen.example=::1", "zen.example=2", "zen.example=a.b", "=127.0.0.2",
		strings.Repeat("a.", 95) + "example",
	} {
		if site, err := ParseDNSBLSite(Line{Text: text}); err == nil {
			t.Errorf("%q is %+v", text, site)
		}
	}
}

func TestNeedsDNSBL(t *testing.T) {
	r := (&ruleText{values: map[string]string{
		"dnsbl.sites": "zen.example, zen.example=127.0.0.2", "dnsbl.private_deny": "203.0.113.1", "dnsbl.private_allow": "203.0.113.2",
		"auth.plaintext_networks": "203.0.113.3", "senders.trusted_hosts": "203.0.113.4",
	}}).rules(t)
	if zones := r.DNSBL.Zones(); len(zones) != 1 {
		t.Errorf("asks %v", zones)
	}
	ask := func(ip string) Facts { return Facts{Client: Client{Remote: netip.MustParseAddr(ip)}} }
	for ip, want := range map[string]bool{
		"203.0.113.9": true, "2001:db8::1": true, "::ffff:203.0.113.9": true,
		"203.0.113.1": false, "203.0.113.2": false, "203.0.113.3": false, "203.0.113.4": false,
		"10.1.2.3": false, "127.0.0.1": false, "169.254.1.1": false, "fe80::1": false, "fd00::1": false, "::1": false, "::ffff:10.1.2.3": false,
	} {
		if f := ask(ip); r.NeedsDNSBL(&f) != want {
			t.Errorf("%s: %t", ip, !want)
		}
	}
	for name, change := range map[string]func(*Facts){
		"a user":   func(f *Facts) { f.User.Address = addr.Address{Local: "anna", Domain: "office.example"} },
		"a device": func(f *Facts) { f.Device = &Device{} },
		"known":    func(f *Facts) { f.Listed = []Listing{} },
	} {
		f := ask("203.0.113.9")
		if change(&f); r.NeedsDNSBL(&f) {
			t.Errorf("%s is looked up", name)
		}
	}
	f := ask("203.0.113.9")
	if r.DNSBL.Sites = nil; r.NeedsDNSBL(&f) {
		t.Error("nobody is there to ask")
	}
}
