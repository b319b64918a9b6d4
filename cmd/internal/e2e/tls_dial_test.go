//go:build e2e

package e2e

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pillarbox/tls/certs"
)

// The two computers are this machine, with different addresses.
const (
	oldPC    = "127.0.0.1" // in tls.legacy_networks
	stranger = "127.0.0.2"
)

// services are the services with TLS.
var services = []string{"smtp", "submission", "smtps", "pop3", "pop3s"}

// protocolOf returns the protocol of a service, as in the table of clients.
func protocolOf(service string) string {
	if strings.HasPrefix(service, "pop3") {
		return "pop3"
	}
	return "smtp"
}

// pool trusts the CAs in a PEM file.
func pool(t testing.TB, file string) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(text) {
		t.Fatalf("%s holds no certificate", file)
	}
	return p
}

// dialTLS connects to a service from an address of loopback, starts TLS, and stops where a client
// may log in. The error is that of the handshake.
func (o *office) dialTLS(t testing.TB, from, service string, cfg *tls.Config) (*session, error) {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 30 * time.Second}
	conn, err := d.DialContext(t.Context(), "tcp", o.listen[service])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	s := &session{conn, bufio.NewReader(conn)}
	implicit := strings.HasSuffix(service, "s")
	if !implicit {
		s.wantGreeting(t)
		s.beginTLS(t, service)
	}
	cfg = cfg.Clone()
	if cfg.ServerName == "" {
		cfg.ServerName = hostname
	}
	if cfg.RootCAs == nil {
		cfg.RootCAs = pool(t, o.ca)
	}
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(t.Context()); err != nil {
		return nil, err
	}
	s.Conn, s.in = secure, bufio.NewReader(secure)
	if implicit {
		s.wantGreeting(t)
	}
	if protocolOf(service) == "smtp" {
		s.ask(t, "250", "EHLO PC")
	}
	return s, nil
}

func (s *session) wantGreeting(t testing.TB) {
	t.Helper()
	if reply, err := s.reply(); err != nil || reply[0] != '2' && reply[0] != '+' {
		t.Fatalf("the greeting is %q, %v", reply, err)
	}
}

// beginTLS sends the command that starts TLS.
func (s *session) beginTLS(t testing.TB, service string) {
	t.Helper()
	if protocolOf(service) == "pop3" {
		s.ask(t, "+OK", "STLS")
		return
	}
	if reply := s.ask(t, "250", "EHLO PC"); !strings.Contains(reply, "STARTTLS") {
		t.Fatalf("STARTTLS is not offered:\n%s", reply)
	}
	s.ask(t, "220", "STARTTLS")
}

// mustDialTLS is dialTLS for a handshake that must succeed.
func (o *office) mustDialTLS(t testing.TB, from, service string, cfg *tls.Config) *session {
	t.Helper()
	s, err := o.dialTLS(t, from, service, cfg)
	if err != nil {
		t.Fatalf("%s from %s: %v", service, from, err)
	}
	return s
}

// quit ends the session with QUIT, so that it leaves no line in the log.
func (s *session) quit(t testing.TB) {
	t.Helper()
	reply, err := s.say("QUIT")
	if err != nil || reply[0] != '2' && reply[0] != '+' {
		t.Errorf("QUIT was answered %q, %v", reply, err)
	}
	s.Close()
}

// state returns the state of the TLS connection.
func (s *session) state() tls.ConnectionState { return s.Conn.(*tls.Conn).ConnectionState() }

// tlsClients returns the output of "admin tls clients --json".
func (o *office) tlsClients(t testing.TB, more ...string) (all []certs.Client) {
	t.Helper()
	text := o.pillarbox(t, "", append([]string{"admin", "tls", "clients", "--json"}, more...)...)
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return all
}

// wantClient expects a row in the table of clients.
func wantClient(t testing.TB, all []certs.Client, want certs.Client) {
	t.Helper()
	if !slices.ContainsFunc(all, func(c certs.Client) bool {
		return c.Address == want.Address && c.Service == want.Service && c.Port == want.Port && c.Protocol == want.Protocol &&
			c.Cipher == want.Cipher && c.Legacy == want.Legacy && c.WeakCipher == want.WeakCipher && c.Refused == want.Refused &&
			c.Count == want.Count && !c.First.IsZero() && !c.Last.Before(c.First)
	}) {
		var seen strings.Builder
		for _, c := range all {
			fmt.Fprintf(&seen, "%+v\n", c)
		}
		t.Errorf("no client %+v among\n%s", want, seen.String())
	}
}
