package certs

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/smallstep/pkcs7"
)

// A signature holds what was signed, and is good for who trusts the CA.
func TestSign(t *testing.T) {
	dir := t.TempDir()
	if _, err := Ensure(dir, []string{"mail.office.example"}, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	m, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	content := []byte("<plist>\r\n\n</plist>")
	signed, err := m.Sign(content)
	if err != nil {
		t.Fatal(err)
	}
	p7, err := pkcs7.Parse(signed)
	if err != nil || p7.Verify() != nil || !bytes.Equal(p7.Content, content) {
		t.Fatalf("%v %v %q", err, p7.Verify(), p7.Content)
	}
	if len(p7.Certificates) != 2 || !p7.Certificates[1].IsCA {
		t.Errorf("%d certificates", len(p7.Certificates))
	}
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl")
	}
	file, ca := filepath.Join(t.TempDir(), "signed.der"), filepath.Join(dir, caFile)
	verify := func(text []byte) ([]byte, error) {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		// The certificate is a server's, not one for mail.
		return exec.Command(openssl, "cms", "-verify", "-binary", "-inform", "DER", "-in", file,
			"-CAfile", ca, "-purpose", "any").Output()
	}
	if got, err := verify(signed); err != nil || !bytes.Equal(got, content) {
		t.Errorf("openssl: %v %q", err, got)
	}
	if _, err := verify(bytes.Replace(signed, []byte("</plist>"), []byte("</PLIST>"), 1)); err == nil {
		t.Error("openssl accepts another content")
	}
}
