package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp/route"
)

// errDANE means that no TLSA record matches.
var errDANE = errors.New("its certificate does not match the TLSA record in DNS")

// requiredSecurity returns the security for a connection to an exchanger: that of the route, or
// more by DANE, or more by the domain's MTA-STS policy if there is no DANE (RFC 8461 §2). A failure
// means that the host must not be used.
func (r *Remote) requiredSecurity(ctx context.Context, rt *route.Route, domain addr.Domain,
	policy *stsPolicy, x exchanger) (security, *failure) {
	s := security{mode: rt.TLS}
	if rt.TLS == route.TLSOff {
		return s, nil
	}
	if rt.DANE && x.secure {
		records, found, err := r.lookUpTLSA(ctx, x.host, mxPort(rt))
		switch {
		case err != nil:
			return s, unreachable([3]int{4, 7, 5}, "DNS did not answer for the TLSA record of %s",
				x.host)
		case len(records) > 0:
			return security{mode: route.TLSRequired, by: "DANE", tlsa: records}, nil
		case found: // RFC 7672 §2.2: no usable record, but TLS is required
			s.mode, s.by = max(s.mode, route.TLSRequired), "DANE"
		}
	}
	if policy == nil || policy.mode == "none" {
		return s, nil
	}
	named := policy.names(x.host)
	switch {
	case policy.mode == "testing":
		if !named {
			r.log.Warn("mail server not permitted by an MTA-STS policy in testing mode",
				"domain", domain, "server", x.host)
		}
	case !named:
		return s, unreachable([3]int{4, 7, 5}, "%s is not permitted by the MTA-STS policy of %s",
			x.host, domain)
	default:
		s.mode, s.by = route.TLSVerified, "MTA-STS"
	}
	return s, nil
}

// secureMX looks up signed MX records. It returns nil if they are unsigned or missing, or if DNS
// does not answer. A domain without MX but with signed addresses is its own exchanger.
func (r *Remote) secureMX(ctx context.Context, domain addr.Domain) []exchanger {
	answer, err := r.ask(ctx, string(domain), dns.TypeMX)
	if err != nil || !answer.AuthenticatedData {
		return nil
	}
	var found []exchanger
	for _, record := range answer.Answer {
		if mx, ok := record.(*dns.MX); ok {
			host := strings.ToLower(strings.TrimSuffix(mx.Mx, "."))
			found = append(found, exchanger{host: host, preference: mx.Preference, secure: true})
		}
	}
	if found == nil && answer.Rcode == dns.RcodeSuccess {
		found = []exchanger{{host: string(domain), secure: true, implicit: true}}
	}
	return found
}

// lookUpTLSA returns the usable TLSA records of a host (RFC 7672 §3.1). found reports whether there
// are signed records of any kind.
func (r *Remote) lookUpTLSA(ctx context.Context, host string, port uint16) (
	usable []*dns.TLSA, found bool, err error,
) {
	// Do not ask for TLSA in an unsigned zone: some name servers fail on the query (RFC 7672
	// §2.2.2).
	signed := false
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		answer, err := r.ask(ctx, host, kind)
		if err != nil {
			return nil, false, err
		}
		if signed = answer.AuthenticatedData; signed || len(answer.Answer) > 0 {
			break
		}
	}
	if !signed {
		return nil, false, nil
	}
	answer, err := r.ask(ctx, "_"+strconv.Itoa(int(port))+"._tcp."+host, dns.TypeTLSA)
	if err != nil || !answer.AuthenticatedData {
		return nil, false, err
	}
	for _, record := range answer.Answer {
		t, ok := record.(*dns.TLSA)
		if !ok {
			continue
		}
		found = true
		if (t.Usage == 2 || t.Usage == 3) && t.Selector <= 1 && t.MatchingType <= 2 {
			usable = append(usable, t)
		}
	}
	return usable, found, nil
}

// ask sends one query to a validating resolver and trusts its validation, so the resolver must be
// local and trusted. Errors are those of the resolver. A name that does not exist is an answer.
func (r *Remote) ask(ctx context.Context, name string, kind uint16) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	question := new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)
	question.AuthenticatedData = true
	question.SetEdns0(1232, true)
	var failed error = errors.New("no DNS server is configured")
	for _, server := range r.dnsServers() {
		client := &dns.Client{Timeout: dnsTimeout / 4}
		answer, _, err := client.ExchangeContext(ctx, question, server)
		if err == nil && answer.Truncated {
			client.Net = "tcp"
			answer, _, err = client.ExchangeContext(ctx, question, server)
		}
		if err == nil && (answer.Rcode == dns.RcodeSuccess || answer.Rcode == dns.RcodeNameError) {
			return answer, nil
		}
		if failed = err; err == nil {
			failed = errors.New("DNS answers " + dns.RcodeToString[answer.Rcode])
		}
	}
	return nil, failed
}

func (r *Remote) dnsServers() []string {
	if len(r.opts.DNS) > 0 {
		return r.opts.DNS
	}
	system, err := dns.ClientConfigFromFile("/etc/resolv.conf")
	if err != nil {
		return nil
	}
	servers := slices.Clone(system.Servers)
	for i := range servers {
		servers[i] = net.JoinHostPort(servers[i], system.Port)
	}
	return servers
}

// verifyDANE checks a certificate chain against the records (RFC 7672 §3.1). A DANE-EE record names
// the server's own key, and the rest of its certificate does not matter. A DANE-TA record names a
// CA in the chain.
func verifyDANE(records []*dns.TLSA, cs tls.ConnectionState) error {
	chain := cs.PeerCertificates
	for _, record := range records {
		if record.Usage == 3 {
			if len(chain) > 0 && record.Verify(chain[0]) == nil {
				return nil
			}
			continue
		}
		for i, authority := range chain {
			if record.Verify(authority) == nil && chains(chain, i, cs.ServerName) {
				return nil
			}
		}
	}
	return errDANE
}

// chains reports whether the certificate at index i issued the server's certificate, and whether
// that is valid for name.
func chains(chain []*x509.Certificate, i int, name string) bool {
	opts := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(),
		DNSName: name}
	opts.Roots.AddCert(chain[i])
	for _, between := range chain[1:] {
		opts.Intermediates.AddCert(between)
	}
	_, err := chain[0].Verify(opts)
	return err == nil
}
