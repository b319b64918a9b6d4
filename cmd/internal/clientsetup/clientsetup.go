// Package clientsetup lists the settings of a mail program that uses this server ([For]), and writes
// them as files that programs read ([Render]). It does no I/O.
package clientsetup

import (
	"net"
	"net/netip"
	"slices"
	"strconv"

	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/addr"
)

// Service is one protocol and port of the server.
type Service struct {
	Protocol   string `json:"protocol"` // POP3 or SMTP
	Port       int    `json:"port"`
	Encryption string `json:"encryption"` // "SSL/TLS", "STARTTLS" or "none"
	// Networks are those that the client must be in; empty for all.
	Networks []netip.Prefix `json:"networks,omitempty"`
}

// Settings are the values that a user types.
type Settings struct {
	Server    string    `json:"server"`
	Addresses []string  `json:"addresses"` // for networks that cannot resolve the name
	User      string    `json:"user"`
	Incoming  []Service `json:"incoming"` // best first
	Outgoing  []Service `json:"outgoing"` // best first
	// CA is the SHA-256 fingerprint of the server's own CA, which the mail program must trust; "" if
	// the server shows a certificate of another one.
	CA string `json:"ca,omitempty"`
}

// For returns the settings of one mailbox, from the services that are on. own are the addresses of the
// server.
func For(cfg *config.Config, user addr.Address, own []netip.Addr) Settings {
	s := Settings{Server: string(cfg.Hostname), Addresses: []string{}, User: user.String()}
	for _, a := range own {
		if listensOn(&cfg.Listen, a) {
			s.Addresses = append(s.Addresses, a.String())
		}
	}
	s.Incoming = services("POP3", cfg.Listen.POP3S, cfg.Listen.POP3)
	s.Outgoing = services("SMTP", cfg.Listen.SMTPS, cfg.Listen.Submission)
	if len(s.Outgoing) == 0 {
		s.Outgoing = services("SMTP", nil, cfg.Listen.SMTP)
	}
	if !cfg.Sites.POP3.RequireTLS {
		s.Incoming = append(s.Incoming, plain(cfg, "POP3", cfg.Listen.POP3)...)
	}
	if site := &cfg.Sites.SMTP; site.OfferAuth.Value && !site.RequireTLS.Value {
		s.Outgoing = append(s.Outgoing, plain(cfg, "SMTP", cfg.Listen.SMTP)...)
	}
	return s
}

// plain returns a service without encryption, for the networks outside this machine that may log in
// so: some programs know neither the TLS of today nor STARTTLS.
func plain(cfg *config.Config, protocol string, addresses []string) []Service {
	networks := slices.DeleteFunc(slices.Clone(cfg.Auth.PlaintextNetworks), func(n netip.Prefix) bool {
		return n.Addr().Unmap().IsLoopback()
	})
	if len(networks) == 0 || len(addresses) == 0 {
		return nil
	}
	return []Service{{protocol, Port(addresses[0]), "none", networks}}
}

// listensOn reports whether a service for mail programs listens on an address of this machine. A
// server with several networks may serve one of them only.
func listensOn(l *config.Listen, own netip.Addr) bool {
	for _, address := range slices.Concat(l.POP3S, l.POP3, l.SMTPS, l.Submission, l.SMTP) {
		host, _, err := net.SplitHostPort(address)
		ip, notIP := netip.ParseAddr(host)
		switch {
		case err != nil:
		case host == "", notIP == nil && ip == own:
			return true
		case notIP == nil && ip.IsUnspecified() && (ip.Is6() || own.Is4()):
			return true
		}
	}
	return false
}

func services(protocol string, implicit, explicit []string) []Service {
	out := []Service{}
	add := func(addresses []string, encryption string) {
		if len(addresses) > 0 {
			out = append(out, Service{protocol, Port(addresses[0]), encryption, nil})
		}
	}
	add(implicit, "SSL/TLS")
	add(explicit, "STARTTLS")
	return out
}

// Port returns the port of a listen address, 0 if it has none.
func Port(address string) int {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(port)
	return n
}
