package certs

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

func TestIssueClient(t *testing.T) {
	dir := readyDir(t)
	m := mustOpen(t, Config{Dir: dir, AskClients: true})
	for _, old := range []bool{false, true} {
		issued, err := IssueClient(dir, "mail", ClientRequest{Address: "anna@office.example", Password: "secret words", Days: 365, RSA: old}, epoch)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := pkcs12.DecodeChain(issued.File, "other words"); !errors.Is(err, pkcs12.ErrIncorrectPassword) {
			t.Errorf("the password is not asked for: %v", err)
		}
		key, cert, chain, err := pkcs12.DecodeChain(issued.File, "secret words")
		if err != nil {
			t.Fatal(err)
		}
		_, isRSA := key.(*rsa.PrivateKey)
		if _, isECDSA := key.(*ecdsa.PrivateKey); isRSA != old || isECDSA == old {
			t.Errorf("the key is a %T", key)
		}
		if len(chain) != 1 || !chain[0].IsCA || !issued.NotAfter.Equal(epoch.Add(365*day)) || cert.Subject.CommonName != "anna@office.example" {
			t.Errorf("%+v, chain %v", issued, chain)
		}
		// At the time of the certificates, since a session does not outlive them.
		synctest.Test(t, func(t *testing.T) {
			checkShown(t, m, tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}, issued.Fingerprint)
		})
	}
	after := mustContents(t, dir)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(after)+1 { // plus the lock file
		t.Errorf("something was left behind: %v", entries)
	}
}

// checkShown logs in with a certificate, in TLS 1.2 and 1.3, and in a session that is resumed.
func checkShown(t *testing.T, m *Manager, cert tls.Certificate, want string) {
	t.Helper()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c := outlook(t, m, version)
		c.Certificates, c.ClientSessionCache = []tls.Certificate{cert}, tls.NewLRUClientSessionCache(1)
		server := m.TLSConfig("pop3", silent)
		for _, resumed := range []bool{false, true} {
			state := seenByServer(t, server, c)
			email, print, ok := m.ClientAddress(state, epoch)
			if !ok || email != "anna@office.example" || print != want || state.DidResume != resumed {
				t.Errorf("%s, resumed %v: %q %q %v, want %q", tls.VersionName(version), state.DidResume, email, print, ok, want)
			}
		}
	}
}

// seenByServer does a handshake, which must succeed, and returns the state of the server's side.
func seenByServer(t *testing.T, server, client *tls.Config) *tls.ConnectionState {
	t.Helper()
	_, state, err := speakBoth(server, client, tcp(t, inLAN))
	if err != nil {
		t.Fatal(err)
	}
	return &state
}

// A client without a certificate, or with one of another CA, gets a connection too. A client that is
// not asked shows none.
func TestForeignCertificatesAreNoHindrance(t *testing.T) {
	dir := readyDir(t)
	m := mustOpen(t, Config{Dir: dir, AskClients: true})
	certs, key := chain(t)
	foreign, err := tls.X509KeyPair(encodeCerts(certs[0]), key)
	if err != nil {
		t.Fatal(err)
	}
	show := func(m *Manager, cert *tls.Certificate) *tls.ConnectionState {
		c := client(t, m, "mail")
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
		return seenByServer(t, m.TLSConfig("smtp", silent), c)
	}
	if state := show(m, &tls.Certificate{}); len(state.PeerCertificates) != 0 {
		t.Error("a certificate out of nothing")
	}
	state := show(m, &foreign)
	if _, _, ok := m.ClientAddress(state, epoch); ok || len(state.PeerCertificates) == 0 {
		t.Errorf("a stranger's certificate: %v", ok)
	}
	if state := show(mustOpen(t, Config{Dir: dir}), &foreign); len(state.PeerCertificates) != 0 {
		t.Error("asked for a certificate though that is off")
	}
}

func TestIssueClientRefuses(t *testing.T) {
	dir := readyDir(t)
	good := ClientRequest{Address: "anna@office.example", Password: "secret words", Days: 365}
	for name, test := range map[string]struct {
		change func(*ClientRequest)
		now    time.Time
		err    error
	}{
		"no days":       {func(c *ClientRequest) { c.Days = 0 }, epoch, ErrDays},
		"too many days": {func(c *ClientRequest) { c.Days = MaxClientDays + 1 }, epoch, ErrDays},
		"no password":   {func(c *ClientRequest) { c.Password = "" }, epoch, nil},
		"the CA ended":  {func(*ClientRequest) {}, epoch.Add(caLifetime), ErrCAExpired},
	} {
		client := good
		test.change(&client)
		if _, err := IssueClient(dir, "mail", client, test.now); err == nil || test.err != nil && !errors.Is(err, test.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.Remove(filepath.Join(dir, caKeyFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := IssueClient(dir, "mail", good, epoch); !errors.Is(err, ErrNoCAKey) {
		t.Errorf("no CA key: %v", err)
	}
}

// A server whose certificate comes from files has no own CA until it is needed.
func TestIssueClientMakesTheCA(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	if _, err := IssueClient(dir, "mail.office.example", ClientRequest{Address: "anna@office.example", Password: "secret words", Days: 1}, epoch); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 {
		t.Errorf("%v %v", entries, err)
	}
}

// An independent program can read the files in both forms.
func TestOpenSSLReadsThem(t *testing.T) {
	program, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl here")
	}
	dir := readyDir(t)
	for _, old := range []bool{false, true} {
		issued, err := IssueClient(dir, "mail", ClientRequest{Address: "anna@office.example", Password: "secret words", Days: 365, RSA: old}, epoch)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "anna.p12")
		write(t, file, issued.File)
		out, err := exec.Command(program, "pkcs12", "-in", file, "-passin", "pass:secret words", "-nodes", "-legacy").CombinedOutput()
		if text := string(out); err != nil || strings.Count(text, "BEGIN CERTIFICATE") != 2 || !strings.Contains(text, "PRIVATE KEY") {
			t.Errorf("old %v: %v\n%s", old, err, out)
		}
	}
}
