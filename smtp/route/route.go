// Package route decides how mail for a domain leaves: through the domain's mail exchangers, a smart
// host or an LMTP server.
//
// Start with Table.For, which returns the Route of a domain. A Route also holds its limits, its
// Schedule of retries and its Windows. The configuration builds the Table; the queue asks it when
// to try, and package remote how to connect. This package does no I/O.
package route

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth/oauth"
)

// Table holds all routes. It must not be changed once it is in use.
type Table struct {
	Routes  []Route
	Default Route // for domains that match no other route
}

// Route is one way for mail to leave, with all of its settings.
type Route struct {
	Name         string       // for logs and listings: as configured, or "default"
	Domains      []string     // "example.com" exactly, "*.example.com" all below it, "*" all
	SmartHost    []Host       // tried in this order; empty: the domain's mail exchangers
	DirectFirst  bool         // MX first, the smart host if that fails temporarily
	LMTP         bool         // SmartHost speaks LMTP (RFC 2033)
	Port         int          // for delivery by MX; 0 means 25
	Helo         bool         // HELO instead of EHLO, for very old servers
	TLS          TLSMode      // TLS from the first octet is part of Host
	User         string       // login name; "": no login
	PasswordFile string       // the first line is the password; mode 0600
	OAuth        oauth.Config // a token instead of the password, if it is enabled
	Mechanisms   []string     // SASL names in the order to try them; empty: all that are supported
	Masquerade   addr.Domain  // replaces hosted domains in MAIL FROM; "": no change
	EHLO         string       // our name in EHLO; "": the server's name
	Bind         netip.Addr   // local address of connections; zero: any
	Hold         bool         // keep mail until the destination asks for it (ETRN, ATRN)
	MTASTS       bool         // apply the domains' MTA-STS policies (RFC 8461)
	DANE         bool         // check certificates against TLSA records (RFC 7672)
	Schedule     Schedule
	Windows      Windows

	// Unresolved makes this route take the mail for hosted domains whose address does not exist here:
	// it is on another server.
	Unresolved bool

	Cost    int   // of several routes with the same pattern, the cheapest comes first
	MaxSize int64 // of a message, in octets; 0 means no limit

	Connections   int           // concurrent, to one destination; 0 means 100
	PerConnection int           // messages per connection; 0 means 20
	Recipients    int           // per transaction; more are split; 0 means 100
	Idle          time.Duration // maximum wait for a reply; 0 means 10 min
}

// TLSMode is the TLS policy of a route.
type TLSMode int

const (
	TLSOpportunistic TLSMode = iota // if offered and working; otherwise plaintext (RFC 7435)
	TLSOff                          // never
	TLSRequired                     // always; any certificate
	TLSVerified                     // always; certificate for the host name, from a known CA
)

func (m TLSMode) String() string {
	return [...]string{"opportunistic", "off", "required", "verified"}[m]
}

// ParseTLSMode parses the text of String. "" means TLSOpportunistic.
func ParseTLSMode(s string) (TLSMode, error) {
	for m := TLSOpportunistic; m <= TLSVerified; m++ {
		if s == m.String() {
			return m, nil
		}
	}
	if s == "" {
		return TLSOpportunistic, nil
	}
	return 0, fmt.Errorf("%q is not a TLS mode; use off, opportunistic, required or verified",
		s)
}

// MarshalText returns the text of String.
func (m TLSMode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText parses text as ParseTLSMode does.
func (m *TLSMode) UnmarshalText(text []byte) (err error) {
	*m, err = ParseTLSMode(string(text))
	return err
}

// For returns the route of a domain: the one that names it exactly, else the one with the longest
// matching "*." pattern, else one with "*", else the default. Of equals the one with the lowest cost
// wins, then the first. The caller must not change the result.
func (t *Table) For(domain addr.Domain) *Route {
	best, score := &t.Default, -1
	for i := range t.Routes {
		r := &t.Routes[i]
		if s := r.match(domain); s > score || s == score && s >= 0 && r.Cost < best.Cost {
			best, score = r, s
		}
	}
	return best
}

// All returns the routes of a domain with the same pattern, the cheapest first. The first one is
// that of For. The others are for when it fails.
func (t *Table) All(domain addr.Domain) []*Route {
	first := t.For(domain)
	all, score := []*Route{first}, first.match(domain)
	if first == &t.Default {
		return all
	}
	for i := range t.Routes {
		if r := &t.Routes[i]; r != first && r.match(domain) == score {
			all = append(all, r)
		}
	}
	slices.SortStableFunc(all, func(a, b *Route) int { return cmp.Compare(a.Cost, b.Cost) })
	return all
}

// match returns how well the route's best pattern fits a domain, or -1.
func (r *Route) match(domain addr.Domain) int {
	score := -1
	for _, pattern := range r.Domains {
		score = max(score, match(pattern, string(domain)))
	}
	return score
}

// exact outranks every suffix.
const exact = 1 << 16

// match returns how well a pattern fits a domain, or -1 if it does not.
func match(pattern, domain string) int {
	switch suffix, wild := strings.CutPrefix(pattern, "*"); {
	case !wild && strings.EqualFold(pattern, domain):
		return exact
	case !wild:
		return -1
	case suffix == "":
		return 0
	case suffix[0] == '.' && len(domain) > len(suffix) &&
		strings.EqualFold(domain[len(domain)-len(suffix):], suffix):
		return len(suffix)
	}
	return -1
}

// ParsePattern checks an entry of Route.Domains and returns its canonical form.
func ParsePattern(s string) (string, error) {
	if s == "*" {
		return s, nil
	}
	suffix, wild := strings.CutPrefix(s, "*.")
	if strings.Contains(suffix, "*") {
		return "", fmt.Errorf("%q: a star may stand only as the whole first label, as in *.example.com",
			s)
	}
	domain, err := addr.ParseDomain(suffix)
	if err != nil {
		return "", fmt.Errorf("%q: %w", s, err)
	}
	if wild {
		return "*." + string(domain), nil
	}
	return string(domain), nil
}

// Destination returns the key under which connections and back-off are shared: the domain if its
// own mail exchangers are used, else the route's smart host.
func (r *Route) Destination(domain addr.Domain) string {
	if len(r.SmartHost) == 0 || r.DirectFirst {
		return string(domain)
	}
	return "route:" + r.Name
}
