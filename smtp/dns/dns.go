// Package dns makes the DNS lookups that the policy rules need: the name of a client, whether a
// sender's domain exists, and whether a DNS list contains a client.
//
// Resolver is the type to start with; the SMTP server calls it during a session. NewClient serves
// packages that need plain lookups. DNS data is untrusted: an invalid domain name counts as no
// name. The package makes no lookup on its own, so a server without such rules needs no DNS.
package dns

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp/policy"
)

// Options configure a Resolver. The zero value is valid.
type Options struct {
	Servers    []string      // "ip:port", in order of preference; empty: those of the system
	Timeout    time.Duration // of one query, including its second try at half time; 0 means 5 s
	Concurrent int           // concurrent lookups, others wait; 0 means 64
}

const (
	maxQueries = 3 // queries that fit into a lookup whose caller sets no deadline
	maxNames   = 4 // PTR records of one address that are checked
)

// Resolver makes lookups. It caches answers for five minutes and failures for half a minute,
// whatever their TTL. It is safe for concurrent use, and shares no state with other Resolvers.
type Resolver struct {
	servers []string
	timeout time.Duration
	slots   chan struct{}
	names   cache[netip.Addr, clientName]
	domains cache[addr.Domain, policy.DomainState]

	listings cache[listingKey, policy.Listing] // without the site
}

type clientName struct {
	name  string
	state policy.NameState
}

// New returns a Resolver.
func New(opts Options) *Resolver {
	return &Resolver{
		servers: opts.Servers,
		timeout: cmp.Or(opts.Timeout, 5*time.Second),
		slots:   make(chan struct{}, cmp.Or(opts.Concurrent, 64)),
		names:   newCache[netip.Addr, clientName](),
		domains: newCache[addr.Domain, policy.DomainState](),

		listings: newCache[listingKey, policy.Listing](),
	}
}

// Name looks up the name of a client (PTR) and checks that it resolves to the address (A or AAAA).
// The name is a domain in lower case without the final dot. It is "" unless the state is verified
// or unverified. If there are several names, the first that resolves back counts. If ctx ends
// first, the state is failed.
func (r *Resolver) Name(ctx context.Context, ip netip.Addr) (name string, state policy.NameState) {
	ip = ip.Unmap().WithZone("")
	if !ip.IsValid() {
		return "", policy.NameNone
	}
	answer, err := r.names.get(ctx, ip, func() (clientName, error) {
		ctx, done, err := r.begin(ctx)
		if err != nil {
			return clientName{}, err
		}
		defer done()
		return r.lookUpName(ctx, ip)
	})
	if err != nil {
		return "", policy.NameFailed
	}
	return answer.name, answer.state
}

// SenderDomain looks up whether mail to a domain can be delivered, that is, whether it has an MX, A
// or AAAA record (RFC 5321 §5.1). With a null MX (RFC 7505) the domain is missing; an address
// literal always exists. While DNS is silent, SenderDomain asks again until ctx ends; then the
// state is failed.
func (r *Resolver) SenderDomain(ctx context.Context, domain addr.Domain) policy.DomainState {
	if domain.IsLiteral() {
		return policy.DomainExists
	}
	state, err := r.domains.get(ctx, domain, func() (policy.DomainState, error) {
		ctx, done, err := r.begin(ctx)
		if err != nil {
			return "", err
		}
		defer done()
		return r.insist(ctx, string(domain)+".")
	})
	if err != nil {
		return policy.DomainFailed
	}
	return state
}

// begin waits for a slot. Later callers share the answer, so a lookup keeps its caller's deadline
// but ignores its cancellation.
func (r *Resolver) begin(asker context.Context) (ctx context.Context, done func(), err error) {
	deadline, ok := asker.Deadline()
	if !ok {
		deadline = time.Now().Add(maxQueries * r.timeout)
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(asker), deadline)
	select {
	case r.slots <- struct{}{}:
		return ctx, func() { cancel(); <-r.slots }, nil
	case <-ctx.Done():
		cancel()
		return nil, nil, ctx.Err()
	}
}

func (r *Resolver) lookUpName(ctx context.Context, ip netip.Addr) (clientName, error) {
	records, err := r.query(ctx).LookupAddr(ctx, ip.String())
	var names []string
	for _, record := range records {
		if name, ok := cleanName(record); ok && len(names) < maxNames {
			names = append(names, name)
		}
	}
	switch {
	case len(names) > 0:
		return r.confirm(ctx, names, ip)
	case len(records) > 0, isNotFound(err), isMalformed(err):
		return clientName{state: policy.NameNone}, nil
	}
	return clientName{}, err
}

// confirm looks for a name that resolves to ip. If DNS fails for one name and no other name
// matches, the result is an error.
func (r *Resolver) confirm(ctx context.Context, names []string, ip netip.Addr) (clientName, error) {
	var failed error
	for _, name := range names {
		leadsBack, err := r.has(ctx, name+".", ip)
		switch {
		case leadsBack:
			return clientName{name, policy.NameVerified}, nil
		case err != nil:
			failed = err
		}
	}
	return clientName{names[0], policy.NameUnverified}, failed
}

// insist repeats a lookup that gets no answer in time, for as long as ctx permits: its caller may
// wait longer than Options.Timeout. A failure that a server reports is not repeated.
func (r *Resolver) insist(ctx context.Context, name string) (policy.DomainState, error) {
	for {
		state, err := r.lookUpDomain(ctx, name)
		if !isTimeout(err) || ctx.Err() != nil {
			return state, err
		}
	}
}

func isTimeout(err error) bool {
	dnsErr, ok := errors.AsType[*net.DNSError](err)
	return ok && dnsErr.IsTimeout
}

func (r *Resolver) lookUpDomain(ctx context.Context, name string) (policy.DomainState, error) {
	mx, err := r.query(ctx).LookupMX(ctx, name)
	switch {
	case len(mx) == 1 && mx[0].Host == ".":
		return policy.DomainMissing, nil
	case len(mx) > 0:
		return policy.DomainExists, nil
	case err != nil && !isNotFound(err):
		return "", err
	}
	// With a query for both at once, net may report the missing record type instead of the one that
	// failed.
	v4, err4 := r.addresses(ctx, "ip4", name)
	if len(v4) > 0 {
		return policy.DomainExists, nil
	}
	v6, err6 := r.addresses(ctx, "ip6", name)
	if len(v6) > 0 {
		return policy.DomainExists, nil
	}
	return policy.DomainMissing, errors.Join(err4, err6)
}

func (r *Resolver) has(ctx context.Context, name string, ip netip.Addr) (bool, error) {
	network := "ip4"
	if ip.Is6() {
		network = "ip6"
	}
	all, err := r.addresses(ctx, network, name)
	for _, one := range all {
		if one.Unmap().WithZone("") == ip {
			return true, nil
		}
	}
	return false, err
}

// addresses returns no error if there are no addresses.
func (r *Resolver) addresses(ctx context.Context, network, name string) ([]netip.Addr, error) {
	all, err := r.query(ctx).LookupNetIP(ctx, network, name)
	if isNotFound(err) {
		err = nil
	}
	return all, err
}

func isNotFound(err error) bool {
	dnsErr, ok := errors.AsType[*net.DNSError](err)
	return ok && dnsErr.IsNotFound
}

// isMalformed recognizes net's error for an answer without any valid name. Unlike all network
// errors it names no server.
func isMalformed(err error) bool {
	dnsErr, ok := errors.AsType[*net.DNSError](err)
	return ok && dnsErr.Server == "" && !dnsErr.IsTimeout && !dnsErr.IsTemporary
}

// cleanName makes a name from a record safe for rules, headers and logs.
func cleanName(record string) (string, bool) {
	if n := len(record); n > 0 && record[n-1] == '.' {
		record = record[:n-1]
	}
	domain, err := addr.ParseDomain(record)
	if err != nil || domain.IsLiteral() {
		return "", false
	}
	return string(domain), true
}
