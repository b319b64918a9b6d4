package config

import (
	"fmt"
	"math"
	"net/netip"
	"strings"

	"pillarbox/cmd/internal/netinfo"
	"pillarbox/smtp/policy"
)

// Machine is the addresses that a list of trusted hosts must not contain, because
// strangers may connect through them.
type Machine struct {
	Gateways []netip.Addr   // of the default routes; forwarded connections may have their address
	Bridges  []netip.Prefix // networks of containers and virtual machines, for the same reason
}

// ThisMachine returns the addresses of the machine that the program runs on, without
// those that it cannot find out.
func ThisMachine() Machine {
	interfaces, _ := netinfo.Interfaces()
	gateways := netinfo.Gateways()
	return Machine{Gateways: gateways, Bridges: netinfo.Bridges(interfaces, gateways, netinfo.InContainer())}
}

// exposure is a setting that lets strangers relay.
type exposure struct {
	list string      // the key
	line policy.Line // the entry; zero if no entry is the cause
	what string
	hint string
	only string // a warning instead, about an entry that may be meant
}

// openRelay finds the settings that let strangers relay, in the order in which the
// policy evaluates them ([policy.Relay]).
func openRelay(r *policy.Relay, m Machine) []exposure {
	found := append(m.exposures("relay.exclude_hosts", &r.ExcludeHosts), m.exposures("relay.allow_hosts", &r.AllowHosts)...)
	if r.Enforcement.Value == policy.EnforceNone {
		found = append(found, exposure{list: "relay.enforcement", what: "no client is kept from relaying", hint: `write "all" or "external"`})
	}
	if line, ok := everyDomain(&r.OverrideDomains); ok {
		found = append(found, exposure{list: "relay.override_domains", line: line, what: "lets every client relay to every domain", hint: "name the domains"})
	}
	if r.DenyWins.Value && deniesAll(r) {
		return found
	}
	line, all := everyDomain(&r.AllowDomains)
	if _, taken := everyDomain(&r.DenyDomains); all && !taken {
		return append(found, exposure{list: "relay.allow_domains", line: line, what: "lets every client relay to every domain", hint: "name the domains"})
	}
	if !deniesAll(r) && r.AllowHosts.Len()+r.AllowDomains.Len() == 0 {
		found = append(found, exposure{list: "relay.deny_hosts", what: "every client that is not denied may relay to every domain",
			hint: `write deny_hosts = ["*"] and list in allow_hosts who may`})
	}
	return found
}

// deniesAll reports whether a deny list contains every host or every domain.
func deniesAll(r *policy.Relay) bool {
	if _, all := everyDomain(&r.DenyDomains); all {
		return true
	}
	whole := map[int]bool{} // by the length of an address
	for _, s := range r.DenyHosts.Spans() {
		if s.All {
			return true
		}
		if e := (extent{s.Low, s.High}); e.free() == float64(8*len(s.Low)) {
			whole[len(s.Low)] = true
		}
	}
	return whole[4] && whole[16]
}

func everyDomain(l *policy.AddressList) (policy.Line, bool) {
	for _, line := range l.Lines() {
		if strings.TrimSpace(line.Text) == "*" {
			return line, true
		}
	}
	return policy.Line{}, false
}

// exposures checks each entry of a list of trusted hosts.
func (m Machine) exposures(list string, hosts *policy.HostList) (found []exposure) {
	for _, s := range hosts.Spans() {
		e := m.exposure(s)
		if e.what != "" || e.only != "" {
			e.list, e.line = list, s.Line
			found = append(found, e)
		}
	}
	return found
}

const ownHosts = "list the addresses of your own hosts"

func (m Machine) exposure(span policy.Span) exposure {
	s := extent{span.Low, span.High}
	switch {
	case span.All:
		return exposure{what: "is every host there is", hint: ownHosts}
	case s.isInternet():
		return exposure{what: "contains the internet", hint: ownHosts}
	}
	for _, bridge := range m.Bridges {
		if bridge.Contains(s.lowest()) && bridge.Contains(s.highest()) {
			return exposure{what: fmt.Sprintf("lies on the bridge %s of containers or virtual machines, through which strangers connect", bridge), hint: ownHosts}
		}
	}
	for _, gateway := range m.Gateways {
		switch {
		case s.holds(gateway) && s.free() <= 2:
			return exposure{what: fmt.Sprintf("is the gateway %s, through which strangers connect", gateway), hint: ownHosts}
		case s.holds(gateway):
			return exposure{only: fmt.Sprintf("the gateway %s is in it: if it forwards connections with its own address, strangers may relay", gateway)}
		}
	}
	for _, bridge := range m.Bridges {
		if s.holds(bridge.Masked().Addr()) {
			return exposure{only: fmt.Sprintf("the bridge %s of containers or virtual machines is in it: if strangers connect through it, they may relay", bridge)}
		}
	}
	return exposure{}
}

// extent is the addresses of a network or of a range, from low to high in each octet.
type extent struct{ low, high []byte }

// free is the number of bits in which addresses of the extent differ.
func (e extent) free() (bits float64) {
	for i := range e.low {
		bits += math.Log2(float64(e.high[i]) - float64(e.low[i]) + 1)
	}
	return bits
}

// isInternet reports whether the extent is larger than the largest LANs, 10.0.0.0/8
// and fc00::/7.
func (e extent) isInternet() bool {
	if len(e.low) == 4 {
		return e.free() > 32-8
	}
	return e.free() > 128-7
}

func (e extent) holds(ip netip.Addr) bool {
	octets := ip.Unmap().AsSlice()
	if len(octets) != len(e.low) {
		return false
	}
	for i, o := range octets {
		if o < e.low[i] || o > e.high[i] {
			return false
		}
	}
	return true
}

func (e extent) lowest() netip.Addr  { return addressOf(e.low) }
func (e extent) highest() netip.Addr { return addressOf(e.high) }

func addressOf(octets []byte) netip.Addr {
	ip, _ := netip.AddrFromSlice(octets)
	return ip
}

func isInternet(p netip.Prefix) bool { return extentOf(p).isInternet() }

func extentOf(p netip.Prefix) extent {
	s := extent{p.Masked().Addr().AsSlice(), p.Addr().AsSlice()}
	for i := p.Bits(); i < 8*len(s.high); i++ {
		s.high[i/8] |= 0x80 >> (i % 8)
	}
	return s
}

// checkOpenRelay reports settings that let strangers relay, as warnings if the file
// declares an open relay.
func (l *loader) checkOpenRelay() {
	c, sound := &l.config, l.relaySound()
	for _, e := range openRelay(&c.Policy.Relay, l.machine) {
		if e.line.Text == "" && !sound {
			continue // the missing entry may be one with a mistake
		}
		l.exposed(e, c.Relay.OpenOnPurpose)
	}
	for _, e := range l.machine.exposures("senders.trusted_hosts", &c.Policy.Senders.TrustedHosts) {
		if e.what != "" {
			l.warn(e.line.Origin, l.keyWith(e.line, e.list), "%q %s: strangers may claim to be one of yours", e.line.Text, e.what)
		}
	}
}

func (l *loader) relaySound() bool {
	for _, k := range l.keys {
		if section(k.name) == "relay" && !l.sound(k.name) {
			return false
		}
	}
	return true
}

func (l *loader) exposed(e exposure, meant bool) {
	key, what, place := e.list, e.what, l.config.origin[e.list]
	if e.line.Text != "" {
		what, place = fmt.Sprintf("%q %s", e.line.Text, what), l.places[e.line.Origin]
		switch key = l.keyWith(e.line, e.list); {
		case isEntry(key):
			what += ", because of allow_relay"
		case key != e.list:
			what += ", and " + e.list + " uses the group"
		}
	}
	switch {
	case e.only != "":
		l.warn(place.short(), key, "%q: %s", e.line.Text, e.only)
	case meant:
		l.warn(place.short(), key, "this is an open relay: %s", what)
	default:
		l.problem(place, key, "would make an open relay: "+what, e.hint+", or set relay.i_know_this_is_an_open_relay = true")
	}
}
