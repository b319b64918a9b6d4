package dnscheck

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/addr"
	"pillarbox/smtp/dns"
)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestRun(t *testing.T) {
	office := Server{
		Hostname: "mail.office.example", Addresses: []netip.Addr{ip("192.0.2.10"), ip("192.168.1.10")},
		Domains: []addr.Domain{"office.example"},
	}
	behind := office
	behind.Addresses = []netip.Addr{ip("192.168.1.10")}
	smart := office
	smart.SmartHost = true
	right := func(d *mailtest.DNS) {
		d.SetHost("mail.office.example", ip("192.0.2.10"))
		d.SetMX("office.example", "mail.office.example")
		d.SetTXT("office.example", "v=spf1 mx -all", "other=1")
	}
	for _, test := range []struct {
		name   string
		server Server
		set    func(d *mailtest.DNS)
		want   string // "!" before a finding that asks for something
	}{
		{"right", office, right, `
			mail.office.example leads to 192.0.2.10, an address of this machine
			192.0.2.10 has the name mail.office.example
			office.example MX mail.office.example leads to this server
			office.example SPF "v=spf1 mx -all" permits 192.0.2.10`},
		{"behind a router", behind, right, `
			mail.office.example leads to 192.0.2.10, which is the router's address if it forwards the ports to this machine
			192.0.2.10 has the name mail.office.example
			office.example MX mail.office.example leads to this server
			office.example SPF "v=spf1 mx -all" permits 192.0.2.10`},
		{"nothing there", office, func(*mailtest.DNS) {}, `
			!mail.office.example has no address in DNS
			!office.example has no MX record
			!office.example has no SPF record`},
		{"all wrong", office, func(d *mailtest.DNS) {
			d.SetAddrs("mail.office.example", ip("198.51.100.7"))
			d.SetPTR(ip("198.51.100.7"), "pool-7.isp.example")
			d.SetMX("office.example", "mx.isp.example")
			d.SetTXT("office.example", "v=spf1 ip4:203.0.113.1 -all")
		}, `
			!mail.office.example leads to 198.51.100.7, which is no address of this machine
			!198.51.100.7 has the name pool-7.isp.example in DNS, not mail.office.example
			!office.example its MX records lead to mx.isp.example, not to this server
			!office.example SPF "v=spf1 ip4:203.0.113.1 -all" gives "fail" for 198.51.100.7`},
		{"no name of the address", office, func(d *mailtest.DNS) {
			right(d)
			d.SetAddrs("mail.office.example", ip("192.0.2.10"), ip("192.0.2.11"))
		}, `
			mail.office.example leads to 192.0.2.10, 192.0.2.11, an address of this machine
			192.0.2.10 has the name mail.office.example
			!192.0.2.11 has no name in DNS
			office.example MX mail.office.example leads to this server
			office.example SPF "v=spf1 mx -all" permits 192.0.2.10, 192.0.2.11`},
		{"another name for the same host", office, func(d *mailtest.DNS) {
			right(d)
			d.SetAddrs("mx.office.example", ip("192.0.2.10"))
			d.SetMX("office.example", "mx.office.example")
		}, `
			mail.office.example leads to 192.0.2.10, an address of this machine
			192.0.2.10 has the name mail.office.example
			office.example MX mx.office.example leads to this server
			office.example SPF "v=spf1 mx -all" permits 192.0.2.10`},
		{"smart host", smart, right, `
			mail.office.example leads to 192.0.2.10, an address of this machine
			office.example MX mail.office.example leads to this server
			office.example SPF "v=spf1 mx -all"; it must permit your provider's servers`},
		{"no answer", office, func(d *mailtest.DNS) { d.Fail(mailtest.DNSServFail, "") }, `
			!mail.office.example cannot look up its address: server misbehaving
			!office.example cannot look up its MX records: server misbehaving
			!office.example cannot look up its SPF record: server misbehaving`},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := mailtest.NewDNS(t)
			test.set(d)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			var got []string
			for _, f := range Run(ctx, dns.NewClient([]string{d.Addr()}), test.server) {
				mark := ""
				if f.Do != "" {
					mark = "!"
				}
				got = append(got, mark+f.About+" "+f.Found)
			}
			want := strings.TrimSpace(strings.ReplaceAll(test.want, "\t", ""))
			if text := strings.Join(got, "\n"); text != want {
				t.Errorf("got\n%s\nwant\n%s", text, want)
			}
		})
	}
}
