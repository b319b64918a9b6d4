package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
)

// MarkHeader is the header field that names the list with the client's address (Domino's
// $DNSBLSite). The server removes such fields that come with a message.
const MarkHeader = "X-DNSBL-Site"

// DNSBLAction is what happens to mail from a listed client.
type DNSBLAction string

const (
	DNSBLLog    DNSBLAction = "log"    // the listing is logged
	DNSBLMark   DNSBLAction = "mark"   // and the message gets a MarkHeader field
	DNSBLReject DNSBLAction = "reject" // the recipients are refused
)

// DNSBL is Domino's and Exchange's filter of clients by lists in DNS (RFC 5782). It asks the
// private list, then the whitelist, then the sites.
type DNSBL struct {
	Deny   HostList // the private list
	Allow  HostList // the whitelist: no site is asked about these hosts
	Sites  []DNSBLSite
	Action Setting[DNSBLAction]
	Text   string      // of the refusal; see DefaultDNSBLText, which "" means
	Exempt AddressList // recipients that a listed client may send to
}

// DefaultDNSBLText is the refusal of a listed client: %i is its address, %s is the site.
const DefaultDNSBLText = "Mail from %i is not accepted: it is listed by %s"

// privateList stands for the site of the entries in DNSBL.Deny.
const privateList = "this server"

// DNSBLSite is a DNS list, with the answers that count.
type DNSBLSite struct {
	Line  Line     // as written in the configuration
	Zone  string   // lower case, without the final dot
	Codes HostList // the answers that count; empty means all that mean "listed"
}

const dnsblHint = `write a list's domain, such as "zen.example", or with the answers that count: "zen.example=127.0.0.2", "zen.example=127.0.0.4-7"`

// ParseDNSBLSite reads "zen.example" or "zen.example=127.0.0.2". After the sign stands an address,
// a network or a range within 127.0.0.0/8, as in a HostList. The error is an *EntryError.
func ParseDNSBLSite(line Line) (DNSBLSite, error) {
	zone, codes, coded := strings.Cut(strings.TrimSpace(line.Text), "=")
	domain, err := addr.ParseDomain(strings.TrimSuffix(strings.TrimSpace(zone), "."))
	if err != nil || domain.IsLiteral() || !strings.Contains(string(domain), ".") || len(domain) > maxZone {
		return DNSBLSite{}, &EntryError{line, "is not a DNS list", dnsblHint}
	}
	if ip, err := netip.ParseAddr(string(domain)); err == nil {
		return DNSBLSite{}, &EntryError{line, fmt.Sprintf("%s is an address, not a DNS list", ip), dnsblHint}
	}
	site := DNSBLSite{Line: line, Zone: string(domain)}
	if !coded {
		return site, nil
	}
	var errs []error
	site.Codes, errs = ParseHosts([]Line{{Text: "[" + strings.Trim(codes, "[] ") + "]", Origin: line.Origin}}, nil)
	if errs != nil {
		return DNSBLSite{}, &EntryError{line, fmt.Sprintf("%q is not an answer of a list", codes), dnsblHint}
	}
	for _, s := range site.Codes.Spans() {
		if s.All || s.Low[0] != 127 || s.High[0] != 127 || len(s.Low) != 4 {
			return DNSBLSite{}, &EntryError{line, fmt.Sprintf("%q is not an answer of a list: they are all in 127.0.0.0/8", codes), dnsblHint}
		}
	}
	return site, nil
}

// maxZone leaves space for the 32 nibbles of an IPv6 address, with dots, in a name of 253 octets.
const maxZone = 253 - 64

// ListState is the answer of a DNSBL site about a client.
type ListState string

const (
	ListedThere  ListState = "listed"
	ListedNot    ListState = "not listed"
	ListedFailed ListState = "failed" // no answer, or the site refuses our queries
)

// Listing is the answer of one DNSBL site about the client.
type Listing struct {
	Site   string       `json:"site"` // DNSBLSite.Zone
	State  ListState    `json:"state"`
	Answer []netip.Addr `json:"answer,omitempty"` // in 127.0.0.0/8, if the state is ListedThere
	Text   string       `json:"text,omitempty"`   // the reason, printable ASCII; "" means none
}

// Zones returns the zones to ask, each once.
func (b *DNSBL) Zones() []string {
	var zones []string
	seen := map[string]bool{}
	for _, s := range b.Sites {
		if !seen[s.Zone] {
			seen[s.Zone] = true
			zones = append(zones, s.Zone)
		}
	}
	return zones
}

// NeedsDNSBL reports whether Rcpt needs the answers of the DNSBL sites, and they have not been
// asked.
func (r *Rules) NeedsDNSBL(f *Facts) bool {
	b := &r.DNSBL
	if len(b.Sites) == 0 || f.Listed != nil || f.isLocalSender() || r.isOurs(f) {
		return false
	}
	if _, denied := b.Deny.Match(f.Remote, f.name()); denied {
		return false
	}
	_, allowed := b.Allow.Match(f.Remote, f.name())
	return !allowed
}

// isOurs reports whether the host is one of our own, or has an address that no DNSBL lists, such
// as one of a LAN. No site is asked about it.
func (r *Rules) isOurs(f *Facts) bool {
	if ip := f.Remote.Unmap(); !ip.IsGlobalUnicast() || ip.IsPrivate() {
		return true
	}
	if _, ours := r.LogIns.PlaintextNetworks.Match(f.Remote, f.name()); ours {
		return true
	}
	_, trusted := r.Senders.TrustedHosts.Match(f.Remote, f.name())
	return trusted
}

// dnsbl is the filter, at RCPT. It spares users who have logged in, and devices.
func (r *Rules) dnsbl(d *Decision, f *Facts) bool {
	if r.DNSBL.Deny.Len() == 0 && len(r.DNSBL.Sites) == 0 || f.isLocalSender() {
		return true
	}
	site, line := r.listed(d, f)
	if site == "" {
		return true
	}
	action := r.DNSBL.Action
	if action.Value == DNSBLReject {
		if !r.exemptRecipient(d, f) {
			d.step("dnsbl.action", action.Origin, string(action.Value), "refuses mail from listed clients")
			return d.refuse(r.listedReply(f, site), r.listedRemedy(f, line))
		}
	} else {
		d.step("dnsbl.action", action.Origin, string(action.Value), "accepts mail from listed clients")
	}
	d.Console = "Connecting host " + f.Remote.String() + " is listed by " + site
	if action.Value == DNSBLMark {
		d.Mark = site + " (" + f.Remote.String() + ")"
	}
	return true
}

// listed returns the first site that lists the client, and the line that names the site; "" means
// none.
func (r *Rules) listed(d *Decision, f *Facts) (site string, by Line) {
	b := &r.DNSBL
	if line, ok := b.Deny.Match(f.Remote, f.name()); ok {
		d.step("dnsbl.private_deny", line.Origin, line.Text, matches)
		return privateList, line
	}
	if line, ok := b.Allow.Match(f.Remote, f.name()); ok {
		d.step("dnsbl.private_allow", line.Origin, line.Text, matches)
		return "", Line{}
	}
	if r.isOurs(f) {
		return "", Line{}
	}
	for i := range b.Sites {
		s := &b.Sites[i]
		if s.lists(d, f) {
			return s.Zone, s.Line
		}
	}
	return "", Line{}
}

// lists reports whether the site lists the client with an answer that counts.
func (s *DNSBLSite) lists(d *Decision, f *Facts) bool {
	i := slices.IndexFunc(f.Listed, func(l Listing) bool { return l.Site == s.Zone })
	if i < 0 || f.Listed[i].State == ListedFailed {
		d.step("dnsbl.sites", s.Line.Origin, s.Line.Text, "gave no answer")
		return false
	}
	l := &f.Listed[i]
	for _, answer := range l.Answer {
		if s.counts(answer) {
			outcome := "lists " + f.Remote.String() + " as " + answer.String()
			if l.Text != "" {
				outcome += ": " + l.Text
			}
			d.step("dnsbl.sites", s.Line.Origin, s.Line.Text, outcome)
			return true
		}
	}
	d.step("dnsbl.sites", s.Line.Origin, s.Line.Text, "does not list "+f.Remote.String())
	return false
}

func (s *DNSBLSite) counts(answer netip.Addr) bool {
	if s.Codes.Len() == 0 {
		return true
	}
	_, ok := s.Codes.Match(answer, "")
	return ok
}

// exemptRecipient reports whether listed clients may send to the recipient too. They may send to
// the postmaster (RFC 5321 §4.5.1), so that they can ask why they are listed.
func (r *Rules) exemptRecipient(d *Decision, f *Facts) bool {
	if f.toPostmaster() {
		d.step("dnsbl.exempt", "", f.To.String(), isExempt)
		return true
	}
	line, ok := r.DNSBL.Exempt.Match(f.To)
	if ok {
		d.step("dnsbl.exempt", line.Origin, line.Text, isExempt)
	}
	return ok
}

func (r *Rules) listedReply(f *Facts, site string) *smtp.Reply {
	text := r.DNSBL.Text
	if text == "" {
		text = DefaultDNSBLText
	}
	return smtp.NewReply(550, [3]int{5, 7, 1}, "%s", strings.NewReplacer("%i", f.Remote.String(), "%s", site).Replace(text))
}

func (r *Rules) listedRemedy(f *Facts, line Line) string {
	host := f.Remote.String()
	if _, private := r.DNSBL.Deny.Match(f.Remote, f.name()); private {
		return "take \"" + line.Text + "\" (" + line.Origin + ") out of dnsbl.private_deny, or add \"" + f.To.String() + "\" to dnsbl.exempt"
	}
	return "add \"" + host + "\" to dnsbl.private_allow, or \"" + f.To.String() + "\" to dnsbl.exempt"
}
