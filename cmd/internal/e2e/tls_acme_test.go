//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"
)

// shown returns the certificate that a modern mail program gets.
func (o *office) shown(t testing.TB, ca string) (*x509.Certificate, error) {
	t.Helper()
	c, err := o.dialTLS(t, stranger, "pop3s", &tls.Config{RootCAs: pool(t, ca)})
	if err != nil {
		return nil, err
	}
	defer c.quit(t)
	return c.state().PeerCertificates[0], nil
}

// wantShown waits for a certificate from the CAs in the file.
func (o *office) wantShown(t testing.TB, ca string) (cert *x509.Certificate) {
	t.Helper()
	eventually(t, "a certificate of "+ca, func() (ok bool) {
		var err error
		cert, err = o.shown(t, ca)
		return err == nil
	})
	return cert
}

// wantLines expects each pattern in a command's output.
func wantLines(t testing.TB, text string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile(p).MatchString(text) {
			t.Errorf("no %s in\n%s", p, text)
		}
	}
}

const dateTime = `\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`

// TestACME gets a certificate by each challenge, without a restart, instead of the own CA's. Mail
// programs that trust the authority get it at once, and the port of the challenge is closed again.
func TestACME(t *testing.T) {
	needs(t, "curl")
	for _, challenge := range []string{"http-01", "tls-alpn-01"} {
		t.Run(challenge, func(t *testing.T) {
			o, p := newOffice(t), newPebble(t)
			p.start(t, 90*24*time.Hour)
			root := p.root(t)
			s := o.serve(t)
			if _, err := o.shown(t, o.ca); err != nil {
				t.Fatalf("before: %v", err)
			}
			wantLines(t, o.pillarbox(t, "", "admin", "tls", "acme", "status"), "^ACME is off: tls.acme.enabled is false\n$")

			port := map[string]string{"http-01": p.http, "tls-alpn-01": p.tls}[challenge]
			p.by(t, o, challenge, port)
			o.pillarbox(t, "", "admin", "reload")
			first := o.wantShown(t, root)
			if first.VerifyHostname(hostname) != nil || len(first.DNSNames) != 1 {
				t.Errorf("it is for %v", first.DNSNames)
			}
			for _, service := range services {
				o.mustDialTLS(t, stranger, service, &tls.Config{RootCAs: pool(t, root)}).quit(t)
			}
			mustRun(t, curlSend(t, o, submission{service: "submission", security: "starttls", login: "PLAIN", user: anna,
				password: annaPassword, to: boss, file: o.write(t, "message.eml", letter(challenge)), ca: root}))
			mustRun(t, o.curlPOP3(t, fetch{service: "pop3s", security: "implicit", login: "PLAIN", user: boss, password: bossPassword}, "", "--cacert", root))
			wantLines(t, s.log.String(), `level=INFO msg="certificate by ACME" names=\[`+hostname+`\] until=\d{4}-`)
			if c, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
				c.Close()
				t.Error("the challenge is still listened for")
			}
			o.wantACMEScreens(t, p, challenge)
			o.wantRenewed(t, root, first)
		})
	}
}

// wantACMEScreens checks the output of the commands after a success.
func (o *office) wantACMEScreens(t *testing.T, p *pebble, challenge string) {
	t.Helper()
	wantLines(t, o.pillarbox(t, "", "admin", "tls", "acme", "status"),
		`(?m)^Names: +`+hostname+`$`, `(?m)^Authority: +https://localhost:`+p.port+`/dir$`, `(?m)^Challenge: +`+challenge+`$`,
		`(?m)^Certificate: +valid to `+dateTime+`$`, `(?m)^Last attempt: +`+dateTime+`, good$`, `(?m)^Next attempt: +`+dateTime+`$`)
	show := o.pillarbox(t, "", "admin", "tls", "show")
	wantLines(t, show, `(?m)^Names +`+hostname+`\n`, `(?m)^Issuer +CN=Pebble Intermediate CA `, `(?m)^File .*/tls/acme/`,
		`(?m)^Own CA +CN=Pillarbox CA `)
	if n := strings.Count(show, "Names "); n != 3 || strings.Index(show, "Pebble") > strings.Index(show, "Pillarbox") {
		t.Errorf("%d certificates, want that by ACME and then the two of the own CA:\n%s", n, show)
	}
}

// wantRenewed renews the certificate by command.
func (o *office) wantRenewed(t *testing.T, root string, first *x509.Certificate) {
	t.Helper()
	wantLines(t, o.pillarbox(t, "", "admin", "tls", "acme", "renew"), `(?m)^Last attempt: .*, good$`)
	if second, err := o.shown(t, root); err != nil || second.SerialNumber.Cmp(first.SerialNumber) == 0 {
		t.Errorf("after renew the old certificate is shown, or none: %v", err)
	}
	wantLines(t, o.pillarbox(t, "", "admin", "audit"), `certificate by ACME`)
}

// TestACMEDown checks that the server starts at once with its own CA if the authority cannot be
// reached. The status names the error and the time of the next attempt. A later certificate is
// used, also after a restart without the authority, and replaced when it is due.
func TestACMEDown(t *testing.T) {
	o, p := newOffice(t), newPebble(t)
	p.by(t, o, "http-01", p.http)
	began := time.Now()
	s := o.serve(t)
	s.errors = []string{"no certificate by ACME"}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the start took %v", took)
	}
	for _, service := range services {
		o.mustDialTLS(t, stranger, service, &tls.Config{}).quit(t)
	}
	s.wantLog(t, `level=ERROR msg="no certificate by ACME" names=[`+hostname+`] failures=1 next_attempt=`)
	wantLines(t, o.pillarbox(t, "", "admin", "tls", "acme", "status"),
		`(?m)^Certificate: +none yet; that of the server's own CA stands in$`,
		`(?m)^Last attempt: +`+dateTime+`, failed \(1 in a row\): .*connection refused$`, `(?m)^Next attempt: +`+dateTime+`$`)
	out, code := run(t, o.command(t, binary, "admin", "tls", "acme", "renew"))
	if code != 1 || !strings.Contains(out, "connection refused") {
		t.Errorf("renew: exit code %d\n%s", code, out)
	}

	const lifetime = 12 * time.Second
	p.start(t, lifetime)
	o.pillarbox(t, "", "admin", "tls", "acme", "renew")
	first, err := o.shown(t, p.root(t))
	if err != nil {
		t.Fatalf("the authority is back: %v", err)
	}
	s.stop(t)
	wait := time.Until(first.NotAfter.Add(-lifetime / 3)) // when it is due
	time.Sleep(wait + time.Second)
	o.serve(t)
	eventually(t, "another certificate", func() bool {
		second, err := o.shown(t, p.root(t))
		return err == nil && second.SerialNumber.Cmp(first.SerialNumber) != 0
	})
}

// TestACMEBlocked checks the status if the authority cannot reach the server, because of a firewall
// or a wrong name: it contains the authority's reason.
func TestACMEBlocked(t *testing.T) {
	o, p := newOffice(t), newPebble(t)
	p.start(t, time.Hour)
	elsewhere := freePort(t)
	p.by(t, o, "http-01", elsewhere)
	s := o.serve(t)
	s.errors = []string{"no certificate by ACME"}
	s.wantLog(t, "no certificate by ACME")
	status := o.pillarbox(t, "", "admin", "tls", "acme", "status")
	wantLines(t, status, `failed \(1 in a row\)`, hostname, `127.0.0.1:`+p.http, `connection refused`)
	if _, err := o.shown(t, o.ca); err != nil {
		t.Error(err)
	}

	// Another program, such as a web server, uses the port of the challenge.
	l, err := net.Listen("tcp", "127.0.0.1:"+p.http)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o.set(t, "tls.acme", "listen", `"127.0.0.1:`+p.http+`"`)
	o.pillarbox(t, "", "admin", "reload")
	out, code := run(t, o.command(t, binary, "admin", "tls", "acme", "renew"))
	if code != 1 || !strings.Contains(out, "the challenge http-01 cannot be answered") || !strings.Contains(out, "address already in use") {
		t.Errorf("renew: exit code %d\n%s", code, out)
	}
	l.Close()
	o.pillarbox(t, "", "admin", "tls", "acme", "renew")
	if _, err := o.shown(t, p.root(t)); err != nil {
		t.Error(err)
	}
}

// TestACMESilent checks that an authority that accepts the connection and sends nothing delays
// neither the start nor the stop.
func TestACMESilent(t *testing.T) {
	o, p := newOffice(t), newPebble(t)
	l, err := net.Listen("tcp", "127.0.0.1:"+p.port)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // with the connections that were not accepted
	p.by(t, o, "http-01", p.http)
	began := time.Now()
	s := o.serve(t)
	if _, err := o.shown(t, o.ca); err != nil {
		t.Error(err)
	}
	wantLines(t, o.pillarbox(t, "", "admin", "tls", "acme", "status"), `(?m)^Certificate: +none yet; `, `(?m)^Next attempt: +now$`)
	o.deliver(t, letter("meanwhile"), anna)
	s.stop(t)
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("start and stop took %v", took)
	}
}

// selfSigned makes a certificate, as PEM files, that is valid for some days and is its own CA.
func (o *office) selfSigned(t *testing.T, days int) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(days) + 1000), Subject: pkix.Name{CommonName: hostname}, DNSNames: []string{hostname},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Duration(days)*24*time.Hour + time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return o.write(t, "files-cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))),
		o.write(t, "files-key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
}

// TestExpiryWarning checks that a certificate from files that expires within two weeks stays in
// use, with a warning in the log from the start and in the commands. The warning ends with a new
// certificate.
func TestExpiryWarning(t *testing.T) {
	o := newOffice(t)
	cert, key := o.selfSigned(t, 10)
	o.set(t, "tls", "cert", `"`+cert+`"`)
	o.set(t, "tls", "key", `"`+key+`"`)
	end := time.Now().Add(10*24*time.Hour + time.Hour).UTC().Format(time.DateOnly)
	s := o.serve(t)
	s.wantLog(t, `level=WARN msg=certificate warning="The certificate expires on `+end)
	for _, command := range [][]string{{"admin", "tls", "show"}, {"config", "check"}} {
		wantLines(t, o.pillarbox(t, "", command...), `The certificate expires on `+end)
	}
	if _, err := o.shown(t, cert); err != nil {
		t.Error(err)
	}
	out, code := run(t, o.command(t, binary, "admin", "tls", "renew"))
	if code == 0 || !strings.Contains(out, "renew it where it came from") {
		t.Errorf("tls renew: exit code %d\n%s", code, out)
	}

	o.selfSigned(t, 20)
	o.pillarbox(t, "", "admin", "reload")
	if _, err := o.shown(t, cert); err != nil {
		t.Errorf("the new file is not used after a reload: %v", err)
	}
	if out := o.pillarbox(t, "", "admin", "tls", "show"); strings.Contains(out, "expires on") {
		t.Errorf("there is a warning 20 days before the end:\n%s", out)
	}
}
