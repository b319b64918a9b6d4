package dnscheck

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"pillarbox/mailstore/addr"
)

// State is how DNS compares with a record to publish.
type State string

// The values of State.
const (
	Right     State = "right"
	Missing   State = "missing"
	Different State = "different"
	Unknown   State = "cannot look up" // DNS does not answer
)

// Checked is a record to publish, and what DNS says.
type Checked struct {
	Wanted
	State State  `json:"state,omitempty"` // "" if DNS was not asked
	Found string `json:"found,omitempty"` // what DNS has, or why it cannot be asked
}

// Check asks r about the records to publish for a domain, several at a time. ctx limits the time of
// all lookups together: a record without an answer by then is Unknown.
func Check(ctx context.Context, r *net.Resolver, s Server, domain addr.Domain) []Checked {
	s.Domains = []addr.Domain{domain}
	host := &check{ctx: ctx, r: r, Server: s}
	host.about(Address, host.hostname)
	wanted := Records(s, domain)
	all := make([]Checked, len(wanted))
	var wait sync.WaitGroup
	for i, w := range wanted {
		wait.Go(func() {
			one := &check{ctx: ctx, r: r, Server: s, own: host.own, record: w.Record,
				findings: slices.Clone(host.findings)}
			all[i] = one.compare(w, domain)
		})
	}
	wait.Wait()
	return all
}

// compare looks up one record. findings has the one of the host name.
func (c *check) compare(w Wanted, domain addr.Domain) Checked {
	host := c.findings[0]
	c.findings = nil
	switch w.Record {
	case Address:
		c.findings = []Finding{host}
	case AAAA:
		c.hasAddress(host, w.Value)
	case PTR:
		c.reverse()
	case MX:
		c.mx(domain)
	case SPF:
		c.spf(domain)
	case DKIM:
		c.key(w.Name, w.Value, "")
	case DMARC:
		c.dmarc(domain)
	case SRV:
		c.service(domain, w)
	case Discovery:
		c.leads(w.Name)
	case TLSRPT:
		c.tlsReports(domain)
	case MTASTS:
		c.mtaSTS(domain)
	}
	return c.judge(w, host)
}

// judge takes the finding that asks for something, or the last one.
func (c *check) judge(w Wanted, host Finding) Checked {
	for _, f := range c.findings {
		if f.State != Right {
			return compared(w, f)
		}
	}
	switch { // without a finding, it is a PTR record and the host name has no public address
	case len(c.findings) > 0:
		return compared(w, c.findings[len(c.findings)-1])
	case host.State == Right:
		host.State = Different
	}
	return compared(w, host)
}

// compared is a record with its finding. The state says already that DNS cannot be asked; what is
// found is why.
func compared(w Wanted, f Finding) Checked {
	if _, why, ok := strings.Cut(f.Found, ": "); ok && f.State == Unknown {
		f.Found = why
	}
	return Checked{w, f.State, f.Found}
}

// hasAddress looks for one address among those of the host name.
func (c *check) hasAddress(host Finding, address string) {
	if host.State == Unknown {
		c.findings = []Finding{host}
		return
	}
	c.version6()
	ip, err := netip.ParseAddr(address)
	switch {
	case len(c.findings) > 0:
	case err == nil && slices.Contains(c.own, ip):
		c.ok(string(c.Hostname), "leads to %s", ip)
	default:
		c.absent("", string(c.Hostname), "has no IPv6 address in DNS")
	}
}

// leads checks a name by which mail programs ask for their settings.
func (c *check) leads(name string) {
	all, err := c.r.LookupNetIP(c.ctx, "ip", name+".")
	switch {
	case missing(err):
		c.absent("", name, "has no address in DNS")
	case err != nil:
		c.failed(name, "cannot look up its address", err)
	case slices.ContainsFunc(all, c.isOurs):
		c.ok(name, "leads to this server")
	default:
		c.warn("", name, "leads to %s, not to this server", list(all))
	}
}

// tlsReports checks where reports about TLS go (RFC 8460 §3).
func (c *check) tlsReports(domain addr.Domain) {
	name := "_smtp._tls." + string(domain)
	texts, err := c.texts(name)
	texts = slices.DeleteFunc(texts, func(t string) bool { return !strings.HasPrefix(t, "v=TLSRPTv1;") })
	switch {
	case err != nil:
		c.failed(name, "cannot look up its record", err)
	case len(texts) == 0:
		c.absent("", name, "has no record")
	case len(texts) > 1:
		c.warn("remove all but one", name, "has %d records, so none counts", len(texts))
	default:
		c.ok(name, "has %q", texts[0])
	}
}
