//go:build e2e

package e2e

import (
	"crypto/tls"
	"os"
	"strings"
	"testing"
)

// TestTLSFiles checks certificates from files, with a second one for old programs. A new file is
// used; one that does not match its key is not.
func TestTLSFiles(t *testing.T) {
	o := newOldOffice(t)
	cert, key := o.selfSigned(t, 100)
	o.set(t, "tls", "cert", `"`+cert+`"`)
	o.set(t, "tls", "key", `"`+key+`"`)
	s := o.serve(t)
	s.errors = []string{"reload: nothing changed", "the changed certificate is not used"}
	if _, err := o.dialTLS(t, oldPC, "pop3s", oldPrograms[0].config()); err == nil {
		t.Error("an old program got in, though there is no RSA certificate")
	}
	const none = "Old programs in tls.legacy_networks need a certificate with an RSA key, and there is none"
	s.wantLog(t, `level=WARN msg=certificate warning="`+none)
	wantLines(t, o.pillarbox(t, "", "admin", "tls", "show"), none)

	o.set(t, "tls", "rsa_cert", `"`+o.path("data", "tls", "server.pem")+`"`)
	o.set(t, "tls", "rsa_key", `"`+o.path("data", "tls", "server-key.pem")+`"`)
	o.pillarbox(t, "", "admin", "reload")
	for _, service := range services {
		o.mustDialTLS(t, oldPC, service, oldPrograms[0].config()).quit(t)
		o.mustDialTLS(t, stranger, service, &tls.Config{RootCAs: pool(t, cert)}).quit(t)
	}
	if out := o.pillarbox(t, "", "admin", "tls", "show"); strings.Contains(out, none) || strings.Count(out, "Names ") != 2 {
		t.Errorf("tls show:\n%s", out)
	}

	good := read(t, cert)
	o.write(t, "files-key.pem", read(t, o.path("data", "tls", "server-key.pem")))
	out, code := run(t, o.command(t, binary, "admin", "reload"))
	if code == 0 || !strings.Contains(out, "it must hold the key of "+cert) || !strings.Contains(out, "stays in use") {
		t.Errorf("reload with a key that does not fit: exit code %d\n%s", code, out)
	}
	if _, err := o.shown(t, o.write(t, "good.pem", good)); err != nil {
		t.Errorf("the certificate in use is not shown any more: %v", err)
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if out, code := run(t, o.command(t, binary, "admin", "tls", "show")); code == 0 || !strings.Contains(out, key) {
		t.Errorf("tls show without the key: exit code %d\n%s", code, out)
	}
}
