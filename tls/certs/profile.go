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

// legacySuites are the additional suites of the legacy profile: RSA key exchange with AES and with
// 3DES, which is the best that Windows XP has. The library chooses the best suite that both sides
// have.
var legacySuites = []uint16{
	tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_RSA_WITH_AES_128_CBC_SHA256,
	tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA,
	tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256,
	tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA,
}

var rc4Suites = []uint16{tls.TLS_RSA_WITH_RC4_128_SHA, tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA}

// modernSuites returns the suites of TLS 1.2 that every client may use: forward secrecy and an AEAD
// cipher. Those of TLS 1.3 are always on.
func modernSuites() (ids []uint16) {
	for _, suite := range tls.CipherSuites() {
		if !strength.Legacy(tls.VersionTLS12, suite.ID) {
			ids = append(ids, suite.ID)
		}
	}
	return ids
}

// profiles makes the TLS configurations of both profiles.
func (s *state) profiles() {
	s.modern = &tls.Config{
		MinVersion:   max(s.config.MinVersion, tls.VersionTLS12),
		CipherSuites: modernSuites(),
	}
	for _, one := range s.shown {
		s.modern.Certificates = append(s.modern.Certificates, one.cert)
	}
	s.modern.GetCertificate = s.certificate
	if s.config.AskClients && s.ca != nil {
		// Do not require or verify one: a client with another certificate, or none, may still log
		// in with a password.
		s.modern.ClientAuth, s.modern.ClientCAs = tls.RequestClientCert, x509.NewCertPool()
		s.modern.ClientCAs.AddCert(s.ca)
	}
	if len(s.config.LegacyNetworks) == 0 || !s.hasRSA() {
		return
	}
	s.legacy = s.modern.Clone()
	s.legacy.MinVersion = tls.VersionTLS10
	s.legacy.Certificates, s.legacy.GetCertificate = s.rsa(), nil
	s.legacy.CipherSuites = nil
	for _, suite := range tls.CipherSuites() {
		s.legacy.CipherSuites = append(s.legacy.CipherSuites, suite.ID)
	}
	s.legacy.CipherSuites = append(s.legacy.CipherSuites, legacySuites...)
	if s.config.LegacyRC4 {
		s.legacy.CipherSuites = append(s.legacy.CipherSuites, rc4Suites...)
	}
}

// certificate returns the first certificate with the name that the client asks for, or else the
// first that the client can use. In the second case the library by itself would return the first of
// all, which the client may not be able to use.
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
	return nil, nil // the library then chooses, and fails with the right alert
}

// TLSConfig returns the server's TLS configuration for the connections of a service.
// [Manager.Clients] and the log use the name of the service. Later reloads apply to it too. The
// caller must not change it.
func (m *Manager) TLSConfig(service string, log *slog.Logger) *tls.Config {
	// canModern depends on these values.
	outer := &tls.Config{MinVersion: tls.VersionTLS12, CipherSuites: modernSuites()}
	outer.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c := contact{
			service: service,
			remote:  addressOf(hello.Conn.RemoteAddr()),
			port:    portOf(hello.Conn.LocalAddr()),
		}
		s := m.current.Load()
		chosen := s.choose(hello, c.remote)
		if chosen == nil {
			m.clients.recordRefusal(c, hello, time.Now(), log)
			chosen = s.modern // the handshake fails with an alert that the client understands
		}
		// Each connection gets a copy, since VerifyConnection has no other way to know the client.
		// Session tickets still work, because they are encrypted with the keys of outer.
		mine := chosen.Clone()
		mine.VerifyConnection = func(state tls.ConnectionState) error {
			m.clients.recordHandshake(c, state.Version, state.CipherSuite, time.Now(), log)
			return nil
		}
		return mine, nil
	}
	return outer
}

// choose returns the profile for a client: the modern one if the client can use it, else the legacy
// one if the client may use it, else nil.
func (s *state) choose(hello *tls.ClientHelloInfo, remote netip.Addr) *tls.Config {
	switch {
	case s.canModern(hello):
		return s.modern
	case s.legacy != nil && containsAddr(s.config.LegacyNetworks, remote):
		return s.legacy
	}
	return nil
}

// canModern reports whether a handshake with the modern profile would succeed. The library decides
// that by the configuration that received the hello, which is outer in TLSConfig.
func (s *state) canModern(hello *tls.ClientHelloInfo) bool {
	if !slices.ContainsFunc(hello.SupportedVersions, func(v uint16) bool {
		// Values above TLS 1.3 are meaningless (RFC 8701).
		return v >= s.modern.MinVersion && v <= tls.VersionTLS13
	}) {
		return false
	}
	nameless := *hello
	nameless.ServerName = "" // any name will do
	return slices.ContainsFunc(s.modern.Certificates, func(c tls.Certificate) bool {
		return nameless.SupportsCertificate(&c) == nil
	})
}

func containsAddr(networks []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(ip) })
}

// addressOf returns the address of a client in the form that networks use, or zero if the
// connection is not TCP.
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
