package dnscheck

import (
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/emersion/go-msgauth/dmarc"

	"pillarbox/mailstore/addr"
)

// Key is the DNS record that a DKIM key needs.
type Key struct {
	Domain   addr.Domain
	Selector string
	Value    string // of the TXT record, in one piece
}

// Service is a service for mail programs: its label in DNS (RFC 6186, RFC 8314) and its port.
type Service struct {
	Label string // "submissions", "submission", "pop3s" or "pop3"
	Port  int
}

// Policy is an MTA-STS policy (RFC 8461).
type Policy struct {
	Mode  string                 // "enforce", "testing" or "none"
	Names func(host string) bool // whether it permits a mail exchanger, in lower case
}

// Trust asks r about the records by which other servers recognise mail of the domains, and mail
// programs find this server: DKIM, DMARC, MTA-STS and SRV. ctx limits the time of all lookups
// together.
func Trust(ctx context.Context, r *net.Resolver, s Server) []Finding {
	c := &check{ctx: ctx, r: r, Server: s}
	for _, domain := range s.Domains {
		c.about(DKIM, func() { c.dkim(domain) })
		c.about(DMARC, func() { c.dmarc(domain) })
		c.about(MTASTS, func() { c.mtaSTS(domain) })
		c.about(SRV, func() { c.srv(domain) })
	}
	return c.findings
}

// texts looks up the TXT records of a name. The result is empty, without an error, if it has none.
func (c *check) texts(name string) ([]string, error) {
	texts, err := c.r.LookupTXT(c.ctx, name+".")
	if missing(err) {
		return nil, nil
	}
	return texts, err
}

// dkim checks that the public part of each key is in DNS (RFC 6376 §3.6). Without it, other servers
// count a signature as false.
func (c *check) dkim(domain addr.Domain) {
	name, keys := string(domain), 0
	show := fmt.Sprintf("'pillarbox admin dkim show %s' prints the record to add", domain)
	for _, key := range c.Keys {
		if key.Domain == domain {
			keys++
			c.key(key.record().Name, key.Value, show)
		}
	}
	switch {
	case keys > 0:
	case c.Signs:
		c.absent(fmt.Sprintf("'pillarbox admin dkim create %s' makes one; then add its record",
			domain),
			name, "has no DKIM key, so its mail is not signed")
	default:
		c.ok(name, "has no DKIM key, and none is needed: the server signs no mail to other servers")
	}
}

// key checks the record of one key.
func (c *check) key(at, value, show string) {
	texts, err := c.texts(at)
	switch found := strings.Join(texts, ""); {
	case err != nil:
		c.failed(at, "cannot look up its DKIM record", err)
	case len(texts) == 0:
		c.absent(show, at, "has no DKIM record; other servers cannot verify the signatures")
	case publicKey(found) != publicKey(value):
		c.warn(show, at, "the DKIM record has another key than the server; the signatures are wrong")
	default:
		c.ok(at, "the DKIM record has the server's key")
	}
}

// publicKey returns the tag p of a DKIM record, without white space.
func publicKey(record string) string {
	for tag := range strings.SplitSeq(record, ";") {
		if key, value, ok := strings.Cut(tag, "="); ok && strings.TrimSpace(key) == "p" {
			return strings.Join(strings.Fields(value), "")
		}
	}
	return ""
}

// dmarc checks that the domain says what to do with forged mail (RFC 7489). The record of a domain
// above it counts as well.
func (c *check) dmarc(domain addr.Domain) {
	add := "add this record, because large providers refuse or mark mail of a domain without one: " +
		dmarcRecord(domain).Zone
	for name := string(domain); strings.Contains(name, "."); _, name, _ = strings.Cut(name, ".") {
		record, count, err := c.findDMARC(name)
		switch {
		case err != nil:
			c.failed(string(domain), "cannot look up its DMARC record", err)
			return
		case count == 0:
			continue
		case count > 1:
			c.warn("remove all but one", "_dmarc."+name, "has %d DMARC records, so none counts",
				count)
			return
		}
		policy, err := dmarc.Parse(record)
		if err != nil {
			c.warn("correct the record", "_dmarc."+name, "DMARC %q cannot be parsed: %s", record,
				strings.TrimPrefix(err.Error(), "dmarc: "))
			return
		}
		c.ok(string(domain), "DMARC policy %q at _dmarc.%s", policy.Policy, name)
		return
	}
	c.absent(add, string(domain), "has no DMARC record")
}

// findDMARC returns the DMARC record of a name, and how many there are.
func (c *check) findDMARC(name string) (record string, count int, err error) {
	texts, err := c.texts("_dmarc." + name)
	for _, text := range texts {
		if text == "v=DMARC1" || strings.HasPrefix(text, "v=DMARC1;") ||
			strings.HasPrefix(text, "v=DMARC1 ") {
			record, count = text, count+1
		}
	}
	return record, count, err
}

// mtaSTS checks the domain's policy for servers that send to it, if it has one (RFC 8461). A wrong
// policy keeps mail away.
func (c *check) mtaSTS(domain addr.Domain) {
	name := string(domain)
	texts, err := c.texts("_mta-sts." + name)
	if err != nil {
		c.failed(name, "cannot look up its MTA-STS record", err)
		return
	}
	var records []string
	for _, text := range texts {
		if strings.HasPrefix(text, "v=STSv1;") {
			records = append(records, text)
		}
	}
	switch {
	case len(records) == 0:
		c.absent("", name, "has no MTA-STS policy, which is optional")
	case len(records) > 1:
		c.warn("remove all but one", name, "has %d MTA-STS records, so none counts", len(records))
	case c.Policy == nil:
		c.ok(name, "has the MTA-STS record %q; the policy was not fetched", records[0])
	default:
		c.stsPolicy(domain)
	}
}

func (c *check) stsPolicy(domain addr.Domain) {
	name, file := string(domain), "https://mta-sts."+string(domain)+"/.well-known/mta-sts.txt"
	policy, err := c.Policy(c.ctx, domain)
	if err != nil {
		c.warn("make the file available, or remove the record _mta-sts."+name, file,
			"the MTA-STS policy cannot be fetched: %v", err)
		return
	}
	records, err := c.r.LookupMX(c.ctx, name+".")
	if err != nil && !missing(err) {
		c.failed(name, "cannot look up its MX records", err)
		return
	}
	for _, record := range records {
		host := strings.ToLower(strings.TrimSuffix(record.Host, "."))
		if policy.Mode != "none" && !policy.Names(host) {
			c.warn(fmt.Sprintf("add \"mx: %s\" to the file and change the id in _mta-sts.%s", host,
				name),
				file, "the MTA-STS policy does not permit the mail exchanger %s", host)
			return
		}
	}
	c.ok(name, "the MTA-STS policy is in mode %q", policy.Mode)
}

// srv checks the records by which mail programs find the server (RFC 6186, RFC 8314). They are
// optional, but a wrong one misleads.
func (c *check) srv(domain addr.Domain) {
	var right, none []string
	for _, service := range c.Services {
		switch c.service(domain, c.srvRecord(domain, service)) {
		case Right:
			right = append(right, service.Label)
		case Missing:
			none = append(none, service.Label)
		default:
			continue
		}
		c.findings = c.findings[:len(c.findings)-1] // one sentence for all of them follows
	}
	if len(right) > 0 {
		c.ok(string(domain), "SRV records lead here: %s", strings.Join(right, ", "))
	}
	if len(none) > 0 {
		c.absent("", string(domain), "no SRV records, which are optional: %s", strings.Join(none, ", "))
	}
}

// service compares one SRV record with what is wanted, and returns the state of its finding.
func (c *check) service(domain addr.Domain, w Wanted) State {
	label, _, _ := strings.Cut(strings.TrimPrefix(w.Name, "_"), ".")
	_, records, err := c.r.LookupSRV(c.ctx, label, "tcp", string(domain)+".")
	found, want := ".", "." // port and target, or the target that says there is no service
	if err == nil && len(records) > 0 && records[0].Target != "." {
		found = strings.ToLower(fmt.Sprintf("%d %s", records[0].Port, records[0].Target))
	}
	if f := strings.Fields(w.Value); f[3] != "." { // priority, weight, port, target
		want = strings.ToLower(f[2] + " " + f[3])
	}
	switch {
	case missing(err) || err == nil && (len(records) == 0 || found == "." && want != "."):
		c.absent("", w.Name, "has no SRV record")
	case err != nil:
		c.failed(w.Name, "cannot look up its SRV record", err)
	case found == want:
		c.ok(w.Name, "the SRV record is right")
	default:
		c.warn("correct or remove it; this would be right: "+w.Zone, w.Name,
			"the SRV record leads to %s port %d", strings.TrimSuffix(records[0].Target, "."), records[0].Port)
	}
	return c.findings[len(c.findings)-1].State
}
