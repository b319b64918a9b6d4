package netinfo

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// hexWord writes an IPv4 address as the kernel's table does on this machine.
func hexWord(ip string) string {
	octets := netip.MustParseAddr(ip).As4()
	return fmt.Sprintf("%08X", binary.NativeEndian.Uint32(octets[:]))
}

func TestGateways4(t *testing.T) {
	table := "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n" +
		"eth0\t00000000\t" + hexWord("192.168.1.1") + "\t0003\t0\t0\t100\t00000000\t0\t0\t0\n" +
		"wlan0\t00000000\t" + hexWord("10.0.0.138") + "\t0003\t0\t0\t600\t00000000\t0\t0\t0\n" +
		"eth0\t" + hexWord("10.9.0.0") + "\t" + hexWord("192.168.1.9") + "\t0003\t0\t0\t0\t0000FFFF\t0\t0\t0\n" + // no default route
		"eth0\t" + hexWord("192.168.1.0") + "\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n" +
		"ppp0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n" + // no gateway
		"eth0\t00000000\tzzz\t0003\t0\t0\t0\t00000000\t0\t0\t0\ncut off\t00000000\n\n"
	want := []netip.Addr{netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("10.0.0.138")}
	if got := gateways4(strings.NewReader(table)); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestGateways6(t *testing.T) {
	const zero = "00000000000000000000000000000000"
	table := "fd000000000000000000000000000000 40 " + zero + " 00 " + zero + " 00000100 00000001 00000000 00000001     eth0\n" +
		zero + " 00 " + zero + " 00 fe800000000000000000000000000001 00000400 00000002 00000000 00000003     eth0\n" +
		"20010db8000000000000000000000000 20 " + zero + " 00 fe800000000000000000000000000002 00000400 00000002 00000000 00000003     eth0\n" +
		zero + " 00 " + zero + " 00 " + zero + " ffffffff 00000001 00000000 00200200       lo\n" +
		zero + " 00 " + zero + " 00 fe80 00000400 00000002 00000000 00000003     eth0\ncut off\n"
	want := []netip.Addr{netip.MustParseAddr("fe80::1")}
	if got := gateways6(strings.NewReader(table)); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestBridges(t *testing.T) {
	gateways := []netip.Addr{netip.MustParseAddr("192.168.1.1")}
	if got, want := Bridges(machine, gateways, false), prefixes("172.17.0.0/16", "172.18.0.0/16"); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	// In a container the network of its gateway is a bridge of its host.
	if got, want := Bridges(machine, gateways, true), prefixes("192.168.1.0/24", "172.17.0.0/16", "172.18.0.0/16"); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// What the kernel says here can be read.
func TestGateways(t *testing.T) {
	for _, ip := range Gateways() {
		if !ip.IsValid() || ip.IsUnspecified() {
			t.Errorf("gateway %v", ip)
		}
	}
}
