package netinfo

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Gateways returns the routers of the machine's default routes, from the kernel's tables; none if it
// cannot read them.
func Gateways() []netip.Addr {
	var out []netip.Addr
	for file, parse := range map[string]func(io.Reader) []netip.Addr{
		"/proc/net/route": gateways4, "/proc/net/ipv6_route": gateways6,
	} {
		if f, err := os.Open(file); err == nil {
			out = append(out, parse(f)...)
			f.Close()
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// routeViaGateway is the flag RTF_GATEWAY of the kernel's tables.
const routeViaGateway = 2

func viaGateway(flags string) bool {
	n, err := strconv.ParseUint(flags, 16, 32)
	return err == nil && n&routeViaGateway != 0
}

// gateways4 parses Iface Destination Gateway Flags RefCnt Use Metric Mask …; an address is a word in
// the byte order of the machine.
func gateways4(table io.Reader) (out []netip.Addr) {
	for lines := bufio.NewScanner(table); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" || !viaGateway(f[3]) {
			continue
		}
		if word, err := strconv.ParseUint(f[2], 16, 32); err == nil {
			var octets [4]byte
			binary.NativeEndian.PutUint32(octets[:], uint32(word))
			out = append(out, netip.AddrFrom4(octets))
		}
	}
	return out
}

// gateways6 parses destination, length, source, length, next hop, metric, refcnt, use, flags, device.
func gateways6(table io.Reader) (out []netip.Addr) {
	for lines := bufio.NewScanner(table); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) < 10 || f[1] != "00" || f[3] != "00" || !viaGateway(f[8]) {
			continue
		}
		octets, err := hex.DecodeString(f[4])
		if ip, ok := netip.AddrFromSlice(octets); err == nil && ok && ip.Is6() {
			out = append(out, ip)
		}
	}
	return out
}

// Bridges returns the networks of containers and virtual machines. A bridge may replace the address
// of a client by its own. Inside a container, the network that contains the gateway counts as one.
func Bridges(interfaces []Interface, gateways []netip.Addr, inContainer bool) []netip.Prefix {
	var out []netip.Prefix
	for _, i := range interfaces {
		for _, p := range i.Prefixes {
			ownBridge := inContainer && slices.ContainsFunc(gateways, p.Contains)
			if bridge := p.Masked(); (isVirtual(i.Name) || ownBridge) && !p.Addr().IsLinkLocalUnicast() && !slices.Contains(out, bridge) {
				out = append(out, bridge)
			}
		}
	}
	return out
}

// InContainer reports whether the program runs in a container of Docker or
// Podman.
func InContainer() bool {
	return slices.ContainsFunc([]string{"/.dockerenv", "/run/.containerenv"}, func(file string) bool {
		_, err := os.Stat(file)
		return err == nil
	})
}
