package remote

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
	"pillarbox/smtp/route"
)

const (
	maxExchangers = 5  // hosts of a domain that are tried
	maxAddresses  = 10 // addresses that are tried in one attempt
	dnsTimeout    = 20 * time.Second
)

// exchanger is one host that accepts mail for a domain.
type exchanger struct {
	host       string
	preference uint16
	secure     bool // the record is signed (DNSSEC)
	implicit   bool // there is no MX record: it is the domain itself (RFC 5321 §5.1)
}

// targets yields the addresses to connect to, best first. Each is looked up only when it is needed.
// A failure is yielded for a host without a usable address.
func (r *Remote) targets(ctx context.Context, rt *route.Route, hop nextHop,
	domain addr.Domain) iter.Seq2[target, *failure] {
	return func(yield func(target, *failure) bool) {
		count := 0
		limited := func(t target, f *failure) bool {
			if f == nil {
				count++
			}
			return yield(t, f) && count < maxAddresses && ctx.Err() == nil
		}
		switch {
		case hop == viaSmartHost:
			r.smartHosts(ctx, rt, limited)
		case domain.IsLiteral():
			r.literal(rt, domain, limited)
		default:
			r.exchangers(ctx, rt, domain, limited)
		}
	}
}

// smartHosts yields the addresses of a route's smart hosts.
func (r *Remote) smartHosts(ctx context.Context, rt *route.Route,
	yield func(target, *failure) bool) {
	for _, host := range rt.SmartHost {
		if !r.hostTargets(ctx, rt, host, yield) {
			return
		}
	}
}

func (r *Remote) hostTargets(ctx context.Context, rt *route.Route, host route.Host,
	yield func(target, *failure) bool) bool {
	t := target{name: host.Name, socket: host.Socket, implicit: host.ImplicitTLS,
		security: security{mode: rt.TLS, login: true}}
	if host.Socket != "" {
		t.name = host.Socket
		return yield(t, nil)
	}
	ips := []netip.Addr{host.Addr}
	if host.Addr.IsValid() {
		t.name = "[" + host.Addr.String() + "]"
	} else {
		var f *failure
		if ips, f = r.addresses(ctx, rt, host.Name); f != nil {
			if f.fate == smtp.Failed { // maybe a wrong setting or DNS: do not give mail up
				f = unreachable([3]int{4, 4, 4}, "%s", f.reply.Text)
				f.hint = "check the name of the smart host"
			}
			f.final = false
			return yield(t, f)
		}
	}
	for _, ip := range ips {
		t.addr = netip.AddrPortFrom(ip, uint16(host.DialPort(rt.LMTP)))
		if r.own(t.addr) {
			f := unreachable([3]int{4, 4, 6},
				"the smart host %s is this server itself, which would cause a mail loop", &t)
			f.hint = "set another smart host"
			r.log.Error("the smart host is this server itself", "route", rt.Name, "host", host)
			if !yield(t, f) {
				return false
			}
			continue
		}
		if !yield(t, nil) {
			return false
		}
	}
	return true
}

// literal yields the host of an address literal (RFC 5321 §4.1.3).
func (r *Remote) literal(rt *route.Route, domain addr.Domain, yield func(target, *failure) bool) {
	host, err := route.ParseHost(string(domain))
	if err != nil {
		yield(target{name: string(domain)}, permanent([3]int{5, 1, 2},
			"%s is not an address that mail can be sent to", domain))
		return
	}
	t := target{name: "[" + host.Addr.String() + "]",
		addr: netip.AddrPortFrom(host.Addr, mxPort(rt)), security: security{mode: rt.TLS}}
	if r.own(t.addr) {
		yield(t, loopFailure(string(domain)))
		return
	}
	yield(t, nil)
}

func mxPort(rt *route.Route) uint16 {
	if rt.Port == 0 {
		return route.PortSMTP
	}
	return uint16(rt.Port)
}

func (r *Remote) own(a netip.AddrPort) bool { return r.opts.Own != nil && r.opts.Own(a) }

func loopFailure(domain string) *failure {
	return permanent([3]int{5, 4, 6},
		"the MX records of %s point to this server itself, which does not host the domain: mail would loop",
		domain)
}

// exchangers yields the hosts of a domain by RFC 5321 §5.1. If this server is among them, it and
// all hosts that are not preferred to it are skipped.
func (r *Remote) exchangers(ctx context.Context, rt *route.Route, domain addr.Domain,
	yield func(target, *failure) bool) {
	found, f := r.lookUpMX(ctx, rt, domain)
	if f != nil {
		yield(target{name: string(domain)}, f)
		return
	}
	policy := r.policyFor(ctx, rt, domain)
	cut := slices.IndexFunc(found, func(x exchanger) bool {
		return strings.EqualFold(x.host, r.opts.Hostname)
	})
	if cut >= 0 {
		found = better(found, found[cut].preference)
	}
	if len(found) == 0 {
		yield(target{name: string(domain)}, loopFailure(string(domain)))
		return
	}
	found = found[:min(len(found), maxExchangers)]
	for first := true; len(found) > 0; first = false {
		same := slices.IndexFunc(found,
			func(x exchanger) bool { return x.preference != found[0].preference })
		if same < 0 {
			same = len(found)
		}
		group, own := r.resolveGroup(ctx, rt, found[:same])
		if own {
			if first {
				yield(target{name: string(domain)}, loopFailure(string(domain)))
			}
			return
		}
		for _, host := range group {
			if !r.yieldHost(ctx, rt, domain, policy, host, yield) {
				return
			}
		}
		found = found[same:]
	}
}

// better returns the hosts with a lower preference value.
func better(found []exchanger, than uint16) []exchanger {
	return slices.DeleteFunc(found, func(x exchanger) bool { return x.preference >= than })
}

// resolved is a host with its addresses, or the failure to find them.
type resolved struct {
	exchanger
	ips     []netip.Addr
	failure *failure
}

// resolveGroup looks up the hosts of one preference. own reports whether this server is among them.
func (r *Remote) resolveGroup(ctx context.Context, rt *route.Route,
	group []exchanger) (hosts []resolved, own bool) {
	for _, x := range group {
		h := resolved{exchanger: x}
		h.ips, h.failure = r.addresses(ctx, rt, x.host)
		for _, ip := range h.ips {
			own = own || r.own(netip.AddrPortFrom(ip, mxPort(rt)))
		}
		hosts = append(hosts, h)
	}
	return hosts, own
}

// yieldHost yields the addresses of one exchanger, with the security that MTA-STS and DANE require.
func (r *Remote) yieldHost(ctx context.Context, rt *route.Route, domain addr.Domain,
	policy *stsPolicy, h resolved, yield func(target, *failure) bool) bool {
	t := target{name: h.host, security: security{mode: rt.TLS}}
	f := h.failure
	if f == nil {
		t.security, f = r.requiredSecurity(ctx, rt, domain, policy, h.exchanger)
	}
	if f != nil {
		f.final = false // another host may work
		return yield(t, f)
	}
	for _, ip := range h.ips {
		t.addr = netip.AddrPortFrom(ip, mxPort(rt))
		if !yield(t, nil) {
			return false
		}
	}
	return true
}

// lookUpMX returns the exchangers of a domain, sorted by preference, equal ones in random order.
// Without MX records the domain itself is the only exchanger (RFC 5321 §5.1).
func (r *Remote) lookUpMX(ctx context.Context, rt *route.Route, domain addr.Domain) (
	[]exchanger, *failure,
) {
	var found []exchanger
	if rt.DANE {
		found = r.secureMX(ctx, domain)
	}
	if found == nil {
		ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
		defer cancel()
		records, err := r.resolver.LookupMX(ctx, string(domain)+".")
		if err != nil && !notFound(err) && len(records) == 0 {
			return nil, noDNS(string(domain))
		}
		for _, mx := range records {
			found = append(found, exchanger{host: strings.ToLower(strings.TrimSuffix(mx.Host, ".")),
				preference: mx.Pref})
		}
	}
	if len(found) == 0 {
		return []exchanger{{host: string(domain), implicit: true}}, nil
	}
	if len(found) == 1 && found[0].host == "" { // RFC 7505
		return nil, permanent([3]int{5, 1, 10}, "%s accepts no mail", domain)
	}
	found = slices.DeleteFunc(found, func(x exchanger) bool { return x.host == "" })
	rand.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
	slices.SortStableFunc(found, func(a, b exchanger) int {
		return int(a.preference) - int(b.preference)
	})
	return found, nil
}

// addresses returns the addresses of a host, if the route has a local address only those of its
// family.
func (r *Remote) addresses(ctx context.Context, rt *route.Route, host string) (
	[]netip.Addr, *failure,
) {
	ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil // an address in an MX record violates RFC 5321, but is clear
	}
	if strings.Contains(host, ".") {
		host += "." // prevents the use of the search list
	}
	ips, err := r.resolver.LookupNetIP(ctx, "ip", host)
	host = strings.TrimSuffix(host, ".")
	switch {
	case err != nil && notFound(err):
		return nil, permanent([3]int{5, 1, 2}, "the host %s does not exist", host)
	case err != nil:
		return nil, noDNS(host)
	}
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	if rt.Bind.IsValid() {
		ips = slices.DeleteFunc(ips,
			func(ip netip.Addr) bool { return ip.Is4() != rt.Bind.Unmap().Is4() })
		if len(ips) == 0 {
			return nil, unreachable([3]int{4, 4, 1},
				"%s has no address of the same family as %s, from which this route connects",
				host, rt.Bind)
		}
	}
	return ips, nil
}

func noDNS(name string) *failure {
	f := unreachable([3]int{4, 4, 3}, "DNS did not answer for %s", name)
	f.final = true
	f.hint = "see whether the name servers of this host answer"
	return f
}

func notFound(err error) bool {
	var d *net.DNSError
	return errors.As(err, &d) && d.IsNotFound
}
