// Package dnscheck knows the DNS records that this server and the domains hosted here need, and
// checks what DNS says. It changes nothing.
//
// Start with [Records], the records to publish, and [Check], which compares them with DNS. [Run] and
// [Trust] say what is wrong: Run about the records without which mail does not arrive, Trust about
// those that other servers and mail programs look at as well.
package dnscheck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"blitiri.com.ar/go/spf"

	"pillarbox/mailstore/addr"
)

// Server is the server whose names are checked.
type Server struct {
	Hostname  addr.Domain
	Addresses []netip.Addr  // of this machine
	Domains   []addr.Domain // hosted here
	SmartHost bool          // mail leaves through a smart host, so others see the smart host's address

	// For Trust.
	Keys     []Key     // the DKIM keys of the domains
	Signs    bool      // mail to other servers is signed by the domains that have a key
	Services []Service // for mail programs
	Page     bool      // the page is served at port 443, where mail programs ask for their settings
	// Policy fetches the MTA-STS policy of a domain by HTTPS; nil: it is not fetched.
	Policy func(ctx context.Context, domain addr.Domain) (Policy, error)
}

// Record is the type of the records that a Finding is about.
type Record string

// The values of Record.
const (
	Address Record = "A"
	AAAA    Record = "AAAA"
	PTR     Record = "PTR"
	MX      Record = "MX"
	SPF     Record = "SPF"
	DKIM    Record = "DKIM"
	DMARC   Record = "DMARC"
	SRV     Record = "SRV"
	MTASTS  Record = "MTA-STS"
	TLSRPT  Record = "TLS-RPT"
	// Discovery is a name at which mail programs ask for their settings.
	Discovery Record = "discovery"
)

// Finding is one thing that DNS says. Do is what to do about it; "" means that it is right.
type Finding struct {
	Record Record `json:"record"`
	About  string `json:"about"` // a name or an address
	Found  string `json:"found"`
	State  State  `json:"state"`
	Do     string `json:"do,omitempty"`
}

// Run asks r about everything that the server needs in DNS. The findings are in the order of the
// questions. ctx limits the time of all lookups together.
func Run(ctx context.Context, r *net.Resolver, s Server) []Finding {
	c := &check{ctx: ctx, r: r, Server: s}
	c.about(Address, c.hostname)
	c.about(AAAA, c.version6)
	c.about(PTR, c.reverse)
	for _, domain := range s.Domains {
		c.about(MX, func() { c.mx(domain) })
		c.about(SPF, func() { c.spf(domain) })
	}
	return c.findings
}

// check is one run.
type check struct {
	Server
	ctx      context.Context
	r        *net.Resolver
	own      []netip.Addr // the addresses that the host name has
	record   Record       // that is looked at
	findings []Finding
}

// about does a part of the check, whose findings are about one type of records.
func (c *check) about(r Record, do func()) {
	c.record = r
	do()
}

func (c *check) ok(about, found string, args ...any) {
	c.add(Right, "", about, fmt.Sprintf(found, args...))
}

// absent reports that a record is not there; do is "" if it is optional.
func (c *check) absent(do, about, found string, args ...any) {
	c.add(Missing, do, about, fmt.Sprintf(found, args...))
}

func (c *check) warn(do, about, found string, args ...any) {
	c.add(Different, do, about, fmt.Sprintf(found, args...))
}

// failed reports a lookup without an answer.
func (c *check) failed(about, what string, err error) {
	c.add(Unknown, "try again later; if it lasts, look at dns.servers", about, what+": "+reason(err))
}

func (c *check) add(state State, do, about, found string) {
	c.findings = append(c.findings, Finding{c.record, about, found, state, do})
}

// reason is the error of a lookup without the name, which the finding has already.
func reason(err error) string {
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return e.Err
	}
	return err.Error()
}

func missing(err error) bool {
	e, ok := errors.AsType[*net.DNSError](err)
	return ok && e.IsNotFound
}

// hostname checks that clients and servers find this machine by its name.
func (c *check) hostname() {
	name := string(c.Hostname)
	all, err := c.r.LookupNetIP(c.ctx, "ip", name+".")
	switch {
	case missing(err):
		c.absent("add an A record, or name the server in the hosts file of each client", name, "has no address in DNS")
		return
	case err != nil:
		c.failed(name, "cannot look up its address", err)
		return
	}
	for _, ip := range all {
		c.own = append(c.own, ip.Unmap())
	}
	switch {
	case slices.ContainsFunc(c.own, c.isHere):
		c.ok(name, "leads to %s, an address of this machine", list(c.own))
	case !slices.ContainsFunc(c.Addresses, isPublic):
		c.ok(name, "leads to %s, which is the router's address if it forwards the ports to this machine", list(c.own))
	default:
		c.warn("correct the A record: this machine has "+list(c.Addresses), name,
			"leads to %s, which is no address of this machine", list(c.own))
	}
}

// version6 checks that the public IPv6 addresses of the name are this machine's. There is no router
// that translates them, so mail to another address goes astray, and mail from here has no name.
func (c *check) version6() {
	var stray []netip.Addr
	for _, ip := range c.public() {
		if ip.Is6() && !c.isHere(ip) {
			stray = append(stray, ip)
		}
	}
	if len(stray) > 0 {
		c.warn("correct or remove the AAAA record: this machine has "+list(c.Addresses),
			string(c.Hostname), "its AAAA record leads to %s, which is no address of this machine",
			list(stray))
	}
}

func (c *check) isHere(ip netip.Addr) bool {
	return slices.Contains(c.Addresses, ip) || ip.IsLoopback()
}

func isPublic(ip netip.Addr) bool {
	return ip.IsGlobalUnicast() && !ip.IsPrivate() && !netip.MustParsePrefix("100.64.0.0/10").Contains(ip)
}

// public returns the addresses from which other servers see this one.
func (c *check) public() (all []netip.Addr) {
	for _, ip := range c.own {
		if isPublic(ip) {
			all = append(all, ip)
		}
	}
	return all
}

// reverse checks the name of each public address. Many servers refuse mail from an address whose
// name does not lead back to it.
func (c *check) reverse() {
	if c.SmartHost {
		return
	}
	for _, ip := range c.public() {
		about := ip.String()
		ask := fmt.Sprintf("ask your provider to give it the name %s (PTR): many servers refuse mail from it otherwise", c.Hostname)
		names, err := c.r.LookupAddr(c.ctx, about)
		switch {
		case missing(err):
			c.absent(ask, about, "has no name in DNS")
		case err != nil:
			c.failed(about, "cannot look up its name", err)
		case slices.ContainsFunc(names, c.isHostname):
			c.ok(about, "has the name %s", c.Hostname)
		default:
			c.warn(ask, about, "has the name %s in DNS, not %s", strings.TrimSuffix(names[0], "."), c.Hostname)
		}
	}
}

func (c *check) isHostname(name string) bool {
	return strings.EqualFold(strings.TrimSuffix(name, "."), string(c.Hostname))
}

// mx checks that mail of other servers for a domain comes here.
func (c *check) mx(domain addr.Domain) {
	name := string(domain)
	add := "if mail from the internet is to come here, add this record: " + c.mxRecord(domain).Zone
	records, err := c.r.LookupMX(c.ctx, name+".")
	switch {
	case missing(err):
		c.absent(add, name, "has no MX record")
		return
	case err != nil:
		c.failed(name, "cannot look up its MX records", err)
		return
	}
	var hosts []string
	for _, record := range records {
		host := strings.TrimSuffix(record.Host, ".")
		if hosts = append(hosts, host); c.isHostname(host) || c.leadsHere(host) {
			c.ok(name, "MX %s leads to this server", host)
			return
		}
	}
	c.warn(add, name, "its MX records lead to %s, not to this server", strings.Join(hosts, ", "))
}

// leadsHere reports whether a host has an address of this server.
func (c *check) leadsHere(host string) bool {
	all, _ := c.r.LookupNetIP(c.ctx, "ip", host+".")
	return slices.ContainsFunc(all, c.isOurs)
}

// isOurs reports whether an address is one of the host name or of this machine.
func (c *check) isOurs(ip netip.Addr) bool {
	return slices.Contains(c.own, ip.Unmap()) || slices.Contains(c.Addresses, ip.Unmap())
}

// spf checks that other servers believe that this one sends for a domain (RFC 7208).
func (c *check) spf(domain addr.Domain) {
	name := string(domain)
	texts, err := c.r.LookupTXT(c.ctx, name+".")
	if err != nil && !missing(err) {
		c.failed(name, "cannot look up its SPF record", err)
		return
	}
	record := ""
	for _, text := range texts {
		if text == "v=spf1" || strings.HasPrefix(text, "v=spf1 ") {
			record = text
		}
	}
	add := "add this record, because other servers may take mail from it as forged: "
	if c.SmartHost {
		add = "add this record, with the name that your provider tells you: "
	}
	switch {
	case record == "":
		c.absent(add+c.spfRecord(domain).Zone, name, "has no SPF record")
	case c.SmartHost:
		c.ok(name, "SPF %q; it must permit your provider's servers", record)
	default:
		c.evaluate(domain, record)
	}
}

// evaluate applies the SPF record to the public addresses.
func (c *check) evaluate(domain addr.Domain, record string) {
	name, all := string(domain), c.public()
	for _, ip := range all {
		result, _ := spf.CheckHostWithSender(net.IP(ip.AsSlice()), string(c.Hostname), "postmaster@"+name,
			spf.WithContext(c.ctx), spf.WithResolver(c.r))
		if result != spf.Pass {
			c.warn("add \"mx\" or \"ip"+map[bool]string{true: "4", false: "6"}[ip.Is4()]+":"+ip.String()+"\" to it",
				name, "SPF %q gives %q for %s", record, result, ip)
			return
		}
	}
	if len(all) == 0 {
		c.ok(name, "SPF %q; it was not applied, because %s has no public address here", record, c.Hostname)
		return
	}
	c.ok(name, "SPF %q permits %s", record, list(all))
}

func list(all []netip.Addr) string {
	words := make([]string, len(all))
	for i, ip := range all {
		words[i] = ip.String()
	}
	return strings.Join(words, ", ")
}
