package verify

import (
	"errors"
	"slices"
	"strings"

	"github.com/emersion/go-msgauth/dmarc"
	"golang.org/x/net/publicsuffix"

	"pillarbox/mailstore/addr"
)

// maxAuthors is the maximum number of From domains that are checked. Legitimate mail has one.
const maxAuthors = 3

// policy is the DMARC policy of one domain in From.
type policy struct {
	domain addr.Domain
	record *dmarc.Record // nil: none
	parent bool          // the record belongs to the organizational domain
	failed Value         // TempError or PermError if the lookup failed, otherwise ""
}

// findPolicies discovers the policy of each domain in From (RFC 7489 §6.6.3).
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

// organization returns the organizational domain, the one that was registered (RFC 7489 §3.2).
func organization(domain addr.Domain) addr.Domain {
	registered, err := publicsuffix.EffectiveTLDPlusOne(string(domain))
	if err != nil {
		return domain
	}
	return addr.Domain(registered)
}

// evaluate implements RFC 7489 §6.6.2. With several domains in From, the worst result counts.
func evaluate(policies []policy, spf SPF, signatures []DKIM) DMARC {
	worst := DMARC{Value: None, Disposition: "none"}
	for i, p := range policies {
		if d := p.evaluate(spf, signatures); i == 0 || worse(d, worst) {
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

func (p policy) evaluate(spf SPF, signatures []DKIM) DMARC {
	d := DMARC{Value: None, Domain: p.domain, Disposition: "none"}
	switch {
	case p.failed != "":
		d.Value = p.failed
		return d
	case p.record == nil:
		return d
	}
	d.Policy = p.requestedPolicy()
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
			// If reading the message failed, no signature is known, nor the domains that signed.
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

// requestedPolicy returns the policy for this domain. With a percentage of 0 the domain is only
// testing, and the next milder policy applies. Other percentages are ignored; the successor of RFC
// 7489 drops them.
func (p policy) requestedPolicy() string {
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

// aligned implements identifier alignment (RFC 7489 §3.1).
func aligned(from, other addr.Domain, mode dmarc.AlignmentMode) bool {
	switch {
	case other == "" || other.IsLiteral():
		return false
	case strings.EqualFold(string(from), string(other)):
		return true
	}
	return mode != dmarc.AlignmentStrict && organization(from) == organization(other)
}
