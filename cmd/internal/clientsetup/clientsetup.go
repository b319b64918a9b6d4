// Package clientsetup says what to type into a mail program to read and send
// mail through this server.
package clientsetup

import (
	"net"
	"net/netip"
	"strconv"

	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/addr"
)

// Service is one way to reach the server.
type Service struct {
	Protocol   string `json:"protocol"` // POP3 or SMTP
	Port       int    `json:"port"`
	Encryption string `json:"encryption"` // "SSL/TLS" or "STARTTLS"
}

// Settings is what a person types.
type Settings struct {
	Server    string    `json:"server"`
	Addresses []string  `json:"addresses"` // where the name is not known on the network
	User      string    `json:"user"`
	Incoming  []Service `json:"incoming"` // best first
	Outgoing  []Service `json:"outgoing"` // best first
}

// For makes the settings of one mailbox from the services that are on.
func For(cfg *config.Config, user addr.Address, own []netip.Addr) Settings {
	s := Settings{Server: string(cfg.Hostname), Addresses: []string{}, User: user.String()}
	for _, a := range own {
		s.Addresses = append(s.Addresses, a.String())
	}
	s.Incoming = services("POP3", cfg.Listen.POP3S, cfg.Listen.POP3)
	s.Outgoing = services("SMTP", cfg.Listen.SMTPS, cfg.Listen.Submission)
	if len(s.Outgoing) == 0 {
		s.Outgoing = services("SMTP", nil, cfg.Listen.SMTP)
	}
	return s
}

func services(protocol string, implicit, explicit []string) []Service {
	out := []Service{}
	add := func(addresses []string, encryption string) {
		if len(addresses) > 0 {
			out = append(out, Service{protocol, Port(addresses[0]), encryption})
		}
	}
	add(implicit, "SSL/TLS")
	add(explicit, "STARTTLS")
	return out
}

// Port is the port of a listen address; 0 where it has none.
func Port(address string) int {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(port)
	return n
}
