package ops

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/ldap"
	"pillarbox/mailstore/system"
)

// accounts is a double for this machine's: it knows one, by any password.
type accounts string

func (a accounts) Check(_ context.Context, user, _ string) error {
	if user != string(a) {
		return system.ErrInvalid
	}
	return nil
}

// An account of the machine is called as the mailbox is, however it was typed.
func TestSystemBackend(t *testing.T) {
	at := func(local string) addr.Address { return addr.Address{Local: local, Domain: "office.example"} }
	b := systemBackend{accounts("anna")}
	for _, login := range []string{"anna", "Anna", "ANNA"} {
		if err := b.Check(t.Context(), at(login), at("anna"), "x"); err != nil {
			t.Errorf("%s: %v", login, err)
		}
	}
	if err := b.Check(t.Context(), at("anna"), at("bert"), "x"); !errors.Is(err, auth.ErrInvalid) {
		t.Errorf("another one's mailbox: %v", err)
	}
	if err := b.Check(t.Context(), at("nobody"), addr.Address{}, "x"); !errors.Is(err, auth.ErrInvalid) {
		t.Errorf("nobody's mailbox: %v", err)
	}
}

// newCA writes the certificate of a CA.
func newCA(t *testing.T, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func withDirectory(ca string) *config.Config {
	cfg := config.Default()
	cfg.Directories = []config.Directory{{
		Config: ldap.Config{Name: "corp", Servers: []string{"ldaps://127.0.0.1:1"}, CAFile: ca, Base: "dc=office,dc=example"},
		Lookup: true, Create: config.CreateAtDelivery,
	}}
	return &cfg
}

// A directory that is as it was keeps its connections; another CA in the same file
// makes it another one.
func TestConfigureDirectories(t *testing.T) {
	var s sources
	t.Cleanup(s.close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	configure := func() *ldap.Directory {
		t.Helper()
		if err := s.configure(withDirectory(ca), nil); err != nil {
			t.Fatal(err)
		}
		return s.directory("")
	}
	newCA(t, ca)
	first := configure()
	if first == nil || configure() != first {
		t.Error("what has not changed was opened anew")
	}
	newCA(t, ca)
	second := configure()
	if second == nil || second == first {
		t.Error("the new CA is not in use")
	}
	if err := os.Remove(ca); err != nil {
		t.Fatal(err)
	}
	if err := s.configure(withDirectory(ca), nil); err == nil || s.directory("corp") != nil {
		t.Errorf("a CA that is not there: %v", err)
	}
	if err := s.configure(&config.Config{}, nil); err != nil || s.directory("") != nil {
		t.Errorf("no directory at all: %v", err)
	}
}

// The domain's method is told in the words of the configuration, and who cannot
// log in any more is counted.
func TestDomainMethod(t *testing.T) {
	o := office(t)
	c, err := o.AddDomain("office.example")
	must(t, c, err)
	for _, user := range []string{"anna", "bert"} {
		c, err = o.AddMailbox(user, NewMailbox{})
		must(t, c, err)
	}
	for _, step := range []struct{ method, says, warns string }{
		{"system", "domain office.example checks passwords by system", ""},
		{"file", "domain office.example checks passwords by file", "2 of its mailboxes have no password here, anna@office.example for one"},
		{"default", "domain office.example checks passwords by file, as auth.method says", "2 of its"},
	} {
		c, err := o.SetDomainMethod("office.example", step.method)
		must(t, c, err)
		if warnings := strings.Join(c.Warnings, "\n"); c.Text != step.says || !strings.HasPrefix(warnings, step.warns) || (warnings == "") != (step.warns == "") {
			t.Errorf("%s: %q, warnings %q", step.method, c.Text, warnings)
		}
	}
	if _, err := o.SetDomainMethod("office.example", "directory"); err == nil {
		t.Error("a directory that is not configured is taken")
	}
}

// What the last step of "admin directory test" finds, without any server.
func TestMailboxBehind(t *testing.T) {
	o := office(t)
	cfg := withDirectory("")
	cfg.Data, cfg.Directories[0].Lookup = o.Config().Data, false
	if err := o.SetConfig(cfg); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"office.example", "corp.example"} {
		c, err := o.AddDomain(name)
		must(t, c, err)
	}
	c, err := o.SetDomainMethod("corp.example", "directory")
	must(t, c, err)
	for _, name := range []string{"anna@office.example", "carla@corp.example"} {
		c, err := o.AddMailbox(name, NewMailbox{})
		must(t, c, err)
	}
	for _, test := range []struct {
		local  string
		domain addr.Domain
		detail string
		says   string
	}{
		{"carla", "corp.example", "carla@corp.example", ""},
		{"anna", "office.example", "", "its password is checked by file"},
		{"bert", "office.example", "", "its password is checked by file"},
		{"bert", "corp.example", "", "lookup is off"},
		{"bert", "far.example", "", "far.example is no domain of this server"},
	} {
		detail, err := o.mailboxBehind(o.sources.directory("corp"), addr.Address{Local: test.local, Domain: test.domain})
		if detail != test.detail || (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s@%s: %q, %v", test.local, test.domain, detail, err)
		}
	}
	if m := o.defaultMethod(); m != directory.ByFile {
		t.Errorf("the default method is %s", m)
	}
}
