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

// Old programs need the plain ports, which only some networks may log in to.
func TestPlain(t *testing.T) {
	for _, test := range []struct {
		networks []string
		tls      bool
		want     []Service
	}{
		{nil, false, nil},
		{[]string{"127.0.0.0/8", "::1/128"}, false, nil},
		{[]string{"192.168.1.0/24"}, true, nil},
		{[]string{"127.0.0.0/8", "192.168.1.0/24"}, false,
			[]Service{{Port: 1110, Encryption: "none"}, {Port: 1025, Encryption: "none"}}},
	} {
		cfg := config.Default()
		cfg.Listen = config.Listen{SMTP: []string{":1025"}, Submission: []string{":1587"}, POP3: []string{":1110"}}
		cfg.Sites.POP3.RequireTLS, cfg.Sites.SMTP.RequireTLS.Value = test.tls, test.tls
		cfg.Sites.SMTP.OfferAuth.Value = true
		for _, n := range test.networks {
			cfg.Auth.PlaintextNetworks = append(cfg.Auth.PlaintextNetworks, netip.MustParsePrefix(n))
		}
		s := For(&cfg, addr.Address{Local: "anna", Domain: "office.example"}, nil)
		var got []Service
		for _, one := range slices.Concat(s.Incoming, s.Outgoing) {
			if one.Encryption == "none" {
				if len(one.Networks) != 1 || one.Networks[0].String() != "192.168.1.0/24" {
					t.Errorf("networks %v", one.Networks)
				}
				got = append(got, Service{Port: one.Port, Encryption: one.Encryption})
			}
		}
		same := func(a, b Service) bool { return a.Port == b.Port }
		if !slices.EqualFunc(got, test.want, same) {
			t.Errorf("%v, TLS %v: %v, want %v", test.networks, test.tls, got, test.want)
		}
	}
}
