package verify

import (
	"errors"
	"slices"
	"strings"

	"github.com/emersion/go-msgauth/dmarc"
	"golang.org/x/net/publicsuffix"

	"pillarbox/mailstore/addr"
)

// maxAuthors is how many domains in From are looked at. Honest mail has one.
const maxAuthors = 3

// policy is what DNS says of one domain in From.
type policy struct {
	domain addr.Domain
	record *dmarc.Record // nil: none
	parent bool          // the record is that of the organizational domain
	failed Value         // TempError or PermError where it could not be had; "" otherwise
}

// findPolicies is RFC 7489 §6.6.3, for each domain in From.
func findPolicies(dns *lookups, from []addr.Address) []policy {
	var found []policy
	for _, a := range from {
		known := slices.ContainsFunc(found, func(p policy) bool { return p.domain == a.Domain })
		switch {
		case a.Domain == "" || a.Domain.IsLiteral() || known:
		case len(found) == maxAuthors:
			return append(found, policy{domain: a.Domain, failed: PermError})
		default:
			found = append(found, findPolicy(dns, a.Domain))
		}
	}
	return found
}

func findPolicy(dns *lookups, domain addr.Domain) policy {
	p := policy{domain: domain}
	record, err := lookUp(dns, domain)
	if parent := organization(domain); errors.Is(err, dmarc.ErrNoPolicy) && parent != domain {
		p.parent = true
		record, err = lookUp(dns, parent)
	}
	switch {
	case err == nil:
		p.record = record
	case dmarc.IsTempFail(err):
		p.failed = TempError
	case !errors.Is(err, dmarc.ErrNoPolicy):
		p.failed = PermError
	}
	return p
}

func lookUp(dns *lookups, domain addr.Domain) (*dmarc.Record, error) {
	return dmarc.LookupWithOptions(string(domain), &dmarc.LookupOptions{LookupTXT: dns.txt})
}

// organization is the domain that somebody registered (RFC 7489 §3.2).
func organization(domain addr.Domain) addr.Domain {
	registered, err := publicsuffix.EffectiveTLDPlusOne(string(domain))
	if err != nil {
		return domain
	}
	return addr.Domain(registered)
}

// judge is RFC 7489 §6.6.2. Of several domains in From, the one that fares worst
// counts.
func judge(policies []policy, spf SPF, signatures []DKIM) DMARC {
	worst := DMARC{Value: None, Disposition: "none"}
	for i, p := range policies {
		if d := p.judge(spf, signatures); i == 0 || worse(d, worst) {
			worst = d
		}
	}
	return worst
}

func worse(a, b DMARC) bool {
	rank := func(d DMARC) int {
		disposition := slices.Index([]string{"none", "quarantine", "reject"}, d.Disposition)
		value := slices.Index([]Value{Pass, None, PermError, TempError, Fail}, d.Value)
		return 10*disposition + value
	}
	return rank(a) > rank(b)
}

func (p policy) judge(spf SPF, signatures []DKIM) DMARC {
	d := DMARC{Value: None, Domain: p.domain, Disposition: "none"}
	switch {
	case p.failed != "":
		d.Value = p.failed
		return d
	case p.record == nil:
		return d
	}
	d.Policy = p.asksFor()
	var unknown bool
	if aligned(p.domain, spf.Domain, p.record.SPFAlignment) {
		if spf.Value == Pass {
			d.Value = Pass
			return d
		}
		unknown = spf.Value == TempError
	}
	for _, s := range signatures {
		if !aligned(p.domain, s.Domain, p.record.DKIMAlignment) {
			// A reading that failed says nothing about any signature, not even whose they are.
			unknown = unknown || s.Domain == "" && s.Value == TempError
			continue
		}
		if s.Value == Pass {
			d.Value = Pass
			return d
		}
		unknown = unknown || s.Value == TempError
	}
	if unknown {
		d.Value = TempError
		return d
	}
	d.Value, d.Disposition = Fail, d.Policy
	return d
}

// asksFor is the policy for this domain. A percentage of 0 says that it is only
// being tried, and asks for the next milder one; others are for those who count,
// and the successor of RFC 7489 drops them.
func (p policy) asksFor() string {
	asked := p.record.Policy
	if p.parent && p.record.SubdomainPolicy != "" {
		asked = p.record.SubdomainPolicy
	}
	if p.record.Percent != nil && *p.record.Percent == 0 {
		switch asked {
		case dmarc.PolicyReject:
			asked = dmarc.PolicyQuarantine
		case dmarc.PolicyQuarantine:
			asked = dmarc.PolicyNone
		}
	}
	return string(asked)
}

// aligned is RFC 7489 §3.1.
func aligned(from, other addr.Domain, mode dmarc.AlignmentMode) bool {
	switch {
	case other == "" || other.IsLiteral():
		return false
	case strings.EqualFold(string(from), string(other)):
		return true
	}
	return mode != dmarc.AlignmentStrict && organization(from) == organization(other)
}
