//go:build e2e

package e2e

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"pillarbox/mailstore/directory"
	"pillarbox/tls/certs"
)

// filePassword encrypts the files of the client certificates.
const filePassword = "of-the-file"

// clientCert is a certificate for a mail program.
type clientCert struct{ file, fingerprint string }

// newCertOffice returns an office that requests client certificates.
func newCertOffice(t *testing.T) *office {
	t.Helper()
	o := newOffice(t)
	o.set(t, "auth", "client_certificates", "true")
	return o
}

// issue issues a certificate like an administrator.
func (o *office) issue(t *testing.T, user, name string, more ...string) clientCert {
	t.Helper()
	c := clientCert{file: o.path(name + ".p12")}
	out := o.pillarbox(t, filePassword+"\n", append([]string{"admin", "tls", "client-cert", user, "-o", c.file, "--password-stdin"}, more...)...)
	m := regexp.MustCompile(`SHA-256 ([0-9a-f]{64})\n`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no fingerprint in\n%s", out)
	}
	c.fingerprint = m[1]
	return c
}

// forged returns a certificate that the CA in a directory issued without the administrator, and
// adds it to those of the mailbox.
func (o *office) forged(t *testing.T, dir, user, name string, issued time.Time) clientCert {
	t.Helper()
	cert, err := certs.IssueClient(dir, hostname, certs.ClientRequest{Address: user, Password: filePassword, Days: 1}, issued)
	if err != nil {
		t.Fatal(err)
	}
	account := make(map[string]any)
	file := o.mailbox(user) + "/account.json"
	if err := json.Unmarshal([]byte(read(t, file)), &account); err != nil {
		t.Fatal(err)
	}
	listed, _ := account["client_certs"].([]any)
	account["client_certs"] = append(listed, directory.ClientCert{Fingerprint: cert.Fingerprint, Issued: issued, Expires: time.Now().AddDate(1, 0, 0)})
	text, err := json.Marshal(account)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return clientCert{o.write(t, name+".p12", string(cert.File)), cert.Fingerprint}
}

// config returns the configuration of Go's own client; asked becomes true if the server requests a
// certificate.
func (c clientCert) config(t *testing.T, asked *bool) *tls.Config {
	t.Helper()
	key, leaf, above, err := pkcs12.DecodeChain([]byte(read(t, c.file)), filePassword)
	if err != nil {
		t.Fatal(err)
	}
	cert := tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}
	for _, one := range above {
		cert.Certificate = append(cert.Certificate, one.Raw)
	}
	return &tls.Config{GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		*asked = true
		return &cert, nil
	}}
}

// curlBy makes a curl command log in with the certificate.
func (c clientCert) curlBy(cmd *exec.Cmd) *exec.Cmd {
	cmd.Args = append(cmd.Args, "--cert-type", "P12", "--cert", c.file+":"+filePassword)
	return cmd
}

// externalSend sends with curl, whose EXTERNAL needs no password, as the given user.
func (o *office) externalSend(t *testing.T, service, security, user string, c clientCert) *exec.Cmd {
	return c.curlBy(curlSend(t, o, submission{service: service, security: security, login: "EXTERNAL", user: user, to: boss,
		file: o.write(t, "message.eml", letter("by certificate")), ca: o.ca}))
}

// externalList lists the messages.
func (o *office) externalList(t *testing.T, service, security, user string, c clientCert) *exec.Cmd {
	return c.curlBy(curlList(t, o, fetch{service: service, security: security, login: "EXTERNAL", user: user}))
}

// TestClientCert logs in with certificates, for modern and for old programs, over every kind of
// TLS.
func TestClientCert(t *testing.T) {
	needs(t, "curl", "msmtp", "openssl")
	o := newCertOffice(t)
	s := o.serve(t)
	for name, more := range map[string][]string{"modern": nil, "old": {"--rsa", "--days", "30"}} {
		t.Run(name, func(t *testing.T) {
			cert := o.issue(t, anna, name, more...)
			if info, err := os.Stat(cert.file); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the file: %v, %v", info, err)
			}
			for _, user := range []string{anna, "anna"} {
				for _, way := range [][2]string{{"smtp", "starttls"}, {"submission", "starttls"}, {"smtps", "implicit"}} {
					s.wantLogIn(t, o.externalSend(t, way[0], way[1], user, cert), "EXTERNAL")
				}
				for _, way := range [][2]string{{"pop3", "starttls"}, {"pop3s", "implicit"}} {
					s.wantLogIn(t, o.externalList(t, way[0], way[1], user, cert), "EXTERNAL")
				}
			}
			msmtp := o.msmtpExternal(t, cert)
			if name == "old" {
				// GnuTLS 3.7 sends a certificate with an RSA key only if the server accepts PKCS #1
				// signatures, which TLS 1.3 does not have.
				msmtp.Args = append([]string{msmtp.Args[0], "--tls-priorities=NORMAL:-VERS-TLS1.3"}, msmtp.Args[1:]...)
			}
			s.wantLogIn(t, msmtp, "EXTERNAL")
		})
	}
	for _, message := range o.stored(t, boss) {
		if !strings.Contains(message, "(authenticated as "+anna+")") {
			t.Fatalf("not sent as anna:\n%s", message)
		}
	}
	if by, _ := o.ways(t, anna); by != "EXTERNAL, PLAIN, LOGIN" {
		t.Errorf("mailbox show: by %s", by)
	}
}

// msmtpExternal sends with msmtp, which needs PEM files.
func (o *office) msmtpExternal(t *testing.T, c clientCert) *exec.Cmd {
	pem := c.file + ".pem"
	mustRun(t, o.command(t, "openssl", "pkcs12", "-in", c.file, "-passin", "pass:"+filePassword, "-out", pem, "-nodes"))
	rc := []string{"host 127.0.0.1", "port " + o.port("submission"), "from " + anna, "domain pc." + domain,
		"auth external", "user " + anna, "tls_cert_file " + pem, "tls_key_file " + pem}
	rc = append(rc, msmtpSecurity("starttls", o.ca)...)
	cmd := o.command(t, "msmtp", "--file", o.write(t, "msmtprc", strings.Join(rc, "\n")+"\n"), "--", boss)
	cmd.Stdin = strings.NewReader(lines(letter("by msmtp")))
	return cmd
}

// TestClientCertRefused checks that a certificate that is not valid for the mailbox gets the same
// reply as a wrong password, and that the password still works on the same connection.
func TestClientCertRefused(t *testing.T) {
	needs(t, "curl")
	o := newCertOffice(t)
	refused := map[string]clientCert{
		"expired": o.forged(t, o.path("data", "tls"), anna, "expired", time.Now().AddDate(0, 0, -10)),
		"foreign": o.forged(t, o.path("foreign"), anna, "foreign", time.Now()),
	}
	s := o.serve(t)
	good, revoked, boss := o.issue(t, anna, "good"), o.issue(t, anna, "revoked"), o.issue(t, boss, "boss")
	s.wantLogIn(t, o.externalList(t, "pop3s", "implicit", anna, revoked), "EXTERNAL")
	o.pillarbox(t, "", "admin", "tls", "client-revoke", anna, revoked.fingerprint[:12])
	refused["revoked"], refused["another's"] = revoked, boss

	before := s.logIns("EXTERNAL")
	for name, cert := range refused {
		t.Run(name, func(t *testing.T) {
			for _, cmd := range []*exec.Cmd{o.externalList(t, "pop3s", "implicit", anna, cert), o.externalSend(t, "smtps", "implicit", anna, cert)} {
				if out, code := run(t, cmd); code != 67 {
					t.Errorf("exit code %d, want 67 (login denied)\n%s", code, out)
				}
			}
			o.wantPasswordAfter(t, cert)
		})
	}
	if n := s.logIns("EXTERNAL") - before; n != 0 {
		t.Errorf("%d log-ins by certificates that do not do", n)
	}
	s.wantLog(t, "the client certificate is not valid for this mailbox")
	s.wantLogIn(t, o.externalList(t, "pop3s", "implicit", anna, good), "EXTERNAL")

	list := o.pillarbox(t, "", "admin", "tls", "client-certs", anna)
	if !strings.Contains(list, good.fingerprint) || strings.Contains(list, revoked.fingerprint) {
		t.Errorf("client-certs lists\n%s", list)
	}
	o.pillarbox(t, "", "admin", "tls", "client-revoke", anna, "--all")
	if out, code := run(t, o.externalList(t, "pop3s", "implicit", anna, good)); code != 67 {
		t.Errorf("after --all: exit code %d\n%s", code, out)
	}
}

// wantPasswordAfter expects that EXTERNAL is refused and the password is then accepted.
func (o *office) wantPasswordAfter(t *testing.T, cert clientCert) {
	t.Helper()
	var asked bool
	authzid := base64.StdEncoding.EncodeToString([]byte(anna))
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + anna + "\x00" + annaPassword))
	for service, want := range map[string][2]string{"submission": {"5", "235 "}, "pop3": {"-ERR", "+OK"}} {
		c := o.mustDialTLS(t, stranger, service, cert.config(t, &asked))
		c.ask(t, want[0], "AUTH EXTERNAL %s", authzid)
		c.ask(t, want[1], "AUTH PLAIN %s", plain)
		c.quit(t)
	}
	if !asked {
		t.Error("the server did not ask for the certificate")
	}
}

// TestClientCertOld checks that the certificate for old programs works with old TLS too.
func TestClientCertOld(t *testing.T) {
	o := newCertOffice(t)
	o.set(t, "tls", "legacy_networks", `["`+oldPC+`"]`)
	s := o.serve(t)
	var asked bool
	cfg := o.issue(t, anna, "old", "--rsa").config(t, &asked)
	for _, old := range oldPrograms {
		cfg.MinVersion, cfg.MaxVersion, cfg.CipherSuites = old.version, old.version, []uint16{old.suite}
		c := o.mustDialTLS(t, oldPC, "submission", cfg)
		c.ask(t, "235", "AUTH EXTERNAL =")
		c.ask(t, "250", "MAIL FROM: <%s>", anna)
		c.quit(t)
		c = o.mustDialTLS(t, oldPC, "pop3s", cfg)
		c.ask(t, "+OK", "AUTH EXTERNAL =")
		c.quit(t)
	}
	if n := s.awaitLogIns("EXTERNAL", 2*len(oldPrograms)); !asked || n != 2*len(oldPrograms) {
		t.Errorf("asked %v, %d log-ins", asked, n)
	}
}

// TestClientCertOff checks that no certificate is requested, and EXTERNAL is not offered, until the
// key permits it.
func TestClientCertOff(t *testing.T) {
	needs(t, "curl")
	o := newOffice(t)
	s := o.serve(t)
	cert := o.issue(t, anna, "good")
	for _, on := range []bool{false, true, false} {
		o.set(t, "auth", "client_certificates", map[bool]string{false: "false", true: "true"}[on])
		o.pillarbox(t, "", "admin", "reload")
		for _, service := range services {
			var asked bool
			c := o.mustDialTLS(t, stranger, service, cert.config(t, &asked))
			offers, err := "", error(nil)
			if protocolOf(service) == "smtp" {
				offers, err = c.say("EHLO PC")
			} else if c.ask(t, "+OK", "CAPA"); err == nil {
				offers, err = c.text()
			}
			if offered := slices.Contains(strings.Fields(offers), "EXTERNAL"); err != nil || asked != on || offered != on {
				t.Errorf("%s, client_certificates = %v: asked %v, %v\n%s", service, on, asked, err, offers)
			}
			c.quit(t)
		}
		_, code := run(t, o.externalList(t, "pop3s", "implicit", anna, cert))
		if (code == 0) != on {
			t.Errorf("client_certificates = %v: curl ends with %d", on, code)
		}
	}
	if n := s.awaitLogIns("EXTERNAL", 1); n != 1 {
		t.Errorf("%d log-ins, want 1", n)
	}
}
