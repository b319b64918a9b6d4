package dnscheck

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/addr"
	"pillarbox/smtp/dns"
)

func publicOffice() Server {
	return Server{
		Hostname: "mail.office.example", Addresses: []netip.Addr{ip("192.168.1.10"), ip("192.0.2.10")},
		Signs: true, Page: true,
		Keys:     []Key{{"office.example", "pb1", "v=DKIM1; k=rsa; p=MIIB"}, {"other.example", "x", "p=X"}},
		Services: []Service{{"submissions", 465}, {"submission", 587}, {"pop3s", 995}, {"pop3", 110}},
	}
}

func TestRecords(t *testing.T) {
	public := publicOffice()
	private, version6, island := public, public, public
	private.Addresses, private.SmartHost, private.Page = public.Addresses[:1], true, false
	private.Keys, private.Services = nil, public.Services[:1]
	version6.Addresses = []netip.Addr{ip("fd00::2"), ip("2001:db8::10")}
	version6.Keys, version6.Services, version6.Page = nil, nil, false
	island.Addresses, island.Keys, island.Services, island.Page = nil, nil, nil, false
	const last = `
		_imap._tcp.office.example. IN SRV 0 0 0 . ; optional
		_imaps._tcp.office.example. IN SRV 0 0 0 . ; optional`
	const reports = `
		_smtp._tls.office.example. IN TXT "v=TLSRPTv1; rua=mailto:postmaster@office.example" ; optional
		_mta-sts.office.example. IN TXT "v=STSv1; id=1" ; optional`
	const mx = `
		office.example. IN MX 10 mail.office.example.
		office.example. IN TXT "v=spf1 mx -all"`
	const dmarc = `
		_dmarc.office.example. IN TXT "v=DMARC1; p=none"`
	for _, test := range []struct {
		name   string
		server Server
		want   string
	}{
		{"public", public, `
			mail.office.example. IN A 192.0.2.10
			10.2.0.192.in-addr.arpa. IN PTR mail.office.example.` + mx + `
			pb1._domainkey.office.example. IN TXT "v=DKIM1; k=rsa; p=MIIB"` + dmarc + `
			_submissions._tcp.office.example. IN SRV 0 1 465 mail.office.example. ; optional
			_submission._tcp.office.example. IN SRV 10 1 587 mail.office.example. ; optional
			_pop3s._tcp.office.example. IN SRV 0 1 995 mail.office.example. ; optional
			_pop3._tcp.office.example. IN SRV 10 1 110 mail.office.example. ; optional` + last + `
			_autodiscover._tcp.office.example. IN SRV 0 0 443 mail.office.example. ; optional
			autodiscover.office.example. IN CNAME mail.office.example. ; optional
			autoconfig.office.example. IN CNAME mail.office.example. ; optional` + reports},
		{"behind a router, with a smart host", private, `
			mail.office.example. IN A 192.168.1.10
			office.example. IN MX 10 mail.office.example.
			office.example. IN TXT "v=spf1 include:… -all"` + dmarc + `
			_submissions._tcp.office.example. IN SRV 0 1 465 mail.office.example. ; optional` + last + reports},
		{"IPv6 alone", version6, `
			mail.office.example. IN AAAA 2001:db8::10` + mx + dmarc + last + reports},
		{"no network", island, mx + dmarc + last + reports},
	} {
		var got []string
		for _, w := range Records(test.server, "office.example") {
			line := w.Zone
			if w.Optional {
				line += " ; optional"
			}
			got = append(got, line)
			if !slices.Contains(Purposes(), w.For) {
				t.Errorf("%s: purpose %q", w.Zone, w.For)
			}
		}
		want := strings.TrimSpace(strings.ReplaceAll(test.want, "\t", ""))
		if text := strings.Join(got, "\n"); text != want {
			t.Errorf("%s: got\n%s\nwant\n%s", test.name, text, want)
		}
	}
}

// zone publishes all records of the office as they are wanted.
func zone(d *mailtest.DNS) {
	d.SetHost("mail.office.example", ip("192.0.2.10"))
	d.SetMX("office.example", "mail.office.example")
	d.SetTXT("office.example", "v=spf1 mx -all")
	d.SetTXT("pb1._domainkey.office.example", "v=DKIM1; k=rsa; p=MIIB")
	d.SetTXT("_dmarc.office.example", "v=DMARC1; p=none")
	for label, port := range map[string]uint16{
		"submissions": 465, "submission": 587, "pop3s": 995, "pop3": 110, "autodiscover": 443,
	} {
		d.SetSRV("_"+label+"._tcp.office.example", "mail.office.example", port)
	}
	d.SetSRV("_imap._tcp.office.example", "", 0)
	d.SetSRV("_imaps._tcp.office.example", "", 0)
	d.SetAddrs("autoconfig.office.example", ip("192.0.2.10"))
	d.SetAddrs("autodiscover.office.example", ip("192.0.2.10"))
	d.SetTXT("_smtp._tls.office.example", "v=TLSRPTv1; rua=mailto:postmaster@office.example")
	d.SetTXT("_mta-sts.office.example", "v=STSv1; id=1")
}

// Each record is compared with what DNS has of it alone.
func TestCheck(t *testing.T) {
	for _, test := range []struct {
		name string
		set  func(d *mailtest.DNS)
		want map[string]State // by name; all others are other
		rest State
	}{
		{"right", func(*mailtest.DNS) {}, nil, Right},
		{"wrong", func(d *mailtest.DNS) {
			d.SetMX("office.example", "mx.isp.example")
			d.SetTXT("pb1._domainkey.office.example", "v=DKIM1; p=OTHER")
			d.SetTXT("_dmarc.office.example", "v=DMARC1; p=perhaps")
			d.SetSRV("_pop3s._tcp.office.example", "mail.office.example", 110)
			d.SetSRV("_imap._tcp.office.example", "imap.isp.example", 143)
			d.SetAddrs("autoconfig.office.example", ip("198.51.100.7"))
			d.SetPTR(ip("192.0.2.10"), "pool.isp.example")
		}, map[string]State{
			"office.example MX": Different, "pb1._domainkey.office.example TXT": Different,
			"office.example TXT":        Different, // "mx" permits another server now
			"_dmarc.office.example TXT": Different, "_pop3s._tcp.office.example SRV": Different,
			"_imap._tcp.office.example SRV": Different, "autoconfig.office.example CNAME": Different,
			"10.2.0.192.in-addr.arpa PTR": Different,
		}, Right},
		{"absent", func(d *mailtest.DNS) {
			d.SetTXT("pb1._domainkey.office.example")
			d.SetTXT("_smtp._tls.office.example")
			d.SetTXT("office.example", "other=1")
			d.SetSRV("_pop3._tcp.office.example", "", 0)
			d.SetAddrs("autodiscover.office.example")
		}, map[string]State{
			"pb1._domainkey.office.example TXT": Missing, "_smtp._tls.office.example TXT": Missing,
			"office.example TXT": Missing, "_pop3._tcp.office.example SRV": Missing,
			"autodiscover.office.example CNAME": Missing,
		}, Right},
		{"one does not answer", func(d *mailtest.DNS) {
			d.Fail(mailtest.DNSServFail, "_dmarc.office.example")
		}, map[string]State{"_dmarc.office.example TXT": Unknown}, Right},
		{"none answers", func(d *mailtest.DNS) { d.Fail(mailtest.DNSServFail, "") }, nil, Unknown},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := mailtest.NewDNS(t)
			zone(d)
			test.set(d)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			for _, c := range Check(ctx, dns.NewClient([]string{d.Addr()}), publicOffice(), "office.example") {
				want, ok := test.want[c.Name+" "+c.Type]
				if !ok {
					want = test.rest
				}
				if c.State != want || c.Found == "" {
					t.Errorf("%s: %s %q, want %s", c.Zone, c.State, c.Found, want)
				}
			}
		})
	}
}

// An office without the internet has an answer when the time is over, not later.
func TestCheckIsBounded(t *testing.T) {
	d := mailtest.NewDNS(t)
	d.Fail(mailtest.DNSSilent, "")
	begin := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	for _, c := range Check(ctx, dns.NewClient([]string{d.Addr()}), publicOffice(), "office.example") {
		if c.State != Unknown {
			t.Errorf("%s: %s %q", c.Zone, c.State, c.Found)
		}
	}
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("took %s", took)
	}
}

// The finding that a domain has no record says which one to add, in the form of the list.
func TestFindingsNameTheRecord(t *testing.T) {
	s := publicOffice()
	s.Domains = []addr.Domain{"office.example"}
	d := mailtest.NewDNS(t)
	r := dns.NewClient([]string{d.Addr()})
	text := fmt.Sprint(Run(t.Context(), r, s), Trust(t.Context(), r, s))
	for _, w := range Records(s, "office.example") {
		if w.Record == MX || w.Record == SPF || w.Record == DMARC {
			if !strings.Contains(text, w.Zone) {
				t.Errorf("%s is in no finding: %s", w.Zone, text)
			}
		}
	}
}

// The guide shows the records as the list has them.
func TestGuide(t *testing.T) {
	guide, err := os.ReadFile("../../../etc/docs/client-setup.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range Records(publicOffice(), "office.example") {
		if (w.Record == SRV || w.Record == Discovery) && !strings.Contains(string(guide), w.Zone+"\n") {
			t.Errorf("etc/docs/client-setup.md lacks %s", w.Zone)
		}
	}
}
