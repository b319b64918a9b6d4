package dnscheck

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp/dkim"
)

// Wanted is a record to publish for a domain.
type Wanted struct {
	Record Record `json:"record"` // what it belongs to, such as SPF
	Name   string `json:"name"`   // without the final dot
	Type   string `json:"type"`   // in DNS, such as TXT
	// Value is written as in a zone file, but a text has no quotes and is in one piece.
	Value    string `json:"value"`
	Zone     string `json:"zone"` // the line of a zone file
	For      string `json:"for"`  // one of Purposes
	Optional bool   `json:"optional"`
}

// What records are for.
const (
	forAddress = "Mail programs and other servers find this server by its name."
	forPrivate = "Mail programs in the office find this server by its name. In the public DNS, write " +
		"the public address of the router instead."
	forPTR  = "Many servers refuse mail from an address without a name. Ask your provider to set it."
	forMX   = "Other servers send the mail of the domain here."
	forSPF  = "Other servers learn that this server may send mail of the domain."
	forHost = "Other servers learn that your provider's servers may send mail of the domain. Your " +
		"provider says what to include."
	forDKIM         = "Other servers verify the signature of the domain's mail with it."
	forDMARC        = "Large providers refuse or mark mail of a domain without it."
	forSRV          = "Mail programs find the service by the domain alone."
	forNoIMAP       = "Mail programs learn that there is no IMAP, and do not try it."
	forAutodiscover = "Outlook finds its settings by the domain alone."
	forAutoconfig   = "Thunderbird and Evolution find their settings by the domain alone."
	forTLSRPT       = "Other servers report to this address when TLS fails."
	forMTASTS       = "Other servers insist on TLS. Publish it only if a web server has the policy " +
		"file and this server has a certificate that all trust."
)

// Purposes are all values of Wanted.For, for a translation.
func Purposes() []string {
	return []string{
		forAddress, forPrivate, forPTR, forMX, forSPF, forHost, forDKIM, forDMARC, forSRV, forNoIMAP,
		forAutodiscover, forAutoconfig, forTLSRPT, forMTASTS,
	}
}

// Records returns the records to publish for a domain, those that are needed first. The addresses of
// the server are those of the machine: behind a router, the public one is not known.
func Records(s Server, domain addr.Domain) []Wanted {
	all := slices.Concat(s.addressRecords(), []Wanted{s.mxRecord(domain), s.spfRecord(domain)})
	for _, key := range s.Keys {
		if key.Domain == domain {
			all = append(all, key.record())
		}
	}
	all = append(all, dmarcRecord(domain))
	for _, service := range s.Services {
		all = append(all, s.srvRecord(domain, service))
	}
	return append(all, s.optionalRecords(domain)...)
}

// record makes a Wanted of any type but TXT.
func record(r Record, name, kind, value, purpose string) Wanted {
	return Wanted{Record: r, Name: name, Type: kind, Value: value, For: purpose,
		Zone: fmt.Sprintf("%s. IN %s %s", name, kind, value)}
}

// text makes a Wanted of the type TXT.
func text(r Record, name, value, purpose string) Wanted {
	return Wanted{Record: r, Name: name, Type: "TXT", Value: value, For: purpose,
		Zone: dkim.Record{Name: name, Value: value}.Zone()}
}

func optional(w Wanted) Wanted {
	w.Optional = true
	return w
}

// addressRecords are those of the server's name: a public address, or one of the office.
func (s Server) addressRecords() (all []Wanted) {
	name := string(s.Hostname)
	of := func(fits func(netip.Addr) bool) (ip netip.Addr, ok bool) {
		if i := slices.IndexFunc(s.Addresses, fits); i >= 0 {
			return s.Addresses[i], true
		}
		return ip, false
	}
	public4, ok4 := of(func(ip netip.Addr) bool { return ip.Is4() && isPublic(ip) })
	private4, okPrivate := of(netip.Addr.Is4)
	public6, ok6 := of(func(ip netip.Addr) bool { return ip.Is6() && isPublic(ip) })
	switch {
	case ok4:
		all = append(all, record(Address, name, "A", public4.String(), forAddress))
	case okPrivate:
		all = append(all, record(Address, name, "A", private4.String(), forPrivate))
	}
	if ok6 {
		w := record(AAAA, name, "AAAA", public6.String(), forAddress)
		w.Optional = len(all) > 0
		all = append(all, w)
	}
	if ok4 && !s.SmartHost {
		all = append(all, record(PTR, reverseName(public4), "PTR", name+".", forPTR))
	}
	return all
}

// reverseName is the name of an IPv4 address's PTR record (RFC 1035 §3.5).
func reverseName(ip netip.Addr) string {
	raw := ip.As4()
	slices.Reverse(raw[:])
	return netip.AddrFrom4(raw).String() + ".in-addr.arpa"
}

func (s Server) mxRecord(domain addr.Domain) Wanted {
	return record(MX, string(domain), "MX", "10 "+string(s.Hostname)+".", forMX)
}

func (s Server) spfRecord(domain addr.Domain) Wanted {
	if s.SmartHost {
		return text(SPF, string(domain), "v=spf1 include:… -all", forHost)
	}
	return text(SPF, string(domain), "v=spf1 mx -all", forSPF)
}

func (k Key) record() Wanted {
	return text(DKIM, k.Selector+"._domainkey."+string(k.Domain), k.Value, forDKIM)
}

func dmarcRecord(domain addr.Domain) Wanted {
	return text(DMARC, "_dmarc."+string(domain), "v=DMARC1; p=none", forDMARC)
}

// srvRecord leads mail programs to a service. Those with TLS from the begin are preferred (RFC 8314
// §5.1).
func (s Server) srvRecord(domain addr.Domain, service Service) Wanted {
	priority := 10
	if strings.HasSuffix(service.Label, "s") {
		priority = 0
	}
	value := fmt.Sprintf("%d 1 %d %s.", priority, service.Port, s.Hostname)
	return optional(record(SRV, srvName(service.Label, domain), "SRV", value, forSRV))
}

func srvName(label string, domain addr.Domain) string {
	return "_" + label + "._tcp." + string(domain)
}

// absent are the services that no server of ours has. A target "." says so (RFC 2782).
func absent() []string { return []string{"imap", "imaps"} }

// optionalRecords help mail programs, and ask other servers for something.
func (s Server) optionalRecords(domain addr.Domain) (all []Wanted) {
	name, host := string(domain), string(s.Hostname)+"."
	for _, label := range absent() {
		all = append(all, record(SRV, srvName(label, domain), "SRV", "0 0 0 .", forNoIMAP))
	}
	if s.Page {
		all = append(all,
			record(SRV, srvName(autodiscover, domain), "SRV", "0 0 443 "+host, forAutodiscover),
			record(Discovery, autodiscover+"."+name, "CNAME", host, forAutodiscover),
			record(Discovery, "autoconfig."+name, "CNAME", host, forAutoconfig))
	}
	all = append(all,
		text(TLSRPT, "_smtp._tls."+name, "v=TLSRPTv1; rua=mailto:postmaster@"+name, forTLSRPT),
		text(MTASTS, "_mta-sts."+name, "v=STSv1; id=1", forMTASTS))
	for i := range all {
		all[i].Optional = true
	}
	return all
}

const autodiscover = "autodiscover"
