package clientsetup

import (
	"net/netip"
	"slices"
	"testing"

	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/addr"
)

// Users get only those addresses of the machine on which a service listens.
func TestAddresses(t *testing.T) {
	own := []netip.Addr{netip.MustParseAddr("192.168.1.10"), netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("fd00::2")}
	for _, test := range []struct {
		smtp, pop3 []string
		want       []string
	}{
		{[]string{":25"}, []string{":110"}, []string{"192.168.1.10", "203.0.113.5", "fd00::2"}},
		{[]string{"0.0.0.0:25"}, nil, []string{"192.168.1.10", "203.0.113.5"}},
		{[]string{"[::]:25"}, nil, []string{"192.168.1.10", "203.0.113.5", "fd00::2"}},
		{[]string{"192.168.1.10:25"}, []string{"[fd00::2]:110"}, []string{"192.168.1.10", "fd00::2"}},
		{[]string{"127.0.0.1:25"}, []string{"127.0.0.1:110"}, []string{}},
	} {
		cfg := config.Default()
		cfg.Listen = config.Listen{SMTP: test.smtp, POP3: test.pop3}
		got := For(&cfg, addr.Address{Local: "anna", Domain: "office.example"}, own).Addresses
		if !slices.Equal(got, test.want) {
			t.Errorf("%v, %v: %v, want %v", test.smtp, test.pop3, got, test.want)
		}
	}
}
