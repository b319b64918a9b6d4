//go:build e2e

package e2e

import (
	"os/exec"
	"strings"
	"testing"
)

// oldGnuTLS are priority strings of gnutls-cli, and its description of the connection.
var oldGnuTLS = []struct{ priority, agreed string }{
	{"NONE:+VERS-TLS1.0:+3DES-CBC:+RSA:+SHA1:+COMP-NULL:+SIGN-ALL", "(TLS1.0-X.509)-(RSA)-(3DES-CBC)-(SHA1)"},
	{"NONE:+VERS-TLS1.0:+AES-128-CBC:+RSA:+SHA1:+COMP-NULL:+SIGN-ALL:%COMPAT", "(TLS1.0-X.509)-(RSA)-(AES-128-CBC)-(SHA1)"},
	{"NONE:+VERS-TLS1.1:+AES-256-CBC:+RSA:+SHA1:+COMP-NULL:+SIGN-ALL", "(TLS1.1-X.509)-(RSA)-(AES-256-CBC)-(SHA1)"},
	{"NONE:+VERS-TLS1.2:+AES-128-CBC:+RSA:+SHA1:+COMP-NULL:+SIGN-ALL", "(TLS1.2-X.509)-(RSA)-(AES-128-CBC)-(SHA1)"},
}

const rc4GnuTLS = "NONE:+VERS-TLS1.0:+ARCFOUR-128:+RSA:+SHA1:+COMP-NULL:+SIGN-ALL"

// gnutls connects with GnuTLS, which verifies the certificate, and sends QUIT.
func (o *office) gnutls(t *testing.T, service, priority string) *exec.Cmd {
	args := []string{"--priority", priority, "--x509cafile", o.ca, "--verify-hostname", hostname, "--port", o.port(service), "--crlf"}
	if !strings.HasSuffix(service, "s") {
		args = append(args, "--starttls-proto", protocolOf(service))
	}
	cmd := o.command(t, "gnutls-cli", append(args, "127.0.0.1")...)
	cmd.Stdin = strings.NewReader("QUIT\n")
	return cmd
}

// TestOldTLSGnuTLS tests old TLS of another implementation: from the computer in the settings, and
// from the same one after a reload without it.
func TestOldTLSGnuTLS(t *testing.T) {
	needs(t, "gnutls-cli")
	o := newOldOffice(t)
	o.serve(t)
	for _, service := range services {
		for _, old := range oldGnuTLS {
			out, code := run(t, o.gnutls(t, service, old.priority))
			if code != 0 || !strings.Contains(out, old.agreed) || !strings.Contains(out, "The certificate is trusted.") {
				t.Errorf("%s, %s: exit code %d\n%s", service, old.priority, code, out)
			}
		}
		if out, code := run(t, o.gnutls(t, service, rc4GnuTLS)); code == 0 {
			t.Errorf("%s speaks RC4\n%s", service, out)
		}
	}
	o.set(t, "tls", "legacy_rc4", "true")
	o.pillarbox(t, "", "admin", "reload")
	if out := mustRun(t, o.gnutls(t, "pop3s", rc4GnuTLS)); !strings.Contains(out, "(TLS1.0-X.509)-(RSA)-(ARCFOUR-128)-(SHA1)") {
		t.Errorf("RC4:\n%s", out)
	}

	o.set(t, "tls", "legacy_networks", `["127.0.0.9"]`)
	o.pillarbox(t, "", "admin", "reload")
	for _, service := range services {
		for _, priority := range []string{oldGnuTLS[0].priority, oldGnuTLS[1].priority, oldGnuTLS[2].priority, oldGnuTLS[3].priority, rc4GnuTLS} {
			if out, code := run(t, o.gnutls(t, service, priority)); code == 0 {
				t.Errorf("%s, %s: served after the reload\n%s", service, priority, out)
			}
		}
		mustRun(t, o.gnutls(t, service, "NORMAL"))
	}
}

// openSSL connects with OpenSSL from an address and verifies the certificate.
func (o *office) openSSL(t *testing.T, from, service string, more ...string) *exec.Cmd {
	args := []string{"s_client", "-connect", o.listen[service], "-bind", from + ":0", "-CAfile", o.ca,
		"-verify_return_error", "-verify_hostname", hostname, "-crlf"}
	if !strings.HasSuffix(service, "s") {
		args = append(args, "-starttls", protocolOf(service), "-name", "PC")
	}
	cmd := o.command(t, "openssl", append(args, more...)...)
	cmd.Stdin = strings.NewReader("QUIT\n")
	return cmd
}

// TestOldTLSOpenSSL tests OpenSSL, which has no 3DES and RC4 any more, but can choose its own
// address.
func TestOldTLSOpenSSL(t *testing.T) {
	needs(t, "openssl")
	o := newOldOffice(t)
	o.serve(t)
	tests := []struct {
		args   []string
		agreed string
	}{
		{[]string{"-tls1", "-cipher", "AES128-SHA:@SECLEVEL=0"}, "Cipher is AES128-SHA"},
		{[]string{"-tls1", "-cipher", "ALL:@SECLEVEL=0"}, "Cipher is ECDHE-RSA-AES"},
		{[]string{"-tls1_1", "-cipher", "ALL:@SECLEVEL=0"}, "Cipher is ECDHE-RSA-AES"},
		{[]string{"-tls1_2", "-cipher", "AES256-SHA:@SECLEVEL=0"}, "Cipher is AES256-SHA"},
	}
	for _, service := range services {
		for _, tt := range tests {
			out, code := run(t, o.openSSL(t, oldPC, service, tt.args...))
			if code != 0 || !strings.Contains(out, tt.agreed) || !strings.Contains(out, "Server public key is 2048 bit") {
				t.Errorf("%s %v: exit code %d\n%s", service, tt.args, code, out)
			}
			if out, code := run(t, o.openSSL(t, stranger, service, tt.args...)); code == 0 {
				t.Errorf("%s %v: a stranger gets in\n%s", service, tt.args, out)
			}
		}
		for _, args := range [][]string{{"-tls1_2"}, {"-tls1_3"}, {"-cipher", "ALL:@SECLEVEL=0"}} {
			out := mustRun(t, o.openSSL(t, stranger, service, args...))
			if !strings.Contains(out, "Server public key is 256 bit") {
				t.Errorf("%s %v: not the ECDSA certificate\n%s", service, args, out)
			}
		}
	}
}

// TestOldTLSMsmtp sends mail over 3DES with a program that still has it.
func TestOldTLSMsmtp(t *testing.T) {
	needs(t, "msmtp")
	o := newOldOffice(t)
	o.serve(t)
	message := letter("by 3DES")
	send := submission{service: "submission", security: "starttls", login: "PLAIN", user: anna, password: annaPassword,
		to: boss, file: o.write(t, "message.eml", message), ca: o.ca}
	old := func() *exec.Cmd {
		cmd := msmtpSend(t, o, send)
		cmd.Args = append([]string{cmd.Args[0], "--tls-priorities=" + oldGnuTLS[0].priority}, cmd.Args[1:]...)
		return cmd
	}
	mustRun(t, old())
	if stored := o.stored(t, boss); len(stored) != 1 || !strings.HasSuffix(stored[0], message) ||
		!strings.Contains(stored[0], "TLS_RSA_WITH_3DES_EDE_CBC_SHA") {
		t.Errorf("stored is\n%q", stored)
	}
	o.set(t, "tls", "legacy_networks", `[]`)
	o.pillarbox(t, "", "admin", "reload")
	if out, code := run(t, old()); code == 0 {
		t.Errorf("sent by 3DES from a network that is not named\n%s", out)
	}
}
