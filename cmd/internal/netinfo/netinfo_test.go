package netinfo

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
)

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

var machine = []Interface{
	{Name: "lo", Up: true, Loopback: true, Prefixes: prefixes("127.0.0.1/8", "::1/128")},
	{Name: "eth0", Up: true, Prefixes: prefixes("192.168.1.10/24", "192.168.1.11/24", "fe80::1/64", "fd00:1::a/64", "2001:db8::a/64", "203.0.113.9/29")},
	{Name: "eth1", Up: false, Prefixes: prefixes("10.9.9.9/24")},
	{Name: "docker0", Up: true, Prefixes: prefixes("172.17.0.1/16")},
	{Name: "br-1a2b", Up: true, Prefixes: prefixes("172.18.0.1/16")},
}

func TestLANs(t *testing.T) {
	want := prefixes("127.0.0.0/8", "::1/128", "192.168.1.0/24", "fe80::/64", "fd00:1::/64")
	if got := LANs(machine); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestAddresses(t *testing.T) {
	if got, want := fmt.Sprint(Addresses(machine)), "[192.168.1.10 192.168.1.11 fd00:1::a 2001:db8::a 203.0.113.9]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestNames(t *testing.T) {
	names := Names("mx.office.example", "office.example")
	if names[0] != "mx.office.example" {
		t.Errorf("%v does not begin with the configured name: the CA is named after the first", names)
	}
	for _, want := range []string{"mx.office.example", "mail.office.example", "office.example"} {
		if !slices.Contains(names, want) {
			t.Errorf("%v lacks %s", names, want)
		}
	}
	if len(slices.Compact(slices.Sorted(slices.Values(names)))) != len(names) {
		t.Errorf("%v has a name twice", names)
	}
}

// The holder of a port is named: here, this test itself.
func TestPortInUse(t *testing.T) {
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = Listen(l.Addr().String())
	var busy *PortError
	if !errors.As(err, &busy) {
		t.Fatalf("got %v, want a PortError", err)
	}
	if want := fmt.Sprintf("(pid %d)", os.Getpid()); !strings.Contains(busy.Error(), want) {
		t.Errorf("%q does not name %s", busy, want)
	}
}

func TestAddressOfAnotherMachine(t *testing.T) {
	const elsewhere = "198.51.100.213:0"
	_, err := Listen(elsewhere)
	for _, err := range []error{err, CheckListen(elsewhere)} {
		const want = "this machine has no address 198.51.100.213; its addresses are "
		if _, ok := errors.AsType[*AddressError](err); !ok || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for _, here := range []string{":25", "127.0.0.1:25", "[::1]:25", "0.0.0.0:25", "[::]:25", "localhost:25"} {
		if err := CheckListen(here); err != nil {
			t.Errorf("%s: %v", here, err)
		}
	}
}

// The service's account may not see who holds a port, so the message says how root finds out.
func TestPortErrorWithoutHolder(t *testing.T) {
	for _, c := range []struct {
		err  PortError
		want string
	}{
		{PortError{Address: ":25", Holder: "exim4 (pid 812)"},
			"address :25 is in use by exim4 (pid 812)"},
		{PortError{Address: "[::1]:110"}, "address [::1]:110 is in use by another process; " +
			`as root, "ss -ltnp 'sport = :110'" names it`},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}
