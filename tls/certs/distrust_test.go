package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// A client that does not trust the certificate is logged with what to do, once an hour for each
// address. Other failures are logged each time.
func TestDistrustIsHinted(t *testing.T) {
	m := mustOpen(t, Config{Dir: readyDir(t)})
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	noRoots := &tls.Config{ServerName: "mail.office.example", RootCAs: x509.NewCertPool()}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client := noRoots.Clone()
		client.MinVersion, client.MaxVersion = version, version
		a, b := net.Pipe()
		go func() {
			tls.Client(a, client).Handshake()
			a.Close()
		}()
		err := tls.Server(b, m.TLSConfig("smtp", log)).Handshake()
		b.Close()
		if !distrusts(err) {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		out.Reset()
		ip := netip.AddrFrom4([4]byte{192, 0, 2, byte(version)})
		at := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
		for _, after := range []time.Duration{0, time.Minute, 59 * time.Minute, time.Hour} {
			m.logFailure("smtp", ip, err, at.Add(after), log)
		}
		if n := strings.Count(out.String(), "admin tls export-ca"); n != 2 {
			t.Errorf("%s: %d hints:\n%s", tls.VersionName(version), n, &out)
		}
	}
	out.Reset()
	for range 2 {
		m.logFailure("smtp", netip.MustParseAddr("192.0.2.1"), net.ErrClosed, time.Now(), log)
	}
	if n := strings.Count(out.String(), "TLS handshake failed"); n != 2 {
		t.Errorf("%d lines:\n%s", n, &out)
	}
}
