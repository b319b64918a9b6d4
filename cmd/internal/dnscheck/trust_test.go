package dnscheck

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/addr"
	"pillarbox/smtp/dns"
)

func TestTrust(t *testing.T) {
	office := Server{
		Hostname: "mail.office.example", Domains: []addr.Domain{"office.example"}, Signs: true,
		Keys:     []Key{{"office.example", "pb1", "v=DKIM1; k=rsa; p=MIIB"}},
		Services: []Service{{"submissions", 465}, {"pop3s", 995}},
	}
	unsigned, silent, strict := office, office, office
	unsigned.Keys = nil
	silent.Keys, silent.Signs = nil, false
	strict.Policy = func(context.Context, addr.Domain) (Policy, error) {
		return Policy{"enforce", func(host string) bool { return host == "mail.office.example" }}, nil
	}
	broken := strict
	broken.Policy = func(context.Context, addr.Domain) (Policy, error) {
		return Policy{}, errors.New("the server answers 404")
	}
	right := func(d *mailtest.DNS) {
		d.SetTXT("pb1._domainkey.office.example", "v=DKIM1; k=rsa; p= MI IB")
		d.SetTXT("_dmarc.office.example", "v=DMARC1; p=none")
		d.SetSRV("_submissions._tcp.office.example", "mail.office.example", 465)
	}
	withPolicy := func(mx string) func(*mailtest.DNS) {
		return func(d *mailtest.DNS) {
			right(d)
			d.SetTXT("_mta-sts.office.example", "v=STSv1; id=1")
			d.SetMX("office.example", mx)
		}
	}
	const key, mark = "DKIM pb1._domainkey.office.example the DKIM record has the server's key",
		`DMARC office.example DMARC policy "none" at _dmarc.office.example`
	const srv = `SRV office.example SRV records lead here: submissions
		SRV office.example no SRV records, which are optional: pop3s`
	const noPolicy = "MTA-STS office.example has no MTA-STS policy, which is optional"
	for _, test := range []struct {
		name   string
		server Server
		set    func(d *mailtest.DNS)
		want   string // "!" before a finding that asks for something
	}{
		{"right", office, right, key + "\n" + mark + "\n" + noPolicy + "\n" + srv},
		{"no key needed", silent, right, `
			DKIM office.example has no DKIM key, and none is needed: the server signs no mail to other servers
			` + mark + "\n" + noPolicy + "\n" + srv},
		{"nothing there", unsigned, func(*mailtest.DNS) {}, `
			!DKIM office.example has no DKIM key, so its mail is not signed
			!DMARC office.example has no DMARC record
			` + noPolicy + `
			SRV office.example no SRV records, which are optional: submissions, pop3s`},
		{"key not published", office, func(d *mailtest.DNS) {
			right(d)
			d.SetTXT("pb1._domainkey.office.example")
		}, `
			!DKIM pb1._domainkey.office.example has no DKIM record; other servers cannot verify the signatures
			` + mark + "\n" + noPolicy + "\n" + srv},
		{"all wrong", office, func(d *mailtest.DNS) {
			d.SetTXT("pb1._domainkey.office.example", "v=DKIM1; p=OTHER")
			d.SetTXT("_dmarc.office.example", "v=DMARC1; p=perhaps")
			d.SetTXT("_mta-sts.office.example", "v=STSv1; id=1", "v=STSv1; id=2")
			d.SetSRV("_submissions._tcp.office.example", "smtp.isp.example", 465)
			d.SetSRV("_pop3s._tcp.office.example", "mail.office.example", 110)
		}, `
			!DKIM pb1._domainkey.office.example the DKIM record has another key than the server; the signatures are wrong
			!DMARC _dmarc.office.example DMARC "v=DMARC1; p=perhaps" cannot be parsed: invalid policy for parameter 'p'
			!MTA-STS office.example has 2 MTA-STS records, so none counts
			!SRV _submissions._tcp.office.example the SRV record leads to smtp.isp.example port 465
			!SRV _pop3s._tcp.office.example the SRV record leads to mail.office.example port 110`},
		{"two DMARC records", office, func(d *mailtest.DNS) {
			right(d)
			d.SetTXT("_dmarc.office.example", "v=DMARC1; p=none", "v=DMARC1; p=reject")
		}, key + `
			!DMARC _dmarc.office.example has 2 DMARC records, so none counts
			` + noPolicy + "\n" + srv},
		{"policy", strict, withPolicy("mail.office.example"), key + "\n" + mark + `
			MTA-STS office.example the MTA-STS policy is in mode "enforce"
			` + srv},
		{"policy for another host", strict, withPolicy("mx2.office.example"), key + "\n" + mark + `
			!MTA-STS https://mta-sts.office.example/.well-known/mta-sts.txt the MTA-STS policy does not permit the mail exchanger mx2.office.example
			` + srv},
		{"no policy file", broken, withPolicy("mail.office.example"), key + "\n" + mark + `
			!MTA-STS https://mta-sts.office.example/.well-known/mta-sts.txt the MTA-STS policy cannot be fetched: the server answers 404
			` + srv},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := mailtest.NewDNS(t)
			test.set(d)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			var got []string
			for _, f := range Trust(ctx, dns.NewClient([]string{d.Addr()}), test.server) {
				mark := ""
				if f.Do != "" {
					mark = "!"
				}
				got = append(got, mark+string(f.Record)+" "+f.About+" "+f.Found)
			}
			want := strings.TrimSpace(strings.ReplaceAll(test.want, "\t", ""))
			if text := strings.Join(got, "\n"); text != want {
				t.Errorf("got\n%s\nwant\n%s", text, want)
			}
		})
	}
}

// An IPv6 address that is not this machine's is wrong even if the IPv4 address is right.
func TestVersion6(t *testing.T) {
	s := Server{Hostname: "mail.office.example", SmartHost: true}
	s.Addresses = append(s.Addresses, ip("192.0.2.10"), ip("2001:db8::10"))
	for _, test := range []struct {
		address string
		wrong   bool
	}{{"2001:db8::10", false}, {"2001:db8::bad", true}} {
		d := mailtest.NewDNS(t)
		d.SetAddrs("mail.office.example", ip("192.0.2.10"), ip(test.address))
		wrong := false
		for _, f := range Run(t.Context(), dns.NewClient([]string{d.Addr()}), s) {
			wrong = wrong || f.Record == AAAA && f.Do != ""
		}
		if wrong != test.wrong {
			t.Errorf("%s: wrong is %v", test.address, wrong)
		}
	}
}
