package admin

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"pillarbox/cmd/internal/clientsetup"
	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/dnscheck"
	"pillarbox/cmd/internal/netinfo"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/smtp/dkim"
	"pillarbox/smtp/dns"
)

const (
	// dnsLimit is the time for all lookups of one question. An office without the internet waits so
	// long for the answer that DNS cannot be asked.
	dnsLimit = 5 * time.Second
	// dnsAtOnce is the number of domains whose records are looked up at the same time.
	dnsAtOnce = 4
)

// DNSQuestion asks for the records to publish.
type DNSQuestion struct {
	Domain string // "": all domains that the caller may see
	Check  bool   // also ask DNS what it has
}

// DomainRecords are the records to publish for a domain.
type DomainRecords struct {
	Domain  addr.Domain        `json:"domain"`
	Records []dnscheck.Checked `json:"records"`
}

// dnsRecords lists the records to publish. A DNS that does not answer is no error.
func (o *Service) dnsRecords(ctx context.Context, q DNSQuestion) ([]DomainRecords, error) {
	domains, err := o.dnsDomains(q.Domain)
	if err != nil {
		return nil, err
	}
	interfaces, err := netinfo.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("network interfaces: %w", err)
	}
	keys, err := o.ShowDKIM(q.Domain, time.Now())
	if err != nil {
		return nil, err
	}
	server := DNSServer(o.Config(), netinfo.Addresses(interfaces), domains, keys)
	all := make([]DomainRecords, len(domains))
	for i, d := range domains {
		all[i] = DomainRecords{Domain: d, Records: []dnscheck.Checked{}}
		for _, w := range dnscheck.Records(server, d) {
			all[i].Records = append(all[i].Records, dnscheck.Checked{Wanted: w})
		}
	}
	if q.Check {
		o.checkDNS(ctx, server, all)
	}
	return all, nil
}

// checkDNS asks DNS about all records, within dnsLimit.
func (o *Service) checkDNS(ctx context.Context, server dnscheck.Server, all []DomainRecords) {
	ctx, cancel := context.WithTimeout(ctx, dnsLimit)
	defer cancel()
	resolver := dns.NewClient(DNSOptions(o.Config()).Servers)
	places := make(chan struct{}, dnsAtOnce)
	var wait sync.WaitGroup
	for i := range all {
		wait.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			all[i].Records = dnscheck.Check(ctx, resolver, server, all[i].Domain)
		})
	}
	wait.Wait()
}

// dnsDomains returns one hosted domain, or for "" all that the caller may see.
func (o *Service) dnsDomains(domain string) ([]addr.Domain, error) {
	if domain == "" {
		listed, err := o.ListDomains()
		var all []addr.Domain
		for _, d := range listed {
			all = append(all, d.Domain)
		}
		return all, err
	}
	d, err := o.parseDomain(domain)
	if err == nil {
		err = o.Require(d, false)
	}
	if err != nil {
		return nil, err
	}
	if hosted, err := o.Dir.Hosts(d); err != nil || !hosted {
		return nil, o.explain(cmp.Or(err, fmt.Errorf("domain %s: %w", d, directory.ErrNotFound)), d,
			"domain list")
	}
	return []addr.Domain{d}, nil
}

// DNSServer returns what DNS should say about a server. own are the addresses of the machine; keys
// are those of all domains.
func DNSServer(
	cfg *config.Config, own []netip.Addr, domains []addr.Domain, keys []DKIMKey,
) dnscheck.Server {
	s := dnscheck.Server{
		Hostname: cfg.Hostname, Addresses: own, Domains: domains,
		SmartHost: len(cfg.Routes.Default.SmartHost) > 0 && !cfg.Routes.Default.DirectFirst,
		Signs:     cfg.Authenticity.Sign && cfg.Outbound.Enabled,
		Page:      ServesPrograms(cfg),
	}
	for _, k := range keys {
		if k.Problem == "" && k.State != dkim.Over {
			s.Keys = append(s.Keys, dnscheck.Key{Domain: k.Domain, Selector: k.Selector,
				Value: k.Record.Value})
		}
	}
	for _, service := range []struct {
		label     string
		addresses []string
	}{
		{"submissions", cfg.Listen.SMTPS}, {"submission", cfg.Listen.Submission},
		{"pop3s", cfg.Listen.POP3S}, {"pop3", cfg.Listen.POP3},
	} {
		if len(service.addresses) > 0 {
			s.Services = append(s.Services, dnscheck.Service{
				Label: service.label, Port: clientsetup.Port(service.addresses[0])})
		}
	}
	return s
}

// ServesPrograms reports whether the page is served where mail programs ask for their settings.
func ServesPrograms(cfg *config.Config) bool {
	for _, address := range cfg.Listen.Web {
		host, err := netip.ParseAddrPort(address)
		if clientsetup.Port(address) == 443 && (err != nil || !host.Addr().IsLoopback()) {
			return true
		}
	}
	return false
}
