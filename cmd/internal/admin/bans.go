package admin

import (
	"fmt"
	"net/netip"

	"pillarbox/mailstore/auth"
)

// Bans are the running server's bans.
type Bans interface {
	List() []auth.Record
	Why(client netip.Addr) auth.Record
	Lift(client netip.Addr) bool
}

// listBans lists the addresses that the running server bans.
func (o *Service) listBans() ([]auth.Record, error) {
	r, err := o.server("answer")
	if err != nil {
		return nil, err
	}
	return r.Bans.List(), nil
}

// whyBanned tells what the running server knows of a client's wrong logins.
func (o *Service) whyBanned(client string) (auth.Record, error) {
	ip, err := parseBanned(client)
	if err != nil {
		return auth.Record{}, err
	}
	r, err := o.server("answer")
	if err != nil {
		return auth.Record{}, err
	}
	return r.Bans.Why(ip), nil
}

// liftBan lets a client connect again.
func (o *Service) liftBan(client string) (Change, error) {
	ip, err := parseBanned(client)
	if err != nil {
		return Change{}, err
	}
	r, err := o.server("answer")
	if err != nil {
		return Change{}, err
	}
	if !r.Bans.Lift(ip) {
		return Change{}, Hint(fmt.Errorf("%s is not banned", client),
			"'pillarbox admin bans list' shows who is")
	}
	o.Record(ip.String(), nil, map[string]any{"banned": false})
	return changed(nil, nil, "%s may connect again", client)
}

// parseBanned reads an address as a person types it or copies it from the list, where an IPv6
// client is its /64.
func parseBanned(text string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(text)
	if err == nil {
		return ip.WithZone(""), nil
	}
	network, prefixErr := netip.ParsePrefix(text)
	one := network.IsSingleIP() || network.Addr().Is6() && network.Bits() == 64
	if prefixErr == nil && one {
		return network.Addr(), nil
	}
	return ip, Hint(usage(fmt.Errorf("%q is not an IP address", text)),
		"write it like 192.0.2.7 or 2001:db8::7")
}
