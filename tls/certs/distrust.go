package certs

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"
)

// distrusts reports whether a handshake failed because the client does not trust the certificate:
// by the alerts unknown_ca, bad_certificate and certificate_unknown (RFC 8446 §6.2). crypto/tls
// exports their texts only.
func distrusts(err error) bool {
	remote, ok := errors.AsType[*net.OpError](err) // as crypto/tls reports an alert of the client
	if !ok || remote.Op != "remote error" {
		return false
	}
	switch _, alert, _ := strings.Cut(remote.Error(), "tls: "); alert {
	case "unknown certificate authority", "bad certificate", "unknown certificate":
		return true
	}
	return false
}

// HandshakeFailed logs that a handshake with a client failed. A client that does not trust the
// certificate connects again and again: it is logged once an hour, with what to do, and otherwise
// at the level debug.
func (m *Manager) HandshakeFailed(service string, remote netip.Addr, err error, log *slog.Logger) {
	m.logFailure(service, remote, err, time.Now(), log)
}

func (m *Manager) logFailure(
	service string, remote netip.Addr, err error, now time.Time, log *slog.Logger,
) {
	log = log.With("service", service, "remote_ip", remote, "error", err)
	if !distrusts(err) {
		log.Info("TLS handshake failed")
		return
	}
	m.clients.mu.Lock()
	first := m.clients.hintedDistrust.first(remote, now)
	m.clients.mu.Unlock()
	if !first {
		log.Debug("TLS handshake failed")
		return
	}
	hint := "the client does not know the authority of the certificate, or the certificate does " +
		"not have the name that the client connects to"
	if m.Info().CA != nil {
		hint = "import the server's CA into the mail program: " +
			"'pillarbox admin tls export-ca -o office-ca.pem' writes it; " +
			"if the program has it, it must connect to a name in 'pillarbox admin tls show'"
	}
	log.Info("TLS handshake failed: the client does not trust the server's certificate",
		"hint", hint)
}
