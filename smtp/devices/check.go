package devices

import (
	"fmt"
	"net/netip"
	"strings"

	"pillarbox/smtp/policy"
)

// ParseNetwork parses an address, or a network in CIDR notation, in the form that Add accepts.
// Errors are of class ErrNetwork.
func ParseNetwork(text string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(text); err == nil && ip.Zone() == "" {
		ip = ip.Unmap()
		p := netip.PrefixFrom(ip, ip.BitLen())
		return p, checkNetwork(p)
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q: %w: it is neither an address nor a network such as 192.168.1.0/24",
			text, ErrNetwork)
	}
	return p, checkNetwork(p)
}

// checkNetwork accepts a small network in canonical form.
func checkNetwork(p netip.Prefix) error {
	widest := widest6
	if p.Addr().Is4() {
		widest = widest4
	}
	switch {
	case !p.IsValid() || p.Addr().Is4In6():
		return fmt.Errorf("%s: %w", p, ErrNetwork)
	case p.Bits() == 0:
		return fmt.Errorf("%s: %w: it contains every address", p, ErrNetwork)
	case p.Bits() <= widest:
		return fmt.Errorf("%s: %w: it is too wide", p, ErrNetwork)
	case p != p.Masked():
		return fmt.Errorf("%s: %w: write %s for the network, or %s for one address",
			p, ErrNetwork, p.Masked(), p.Addr())
	case p.Addr().IsUnspecified() || p.Addr().IsMulticast():
		return fmt.Errorf("%s: %w: no device has such an address", p, ErrNetwork)
	}
	return nil
}

// check checks one device by the rules that Add documents.
func check(d policy.Device) error {
	if err := checkName(d.Name); err != nil {
		return err
	}
	if len(d.Networks) == 0 {
		return fmt.Errorf("device %s: %w: it has no address", d.Name, ErrNetwork)
	}
	for _, p := range d.Networks {
		if err := checkNetwork(p); err != nil {
			return fmt.Errorf("device %s: %w", d.Name, err)
		}
	}
	if d.PerHour < 0 {
		return fmt.Errorf("device %s: the limit of %d recipients an hour must not be negative",
			d.Name, d.PerHour)
	}
	return nil
}

// checkName permits names that need no quotes in a shell, a log or a file name.
func checkName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("device %q: %w: it is empty", name, ErrName)
	case len(name) > MaxName:
		return fmt.Errorf("device %.20q…: %w: it is longer than %d octets",
			name, ErrName, MaxName)
	case name[0] == '-' || name[0] == '.':
		return fmt.Errorf("device %q: %w: it begins with %q", name, ErrName, name[0])
	}
	for _, r := range name {
		if !mayName(r) {
			return fmt.Errorf("device %q: %w: it contains the character %q", name, ErrName, r)
		}
	}
	return nil
}

func mayName(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' ||
		strings.ContainsRune("._-", r)
}

// Name makes a permitted name from any text. It returns "" if no permitted character is left.
func Name(text string) string {
	name := strings.Map(func(r rune) rune {
		if mayName(r) {
			return r
		}
		return '-'
	}, text)
	return strings.Trim(name[:min(len(name), MaxName)], ".-")
}

// checkTogether checks that no name, ignoring case, and no network occurs twice.
func checkTogether(all []policy.Device) error {
	names, networks := make(map[string]bool), make(map[netip.Prefix]string)
	for _, d := range all {
		folded := strings.ToLower(d.Name)
		if names[folded] {
			return fmt.Errorf("device %s: %w", d.Name, ErrExists)
		}
		names[folded] = true
		for _, p := range d.Networks {
			if owner, ok := networks[p]; ok {
				return fmt.Errorf("%s: %w, as an address of the device %s", p, ErrExists, owner)
			}
			networks[p] = d.Name
		}
	}
	return nil
}
