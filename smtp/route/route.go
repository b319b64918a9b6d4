// Package route decides which way mail for a domain leaves: by the domain's own
// mail exchangers, by a smart host, or into an LMTP server; when, how often it
// is tried again, and under which limits. It does no I/O.
package route

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"pillarbox/mailstore/addr"
)

// Table is all ways out. It is not changed after it was made.
type Table struct {
	Routes  []Route
	Default Route // where no other matches
}

// Route is one way out, with everything that is set for it.
type Route struct {
	Name         string      // for logs and listings: as configured, "default"
	Domains      []string    // "example.com" exactly, "*.example.com" all below it, "*" everything
	SmartHost    []Host      // tried in this order; empty: the domain's MX records
	DirectFirst  bool        // MX first, the smart host where that fails for now or cannot be reached
	LMTP         bool        // SmartHost speaks LMTP (RFC 2033)
	Port         int         // for delivery by MX; 0 means 25
	Helo         bool        // HELO instead of EHLO, for ancient hosts
	TLS          TLSMode     // TLS from the first octet is part of Host
	User         string      // to log in with; "": no log-in
	PasswordFile string      // its first line is the password; mode 0600
	Masquerade   addr.Domain // replaces hosted domains in MAIL FROM; "": they stay
	EHLO         string      // what we call ourselves; "": the server's name
	Bind         netip.Addr  // local address of connections; zero: any
	Hold         bool        // for remote-triggered delivery (ETRN, ATRN): kept until asked for
	MTASTS       bool        // policies of the domains are asked for and kept (RFC 8461)
	DANE         bool        // TLSA records are asked for and kept (RFC 7672)
	Schedule     Schedule
	Windows      Windows

	Connections   int           // at a time to one destination; 0 means 100
	PerConnection int           // messages; then a new connection; 0 means 20
	Recipients    int           // of one message in one transaction, split above; 0 means 100
	Idle          time.Duration // the longest wait for a reply; 0 means 10 min
}

// TLSMode is how much a connection has to be protected.
type TLSMode int

const (
	TLSOpportunistic TLSMode = iota // where it is offered and works; plaintext otherwise (RFC 7435)
	TLSOff                          // never
	TLSRequired                     // always; any certificate
	TLSVerified                     // always; with a certificate of a known authority for the host's name
)

func (m TLSMode) String() string {
	return [...]string{"opportunistic", "off", "required", "verified"}[m]
}

// ParseTLSMode reads what String writes; "" is TLSOpportunistic.
func ParseTLSMode(s string) (TLSMode, error) {
	for m := TLSOpportunistic; m <= TLSVerified; m++ {
		if s == m.String() {
			return m, nil
		}
	}
	if s == "" {
		return TLSOpportunistic, nil
	}
	return 0, fmt.Errorf("%q is no way to use TLS; there are off, opportunistic, required and verified", s)
}

// MarshalText writes the mode as a word.
func (m TLSMode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (m *TLSMode) UnmarshalText(text []byte) (err error) {
	*m, err = ParseTLSMode(string(text))
	return err
}

// For finds the route of a domain: the one that names it exactly, else the one
// with the longest "*." pattern above it, else one for "*", else the default.
// Of equals the first counts. The result is the table's own: not to be changed.
func (t *Table) For(domain addr.Domain) *Route {
	best, score := &t.Default, -1
	for i := range t.Routes {
		for _, pattern := range t.Routes[i].Domains {
			if s := match(pattern, string(domain)); s > score {
				best, score = &t.Routes[i], s
			}
		}
	}
	return best
}

// exact is better than any suffix.
const exact = 1 << 16

// match is how well a pattern fits a domain; -1: it does not.
func match(pattern, domain string) int {
	switch suffix, wild := strings.CutPrefix(pattern, "*"); {
	case !wild && strings.EqualFold(pattern, domain):
		return exact
	case !wild:
		return -1
	case suffix == "":
		return 0
	case suffix[0] == '.' && len(domain) > len(suffix) && strings.EqualFold(domain[len(domain)-len(suffix):], suffix):
		return len(suffix)
	}
	return -1
}

// ParsePattern checks an entry of Route.Domains and brings it into normal form.
func ParsePattern(s string) (string, error) {
	if s == "*" {
		return s, nil
	}
	suffix, wild := strings.CutPrefix(s, "*.")
	if strings.Contains(suffix, "*") {
		return "", fmt.Errorf("%q: a star may stand only as the whole first label, as in *.example.com", s)
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

// Destination is the key of what shares connections and back-off: the domain
// where its own mail exchangers are used, else the route's smart host.
func (r *Route) Destination(domain addr.Domain) string {
	if len(r.SmartHost) == 0 || r.DirectFirst {
		return string(domain)
	}
	return "route:" + r.Name
}
