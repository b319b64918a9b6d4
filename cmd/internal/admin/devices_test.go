package admin

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp/decisionlog"
	"pillarbox/smtp/policy"
)

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

// The warnings name the other hosts that may use a trusted address.
func TestDeviceSurroundings(t *testing.T) {
	s := surroundings{
		gateways: []netip.Addr{netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("fd00::1")},
		bridges:  prefixes("172.17.0.0/16"),
	}
	for network, want := range map[string]string{
		"192.168.1.50/32": "", "10.0.0.0/24": "", "fd00::2/128": "",
		"192.168.1.0/24": "note: the gateway", "192.168.1.1/32": "refused: 192.168.1.1 is the gateway", "fd00::1/128": "refused: fd00::1 is the gateway",
		"172.17.0.5/32": "note: 172.17.0.5 lies on the bridge", "172.16.0.0/12": "note: 172.16.0.0/12 lies on the bridge",
		"127.0.0.1/32": "note: 127.0.0.1 is this machine", "::1/128": "note: ::1 is this machine",
	} {
		notes, err := s.notes(policy.Device{Name: "d", Networks: prefixes(network)})
		got := ""
		if err != nil {
			got = "refused: " + err.Error()
		} else if len(notes) > 0 {
			got = "note: " + strings.Join(notes, "; ")
		}
		if !strings.HasPrefix(got, want) || (got == "") != (want == "") {
			t.Errorf("%s: %q, want %q", network, got, want)
		}
		if err != nil && !errors.As(err, new(*HintError)) {
			t.Errorf("%s: refused without a hint", network)
		}
	}
}

// A test takes an address that belongs to the device, not to a device with a smaller network.
func TestDeviceAddress(t *testing.T) {
	o := office(t)
	add := func(name string, ips ...string) {
		t.Helper()
		c, err := o.AddDevice(NewDevice{Name: name, IPs: ips, MaySendTo: "local"})
		must(t, c, err)
	}
	add("floor", "10.1.0.0/30")
	add("one", "10.1.0.0", "10.1.0.1")
	add("two", "10.1.0.2")
	address := func(name string) string {
		d, err := o.Devices.Get(name)
		if err != nil {
			t.Fatal(err)
		}
		ip, ok := o.addressOf(d)
		return fmt.Sprint(ip, ok)
	}
	if got := address("floor"); got != "10.1.0.3 true" {
		t.Errorf("floor: %s", got)
	}
	add("three", "10.1.0.3")
	if got := address("floor"); got != "invalid IP false" {
		t.Errorf("floor without an address left: %s", got)
	}
	if _, err := o.TestDevice(t.Context(), "floor", ""); !errors.As(err, new(*HintError)) {
		t.Errorf("test without an address: %v", err)
	}
}

// A suggested name is valid and unused.
func TestDeviceName(t *testing.T) {
	o := office(t)
	long := strings.Repeat("x", 63)
	for _, name := range []string{"scanner", "Scanner-2", long} {
		c, err := o.AddDevice(NewDevice{Name: name, IPs: []string{fmt.Sprintf("10.0.0.%d", len(name))}, MaySendTo: "all"})
		must(t, c, err)
	}
	for _, tt := range []struct{ host, helo, local, want string }{
		{"copier.office.example", "x", "y", "copier"},
		{"", "copier", "y", "copier"},
		{"", "SCANNER", "", "SCANNER-3"},
		{"", "[10.0.0.9]", "ups", "ups"},
		{"", "localhost.localdomain", "ups", "ups"},
		{"LOCALHOST", "printer", "ups", "printer"},
		{"localhost", "localhost", "", "device"},
		{"", "10.0.0.9", "", "device"},
		{"", "$(reboot)", "", "reboot"},
		{long + ".example", "", "", long[:58] + "-2"},
	} {
		last := decisionlog.Attempt{Record: decisionlog.Record{
			Time: time.Unix(1, 0), Facts: policy.Facts{
				Client:      policy.Client{Name: tt.host, Helo: tt.helo},
				Transaction: policy.Transaction{From: addr.Address{Local: tt.local, Domain: "x.example"}},
			},
		}}
		if got, err := o.deviceName([]decisionlog.Attempt{last}); err != nil || got != tt.want {
			t.Errorf("%v: %q, %v", tt, got, err)
		}
	}
}
