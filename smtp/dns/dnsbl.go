package dns

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"pillarbox/smtp/policy"
)

// maxReason is the maximum length of a list's reason, in octets.
const maxReason = 200

// listingKey is a question to a DNS list.
type listingKey struct {
	ip   netip.Addr
	zone string
}

// Listed asks a DNS list about a host (RFC 5782): it looks up the reversed address below the list's
// zone. Only answers in 127.0.0.0/8 count. With 127.0.0.1 and 127.255.255.0/24 a list refuses our
// queries; the state is then failed, as it is if ctx ends first. text is the list's reason, in
// printable ASCII and often empty.
func (r *Resolver) Listed(ctx context.Context, ip netip.Addr, zone string) (
	answer []netip.Addr, text string, state policy.ListState,
) {
	ip = ip.Unmap().WithZone("")
	if !ip.IsValid() {
		return nil, "", policy.ListedNot
	}
	l, err := r.listings.get(ctx, listingKey{ip, zone}, func() (policy.Listing, error) {
		ctx, done, err := r.begin(ctx)
		if err != nil {
			return policy.Listing{}, err
		}
		defer done()
		return r.lookUpListing(ctx, reversed(ip)+zone+".")
	})
	if err != nil {
		return nil, "", policy.ListedFailed
	}
	return slices.Clone(l.Answer), l.Text, l.State
}

// Listings asks several lists concurrently and returns the results in the order of zones. The
// result is never nil.
func (r *Resolver) Listings(ctx context.Context, ip netip.Addr, zones []string) []policy.Listing {
	all := make([]policy.Listing, len(zones))
	var asking sync.WaitGroup
	for i, zone := range zones {
		asking.Go(func() {
			all[i].Site = zone
			all[i].Answer, all[i].Text, all[i].State = r.Listed(ctx, ip, zone)
		})
	}
	asking.Wait()
	return all
}

func (r *Resolver) lookUpListing(ctx context.Context, name string) (policy.Listing, error) {
	records, err := r.addresses(ctx, "ip4", name)
	if err != nil {
		return policy.Listing{}, err
	}
	l := policy.Listing{State: policy.ListedNot}
	refused := false
	for _, ip := range records {
		switch ip = ip.Unmap(); {
		case isRefusalCode(ip):
			refused = true
		case ip.IsLoopback():
			l.Answer = append(l.Answer, ip)
		}
	}
	switch {
	case len(l.Answer) > 0:
		l.State, l.Text = policy.ListedThere, r.reason(ctx, name)
		slices.SortFunc(l.Answer, netip.Addr.Compare)
	case refused:
		l.State = policy.ListedFailed
	}
	return l, nil
}

// isRefusalCode recognizes answers that say nothing about the host: some lists return them for
// every address to a name server that sends too many queries.
func isRefusalCode(ip netip.Addr) bool {
	return ip == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || refusals.Contains(ip)
}

var refusals = netip.MustParsePrefix("127.255.255.0/24")

// reason returns the TXT record of a listing. It is only informative, so the wait for it is short.
func (r *Resolver) reason(ctx context.Context, name string) string {
	ctx, cancel := context.WithTimeout(ctx, r.timeout/2+time.Millisecond)
	defer cancel()
	texts, err := r.query(ctx).LookupTXT(ctx, name)
	if err != nil || len(texts) == 0 {
		return ""
	}
	text := strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return -1
		}
		return c
	}, texts[0])
	return text[:min(len(text), maxReason)]
}

// reversed returns the address as a name, last octet or nibble first, with a dot after each (RFC
// 5782 §2.1, §2.4).
func reversed(ip netip.Addr) string {
	const hex = "0123456789abcdef"
	octets := ip.AsSlice()
	slices.Reverse(octets)
	if ip.Is4() {
		return netip.AddrFrom4([4]byte(octets)).String() + "."
	}
	name := make([]byte, 0, 4*len(octets))
	for _, o := range octets {
		name = append(name, hex[o&15], '.', hex[o>>4], '.')
	}
	return string(name)
}
