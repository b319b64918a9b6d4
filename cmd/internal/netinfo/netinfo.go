// Package netinfo reads the network of this machine: its names and addresses, its LANs, its gateways,
// and the process that holds a port.
package netinfo

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"

	"pillarbox/mailstore/addr"
)

// Interface is a network interface of this machine.
type Interface struct {
	Name     string
	Up       bool
	Loopback bool
	Prefixes []netip.Prefix // address and length, host bits kept
}

// Interfaces lists the machine's network interfaces.
func Interfaces() ([]Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var out []Interface
	for _, i := range all {
		in := Interface{Name: i.Name, Up: i.Flags&net.FlagUp != 0, Loopback: i.Flags&net.FlagLoopback != 0}
		addrs, err := i.Addrs()
		if err != nil {
			return nil, err
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				in.Prefixes = append(in.Prefixes, p)
			}
		}
		out = append(out, in)
	}
	return out, nil
}

// IsHere reports whether an address is one of this machine's, loopback included.
func IsHere(ip netip.Addr) bool {
	if ip.IsLoopback() {
		return true
	}
	all, err := net.InterfaceAddrs()
	for _, a := range all {
		prefix, parseErr := netip.ParsePrefix(a.String())
		if err == nil && parseErr == nil && prefix.Addr().Unmap() == ip.Unmap() {
			return true
		}
	}
	return false
}

// LANs returns the networks that this machine reaches without a router: loopback, and the private
// ranges (RFC 1918, RFC 4193, link-local) of its real interfaces. Bridges of containers and virtual
// machines are not among them, because any host may connect through a bridge.
func LANs(interfaces []Interface) []netip.Prefix {
	lans := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	for _, i := range interfaces {
		if !i.Up || i.Loopback || isVirtual(i.Name) {
			continue
		}
		for _, p := range i.Prefixes {
			ip := p.Addr()
			private := ip.IsPrivate() || ip.IsLinkLocalUnicast()
			if lan := p.Masked(); private && p.Bits() >= 8 && !slices.Contains(lans, lan) {
				lans = append(lans, lan)
			}
		}
	}
	return lans
}

func isVirtual(name string) bool {
	return slices.ContainsFunc([]string{"docker", "br-", "veth", "virbr", "cni", "podman", "lxc", "lxd", "flannel", "cali"},
		func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// Addresses returns the machine's own addresses, for a certificate and for users to type: without
// loopback, link-local and virtual bridges.
func Addresses(interfaces []Interface) []netip.Addr {
	var out []netip.Addr
	for _, i := range interfaces {
		if !i.Up || i.Loopback || isVirtual(i.Name) {
			continue
		}
		for _, p := range i.Prefixes {
			if a := p.Addr().WithZone(""); !a.IsLinkLocalUnicast() && !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}

// Names returns the names by which clients may reach this machine if it serves mail for domain. Its
// configured name is the first one. The usual names in the domain and the machine's own name follow,
// the latter also with .local (mDNS) if it has no dot.
func Names(hostname, domain addr.Domain) []string {
	names := []string{string(hostname), "mail." + string(domain), string(domain)}
	if own, err := os.Hostname(); err == nil {
		if _, err := addr.ParseDomain(own); err == nil {
			names = append(names, strings.ToLower(own))
			if !strings.Contains(own, ".") {
				names = append(names, strings.ToLower(own)+".local")
			}
		}
	}
	var unique []string
	for _, name := range names {
		if !slices.Contains(unique, name) {
			unique = append(unique, name)
		}
	}
	return unique
}

// PortError is a listen address that another process has.
type PortError struct {
	Address string
	Holder  string // "exim4 (pid 812)", or "" if that is unknown
	Err     error
}

func (e *PortError) Error() string {
	if e.Holder != "" {
		return "address " + e.Address + " is in use by " + e.Holder
	}
	// The kernel shows the files of a process to its own user and to root only.
	text := "address " + e.Address + " is in use by another process"
	if _, port, err := net.SplitHostPort(e.Address); err == nil {
		text += "; as root, \"ss -ltnp 'sport = :" + port + "'\" names it"
	}
	return text
}

func (e *PortError) Unwrap() error { return e.Err }

// AddressError is a listen address that this machine does not have.
type AddressError struct {
	Address string
	Own     []netip.Addr // the addresses of this machine
	Err     error
}

func (e *AddressError) Error() string {
	host, _, err := net.SplitHostPort(e.Address)
	if err != nil {
		host = e.Address
	}
	text := "this machine has no address " + host
	if len(e.Own) == 0 {
		return text
	}
	var own []string
	for _, a := range e.Own {
		own = append(own, a.String())
	}
	return text + "; its addresses are " + strings.Join(own, ", ")
}

func (e *AddressError) Unwrap() error { return e.Err }

// noSuchAddress returns an *AddressError for an address.
func noSuchAddress(address string, err error) error {
	e := &AddressError{Address: address, Err: err}
	if all, err := Interfaces(); err == nil {
		e.Own = append(Addresses(all), netip.MustParseAddr("127.0.0.1"))
	}
	return e
}

// CheckListen returns an *AddressError if the host of a listen address is an IP address that this
// machine does not have.
func CheckListen(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.IsUnspecified() || IsHere(ip.WithZone("")) {
		return nil
	}
	return noSuchAddress(address, syscall.EADDRNOTAVAIL)
}

// Listen calls net.Listen for TCP. The error for a port in use is a *PortError, that for an address
// of another machine an *AddressError.
func Listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, &PortError{Address: address, Holder: holder(address), Err: err}
	} else if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return nil, noSuchAddress(address, err)
	}
	return l, err
}
