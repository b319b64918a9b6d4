package certs

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"pillarbox/tls/strength"
)

// legacySuites are what the legacy profile has, beside those that are good: the
// RSA key exchange with AES and with 3DES, which is the best that Windows XP
// has. The library chooses the best that both sides have.
var legacySuites = []uint16{
	tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_RSA_WITH_AES_128_CBC_SHA256,
	tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA,
	tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA,
}

var rc4Suites = []uint16{tls.TLS_RSA_WITH_RC4_128_SHA, tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA}

// modernSuites are the suites of TLS 1.2 that everybody may have: forward secrecy
// and an AEAD cipher. Those of TLS 1.3 are always on.
func modernSuites() (ids []uint16) {
	for _, suite := range tls.CipherSuites() {
		if !strength.Legacy(tls.VersionTLS12, suite.ID) {
			ids = append(ids, suite.ID)
		}
	}
	return ids
}

// profiles makes the configurations of both profiles.
func (s *state) profiles() {
	s.modern = &tls.Config{MinVersion: max(s.config.MinVersion, tls.VersionTLS12), CipherSuites: modernSuites()}
	for _, one := range s.shown {
		s.modern.Certificates = append(s.modern.Certificates, one.cert)
	}
	s.modern.GetCertificate = s.certificate
	if s.config.AskClients && s.ca != nil {
		// The hint is all that is asked: who shows another certificate, or none, may
		// still have a password.
		s.modern.ClientAuth, s.modern.ClientCAs = tls.RequestClientCert, x509.NewCertPool()
		s.modern.ClientCAs.AddCert(s.ca)
	}
	if len(s.config.LegacyNetworks) == 0 || !s.hasRSA() {
		return
	}
	s.legacy = s.modern.Clone()
	s.legacy.MinVersion, s.legacy.Certificates, s.legacy.GetCertificate = tls.VersionTLS10, s.rsa(), nil
	s.legacy.CipherSuites = nil
	for _, suite := range tls.CipherSuites() {
		s.legacy.CipherSuites = append(s.legacy.CipherSuites, suite.ID)
	}
	s.legacy.CipherSuites = append(s.legacy.CipherSuites, legacySuites...)
	if s.config.LegacyRC4 {
		s.legacy.CipherSuites = append(s.legacy.CipherSuites, rc4Suites...)
	}
}

// certificate is the first that has the name which the client asks for, or else
// the first that it can use: by itself the library would then take one that it
// perhaps cannot.
func (s *state) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	nameless := *hello
	nameless.ServerName = ""
	for _, wish := range []*tls.ClientHelloInfo{hello, &nameless} {
		for i := range s.shown {
			if wish.SupportsCertificate(&s.shown[i].cert) == nil {
				return &s.shown[i].cert, nil
			}
		}
	}
	return nil, nil // the library's own choice fails with the right words
}

// TLSConfig is for the server's side of every connection of a service, which is
// the name that [Manager.Clients] and the log have for it. Later reloads hold for
// it too. The caller does not change it.
func (m *Manager) TLSConfig(service string, log *slog.Logger) *tls.Config {
	outer := &tls.Config{MinVersion: tls.VersionTLS12, CipherSuites: modernSuites()} // canModern asks for these
	outer.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c := contact{service: service, remote: addressOf(hello.Conn.RemoteAddr()), port: portOf(hello.Conn.LocalAddr())}
		s := m.current.Load()
		chosen := s.choose(hello, c.remote)
		if chosen == nil {
			m.clients.refused(c, hello, time.Now(), log)
			chosen = s.modern // which fails, and says so to the client
		}
		// A copy for each connection, because nothing else tells the hook who it is.
		// Tickets are sealed with the keys of outer all the same, and open there.
		mine := chosen.Clone()
		mine.VerifyConnection = func(state tls.ConnectionState) error {
			m.clients.agreed(c, state.Version, state.CipherSuite, time.Now(), log)
			return nil
		}
		return mine, nil
	}
	return outer
}

// choose is the profile for a client: the modern one for who can do that,
// whoever it is, else the legacy one for who may have it, else nil.
func (s *state) choose(hello *tls.ClientHelloInfo, remote netip.Addr) *tls.Config {
	switch {
	case s.canModern(hello):
		return s.modern
	case s.legacy != nil && inside(s.config.LegacyNetworks, remote):
		return s.legacy
	}
	return nil
}

// canModern reports whether a handshake with the modern profile would find
// something in common. The question goes to the library, which asks it of the
// configuration that the hello came to: outer in TLSConfig.
func (s *state) canModern(hello *tls.ClientHelloInfo) bool {
	if !slices.ContainsFunc(hello.SupportedVersions, func(v uint16) bool {
		return v >= s.modern.MinVersion && v <= tls.VersionTLS13 // above it are values that mean nothing (RFC 8701)
	}) {
		return false
	}
	nameless := *hello
	nameless.ServerName = "" // by whatever name it knows the server
	return slices.ContainsFunc(s.modern.Certificates, func(c tls.Certificate) bool { return nameless.SupportsCertificate(&c) == nil })
}

func inside(networks []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(ip) })
}

// addressOf is the address of a client as networks have it; zero for what is no
// TCP connection.
func addressOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

func portOf(a net.Addr) int {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.Port
	}
	return 0
}
