package admin

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
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

// accounts is a fake of this machine's accounts: it has one account, with any password.
type accounts string

func (a accounts) Check(_ context.Context, user, _ string) error {
	if user != string(a) {
		return system.ErrInvalid
	}
	return nil
}

// An account of the machine has the name of the mailbox, in any case of the typed name.
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

// A directory with unchanged settings keeps its connections; with another CA in the same file it is
// opened again.
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

// Mail to an address of two entries is deferred, or refused if the directory says so.
func TestAmbiguousAddress(t *testing.T) {
	twins := fmt.Errorf("%w: cn=a, cn=b", ldap.ErrAmbiguous)
	down := fmt.Errorf("%w: no answer", ldap.ErrUnavailable)
	for _, test := range []struct {
		refuse bool
		err    error
		want   bool // permanent
	}{{false, twins, false}, {true, twins, true}, {true, down, false}, {false, ldap.ErrUnusable, true}} {
		got := people{refuseAmbiguous: test.refuse}.classify(test.err)
		if errors.Is(got, directory.ErrUnusable) != test.want || !errors.Is(got, test.err) {
			t.Errorf("refuse %v: %v became %v", test.refuse, test.err, got)
		}
	}
	cfg := withDirectory("")
	cfg.Directories[0].RefuseAmbiguous = true
	var s sources
	t.Cleanup(s.close)
	if err := s.configure(cfg, nil); err != nil {
		t.Fatal(err)
	}
	if p, ok := s.lookups(cfg)["corp"].People.(people); !ok || !p.refuseAmbiguous {
		t.Error("the setting does not reach the lookup")
	}
}

// The message names the domain's method as in the configuration, and counts the mailboxes that can
// no longer log in.
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
		{"file", "domain office.example checks passwords by file", "2 of its mailboxes have no password here, such as anna@office.example"},
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

// The last step of "admin directory test", without a server.
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
		{"anna", "office.example", "not yet: 'pillarbox admin domain method office.example directory:corp' switches over; file checks its password now", ""},
		{"bert", "office.example", "not yet: 'pillarbox admin domain method office.example directory:corp' switches over; file checks its password now", ""},
		{"bert", "corp.example", "", "lookup is off"},
		{"bert", "far.example", "", "far.example is not a domain of this server"},
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

// If the directory names no local mailbox, a password is valid for only one domain, or the search
// must include the domain.
func TestOwns(t *testing.T) {
	o := office(t)
	configure := func(userDN, base string) ldapBackend {
		cfg := withDirectory("")
		cfg.Data = o.Config().Data
		cfg.Directories[0].UserDN, cfg.Directories[0].Base, cfg.Directories[0].Lookup = userDN, base, false
		if err := o.SetConfig(cfg); err != nil {
			t.Fatal(err)
		}
		return ldapBackend{o, o.sources.directory("corp")}
	}
	configure("", "dc=x")
	for _, name := range []string{"a.example", "b.example"} {
		c, err := o.AddDomain(name)
		must(t, c, err)
	}
	anna := func(d addr.Domain) addr.Address { return addr.Address{Local: "anna", Domain: d} }
	check := func(what string, b ldapBackend, p ldap.Person, want bool) {
		t.Helper()
		if got := b.owns(p, anna("a.example")); got != want {
			t.Errorf("%s: %v", what, got)
		}
	}
	nobody, elsewhere := ldap.Person{}, ldap.Person{Mailbox: anna("far.example")}
	c, err := o.SetDomainMethod("a.example", "directory")
	must(t, c, err)
	check("one domain", configure("uid=%u,dc=x", ""), nobody, true)
	c, err = o.SetDomainMethod("b.example", "directory")
	must(t, c, err)
	check("two domains", configure("uid=%u,dc=x", ""), nobody, false)
	check("two domains, a mailbox elsewhere", configure("uid=%u,dc=x", ""), elsewhere, false)
	check("two domains, his mailbox", configure("uid=%u,dc=x", ""), ldap.Person{Mailbox: anna("a.example")}, true)
	check("two domains, his alias", configure("uid=%u,dc=x", ""), ldap.Person{Mailbox: anna("b.example"), Aliases: []addr.Address{anna("a.example")}}, true)
	check("two domains, another's mailbox", configure("uid=%u,ou=%d,dc=x", ""), ldap.Person{Mailbox: anna("b.example")}, false)
	check("asked for the domain", configure("uid=%u,ou=%d,dc=x", ""), nobody, true)
	check("asked for it one way of two", configure("", "dc=x"), nobody, false)
}

// A read-only operator may not test passwords, and a test of a password is recorded.
func TestTryPassword(t *testing.T) {
	o := office(t)
	cfg := withDirectory("")
	cfg.Data = o.Config().Data
	if err := o.SetConfig(cfg); err != nil {
		t.Fatal(err)
	}
	c, err := o.AddDomain("office.example")
	must(t, c, err)
	looker := o.As(Operator{Name: "dora", Grants: []Grant{{All: true, ReadOnly: true}}})
	if _, err := looker.TestDirectory("corp", "anna@office.example", ""); err != nil {
		t.Errorf("without a password: %v", err)
	}
	if _, err := looker.TestDirectory("corp", "anna@office.example", "secret-1"); !errors.Is(err, ErrNotPermitted) {
		t.Errorf("with one: %v", err)
	}
	if _, err := o.TestDirectory("corp", "anna@office.example", "secret-1"); err != nil {
		t.Error(err)
	}
	tried := 0
	for _, e := range allEvents(t, o) {
		if e.Object == "directory corp" && string(e.After) == `{"password_tried":"anna@office.example"}` {
			tried++
		}
	}
	if tried != 1 {
		t.Errorf("recorded %d times", tried)
	}
}

// The warnings name the mailboxes that cannot log in, and domains whose directory is no longer
// configured.
func TestLogInWarnings(t *testing.T) {
	o := office(t)
	cfg := withDirectory("")
	cfg.Data = o.Config().Data
	if err := o.SetConfig(cfg); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"office.example", "corp.example"} {
		c, err := o.AddDomain(name)
		must(t, c, err)
	}
	for _, name := range []string{"anna", "bert", "carl", "dora", "eva"} {
		n := NewMailbox{Password: "Korrekt.Horse+1"}
		if name == "anna" {
			n.Store = []directory.SecretKind{directory.SecretSPA}
		}
		c, err := o.AddMailbox(name+"@office.example", n)
		must(t, c, err)
	}
	c, err := o.SetDomainMethod("corp.example", "directory:corp")
	must(t, c, err)
	c, err = o.AddMailbox("kim@corp.example", NewMailbox{})
	must(t, c, err)
	c, err = o.MigrateAuth("eva@office.example", Migration{Method: "directory:corp", Force: true})
	must(t, c, err)
	if got := o.LogInWarnings(); got != nil {
		t.Errorf("warnings of what is in order: %q", got)
	}

	next := config.Default()
	next.Data, next.LogIns.RequireSPA = cfg.Data, true
	if err := o.SetConfig(&next); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"auth.require_spa: 3 of 4 mailboxes cannot log in, because they have no secret for SPA: bert@office.example, carl@office.example, dora@office.example; 'pillarbox admin mailbox passwd' with --spa stores it",
		"corp.example (1 mailboxes): its password method directory:corp is not configured, so no user can log in",
		"eva@office.example: the password method directory:corp is not configured, so a login is impossible; 'pillarbox admin mailbox migrate-auth' sets another method",
	}
	if got := o.LogInWarnings(); !slices.Equal(got, want) {
		t.Errorf("the warnings are\n%s", strings.Join(got, "\n"))
	}
	if got := someOf(make([]addr.Address, 5)); !strings.HasSuffix(got, " and 2 more") {
		t.Errorf("five are %q", got)
	}
}

// Mailboxes whose method is system, and that the machine has no account for, are told. A program of
// the administrator is not second-guessed.
func TestAccountWarnings(t *testing.T) {
	o := office(t)
	c, err := o.AddDomain("office.example")
	must(t, c, err)
	for _, name := range []string{"daemon", "no-such-1", "no-such-2"} {
		c, err = o.AddMailbox(name+"@office.example", NewMailbox{})
		must(t, c, err)
	}
	check := func(method directory.Method, by config.SystemCheck, want string) {
		t.Helper()
		next := config.Default()
		next.Data, next.LogIns.Method = o.Config().Data, method
		next.System.Check, next.System.MinUID = by, 1
		if err := o.SetConfig(&next); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(o.LogInWarnings(), "\n"); !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%s, %s: the warnings are\n%s", method, by, got)
		}
	}
	check(directory.ByFile, config.UnixChkpwd, "")
	check(directory.BySystem, config.UnixChkpwd, "the password method system: 2 of 3 mailboxes cannot log in, "+
		"because this machine has no account of their name with a user id of system.min_uid or more: "+
		"no-such-1@office.example, no-such-2@office.example; add the accounts")
	check(directory.BySystem, config.Checkpassword, "")
}
