package ldap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	ldapv3 "github.com/go-ldap/ldap/v3"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/addr"
)

// unavailableHere skips the test, or fails it if no test may be skipped.
func unavailableHere(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// slapd is a running OpenLDAP server with the directory of an office.
type slapd struct{ *mailtest.Slapd }

const root = "dc=office,dc=example"

// newSlapd starts a slapd with its entries.
func newSlapd(t *testing.T) *slapd {
	t.Helper()
	return &slapd{mailtest.NewSlapd(t, mailtest.SlapdConfig{
		Schema: "testdata/office.schema", LDIF: "testdata/office.ldif", Root: root, RootPassword: "secret-of-root",
		Access: "access to * by anonymous auth by * read",
	}, func(why string) { unavailableHere(t, why) })}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// config returns a Config with a search account.
func (s *slapd) config(t *testing.T) Config {
	t.Helper()
	must(t, os.WriteFile(s.File("password"), []byte("of the searching account\n"), 0o600))
	return s.configOf(OpenLDAP)
}

func (s *slapd) configOf(kind Kind) Config {
	c := Defaults(kind)
	c.Name, c.Servers, c.CAFile = "office", []string{"ldap://" + s.Plain}, s.File("ca.pem")
	c.BindDN, c.PasswordFile, c.Base = "cn=search,"+root, s.File("password"), root
	c.Timeout = 3 * time.Second
	return c
}

func open(t *testing.T, cfg Config) *Directory {
	t.Helper()
	d, err := Open(cfg)
	must(t, err)
	t.Cleanup(d.Close)
	return d
}

// modify changes an entry as the directory's administrator would.
func (s *slapd) modify(t *testing.T, dn, attr string, values ...string) {
	t.Helper()
	c, err := ldapv3.DialURL("ldap://" + s.Plain)
	must(t, err)
	defer c.Close()
	must(t, c.Bind("cn=root,"+root, "secret-of-root"))
	change := ldapv3.NewModifyRequest(dn, nil)
	change.Replace(attr, values)
	must(t, c.Modify(change))
}

func list(all []addr.Address) string {
	var text []string
	for _, a := range all {
		text = append(text, a.String())
	}
	return strings.Join(text, " ")
}

func TestSlapd(t *testing.T) {
	t.Parallel()
	s := newSlapd(t)
	t.Run("connections", func(t *testing.T) { testConnections(t, s) })
	t.Run("passwords", func(t *testing.T) { testPasswords(t, s) })
	t.Run("user DN", func(t *testing.T) { testUserDN(t, s) })
	t.Run("addresses", func(t *testing.T) { testRouting(t, s) })
	t.Run("Active Directory", func(t *testing.T) { testActiveDirectory(t, s) })
	t.Run("people", func(t *testing.T) { testPeople(t, s) })
	t.Run("trial", func(t *testing.T) { testTrial(t, s) })
	t.Run("changes", func(t *testing.T) { testChanges(t, s) })
	t.Run("big group", func(t *testing.T) { testBigGroup(t, s) })
}

func testConnections(t *testing.T, s *slapd) {
	_, plain, _ := net.SplitHostPort(s.Plain)
	_, secure, _ := net.SplitHostPort(s.Secure)
	for _, test := range []struct {
		name, server, ca string
		startTLS         bool
		want             string // of the error
	}{
		{"plain", "ldap://" + s.Plain, "ca.pem", false, ""},
		{"StartTLS", "ldap://" + s.Plain, "ca.pem", true, ""},
		{"LDAPS", "ldaps://" + s.Secure, "ca.pem", false, ""},
		{"StartTLS of another CA", "ldap://" + s.Plain, "other-ca.pem", true, "unknown authority"},
		{"LDAPS of another CA", "ldaps://" + s.Secure, "other-ca.pem", false, "unknown authority"},
		{"LDAPS of another name", "ldaps://localhost:" + secure, "ca.pem", false, "localhost"},
		{"StartTLS of another name", "ldap://localhost:" + plain, "ca.pem", true, "localhost"},
		{"LDAPS on the other port", "ldaps://" + s.Plain, "ca.pem", false, "TLS"},
		{"LDAP on the other port", "ldap://" + s.Secure, "ca.pem", false, "ldap"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := s.config(t)
			cfg.Servers, cfg.CAFile, cfg.StartTLS = []string{test.server}, s.File(test.ca), test.startTLS
			d := open(t, cfg)
			p, err := d.Check(t.Context(), anna, "annas secret")
			if test.want == "" && (err != nil || p.DN != "uid=anna,ou=people,"+root) {
				t.Errorf("Check says %v, %v", p, err)
			}
			if test.want != "" && (!errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("Check says %v, not %s", err, test.want)
			}
		})
	}
	t.Run("the second server", func(t *testing.T) {
		cfg := s.config(t)
		cfg.Servers = []string{"ldap://" + mailtest.FreeAddress(t), "ldap://" + s.Plain}
		if _, err := open(t, cfg).Find(t.Context(), anna); err != nil {
			t.Error(err)
		}
	})
	t.Run("password file for all to read", func(t *testing.T) {
		cfg := s.config(t)
		cfg.PasswordFile = s.File("open")
		must(t, os.WriteFile(cfg.PasswordFile, []byte("of the searching account"), 0o600))
		must(t, os.Chmod(cfg.PasswordFile, 0o644))
		if _, err := open(t, cfg).Find(t.Context(), anna); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "chmod") {
			t.Errorf("Find says %v", err)
		}
	})
	t.Run("empty password file", func(t *testing.T) {
		cfg := s.config(t)
		cfg.PasswordFile = s.File("empty")
		must(t, os.WriteFile(cfg.PasswordFile, []byte("\nx"), 0o600))
		if _, err := open(t, cfg).Find(t.Context(), anna); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "no password") {
			t.Errorf("Find says %v", err)
		}
	})
}

func testPasswords(t *testing.T, s *slapd) {
	d := open(t, s.config(t))
	for _, test := range []struct {
		user, password string
		want           error
	}{
		{"anna", "annas secret", nil},
		{"ANNA", "annas secret", nil},
		{"bert", "berts secret", nil},
		{"anna", "annas Secret", ErrInvalid},
		{"anna", "annas secret ", ErrInvalid},
		{"anna", "", ErrInvalid},
		{"anna", "\x00", ErrInvalid},
		{"anna", "berts secret", ErrInvalid},
		{"nopass", "x", ErrInvalid},
		{"nopass", "", ErrInvalid},
		{"twin", "x", ErrAmbiguous},
		{"nobody", "x", ErrNotFound},
		{"*", "annas secret", ErrNotFound},
		{"ann*", "annas secret", ErrNotFound},
		{"*)(uid=*", "annas secret", ErrNotFound},
		{"anna)(objectClass=*", "annas secret", ErrNotFound},
		{"x)(|(uid=anna)", "annas secret", ErrNotFound},
		{"anna,ou=people", "annas secret", ErrNotFound},
		{`anna\`, "annas secret", ErrNotFound},
	} {
		_, err := d.Check(t.Context(), Login{test.user, "office.example"}, test.password)
		if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s with %q: %v, not %v", test.user, test.password, err, test.want)
		}
	}
	if _, err := d.Check(t.Context(), Login{"b", "office.example"}, "berts secret"); err != nil {
		t.Errorf("by an alias: %v", err)
	}
	if _, err := d.Check(t.Context(), Login{"anna", ""}, "annas secret"); err != nil {
		t.Errorf("without a domain: %v", err)
	}
	cfg := s.config(t)
	cfg.Base = "dc=nowhere"
	if _, err := open(t, cfg).Check(t.Context(), anna, "annas secret"); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "the base does not exist") {
		t.Errorf("with a base that is not there: %v", err)
	}
}

func testUserDN(t *testing.T, s *slapd) {
	cfg := s.config(t)
	cfg.BindDN, cfg.PasswordFile, cfg.UserDN = "", "", "uid=%u,ou=people,"+root
	d := open(t, cfg)
	p, err := d.Check(t.Context(), anna, "annas secret")
	if err != nil || p.Mailbox.String() != "anna@office.example" || list(p.Aliases) != "a.muster@office.example muster@office.example" {
		t.Errorf("Check says %v, %v", p, err)
	}
	for _, test := range []struct{ user, password string }{
		{"anna", "x"}, {"anna", ""}, {"nobody", "x"}, {"anna,ou=people," + root + "#", "annas secret"}, {"twin,ou=others", "x"}, {"anna+cn=x", "annas secret"},
	} {
		_, err := d.Check(t.Context(), Login{test.user, "office.example"}, test.password)
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s with %q: %v", test.user, test.password, err)
		}
	}
	cfg.UserFilter = "(&(uid=%u)(cn=Anna*))"
	d = open(t, cfg)
	if _, err := d.Check(t.Context(), Login{"bert", "office.example"}, "berts secret"); !errors.Is(err, ErrNotFound) {
		t.Errorf("one whom the filter leaves out: %v", err)
	}
	if _, err := d.Check(t.Context(), anna, "annas secret"); err != nil {
		t.Errorf("one whom it does not: %v", err)
	}
	cfg.Base = ""
	d = open(t, cfg)
	if p, err := d.Check(t.Context(), anna, "annas secret"); err != nil || p.DN != "uid=anna,ou=people,"+root || !p.Mailbox.IsZero() {
		t.Errorf("without a base, Check says %v, %v", p, err)
	}
	if _, err := d.Find(t.Context(), anna); !errors.Is(err, ErrUnavailable) {
		t.Errorf("without a base, Find says %v", err)
	}
}

func testRouting(t *testing.T, s *slapd) {
	d := open(t, s.config(t))
	for _, test := range []struct {
		address, mailbox string
		members          string
		want             error
	}{
		{"anna@office.example", "anna@office.example", "", nil},
		{"ANNA@OFFICE.EXAMPLE", "anna@office.example", "", nil},
		{"a.muster@office.example", "anna@office.example", "", nil},
		{"muster@office.example", "anna@office.example", "", nil},
		{"b@office.example", "bert@office.example", "", nil},
		{"team@office.example", "", "anna@office.example bert@office.example twin@office.example", nil},
		{"all@office.example", "", "anna@office.example bert@office.example twin@office.example", nil},
		{"unique@office.example", "", "anna@office.example", nil},
		{"posix@office.example", "", "anna@office.example", nil},
		{"list@office.example", "", "anna@office.example somebody@elsewhere.example", nil},
		{"empty@office.example", "", "", nil},
		{"nobody@office.example", "", "", ErrNotFound},
		{"*@office.example", "", "", ErrNotFound},
		{"anna@elsewhere.example", "", "", ErrNotFound},
		{`"*)(uid=*"@office.example`, "", "", ErrNotFound},
	} {
		p, err := d.Address(t.Context(), mustParse(t, test.address))
		if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s: %v, not %v", test.address, err, test.want)
			continue
		}
		if p.Mailbox.String() != test.mailbox || list(p.Members) != test.members || err == nil && p.Group != (test.mailbox == "") {
			t.Errorf("%s is %+v", test.address, p)
		}
	}
	p, err := d.Find(t.Context(), anna)
	if err != nil || p.Quota != 52428800 || p.Name != "Anna M." || list(p.Aliases) != "a.muster@office.example muster@office.example" {
		t.Errorf("Find says %+v, %v", p, err)
	}
}

func testActiveDirectory(t *testing.T, s *slapd) {
	cfg := s.configOf(ActiveDirectory)
	cfg.Base = "ou=ad," + root
	d := open(t, cfg)
	for _, login := range []Login{{"carla", "corp.example"}, {"carla", "elsewhere.example"}, {"Carla", "corp.office.example"}, {"carla", ""}} {
		p, err := d.Check(t.Context(), login, "carlas secret")
		if err != nil || p.Mailbox.String() != "carla@corp.example" || list(p.Aliases) != "carla.c@corp.example" || p.Quota != 51200<<10 {
			t.Errorf("%v: %+v, %v", login, p, err)
		}
	}
	for _, test := range []struct {
		address, mailbox, members string
		want                      error
	}{
		{"carla.c@corp.example", "carla@corp.example", "", nil},
		{"sales@corp.example", "", "carla@corp.example contact@corp.example", nil},
		{"verkauf@corp.example", "", "carla@corp.example contact@corp.example", nil},
		{"nobody@corp.example", "", "", nil},
		{"contact@corp.example", "", "", ErrNotFound},
	} {
		p, err := d.Address(t.Context(), mustParse(t, test.address))
		if !errors.Is(err, test.want) || p.Mailbox.String() != test.mailbox || list(p.Members) != test.members || err == nil && p.Group != (test.mailbox == "") {
			t.Errorf("%s is %+v, %v", test.address, p, err)
		}
	}
	if _, err := d.Check(t.Context(), Login{"contact", "corp.example"}, "x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a contact logs in: %v", err)
	}
}

func testPeople(t *testing.T, s *slapd) {
	d := open(t, s.config(t))
	all, err := d.People(t.Context(), "corp.example")
	if err != nil || len(all) != 4 {
		t.Errorf("People lists %v, %v", all, err)
	}
	everybody, err := d.People(t.Context(), "")
	if err != nil || len(everybody) <= len(all) {
		t.Errorf("People lists %d, %v", len(everybody), err)
	}
	if none, err := d.People(t.Context(), "*"); err != nil || len(none) != 0 {
		t.Errorf("People lists %v, %v", none, err)
	}
}

func testTrial(t *testing.T, s *slapd) {
	cfg := s.config(t)
	cfg.Servers = []string{"ldap://" + s.Plain, "ldaps://" + s.Secure, "ldap://" + mailtest.FreeAddress(t)}
	tell := func(login Login, password string) string {
		var b strings.Builder
		for _, step := range open(t, cfg).Test(t.Context(), login, password) {
			fmt.Fprintf(&b, "%s | %s | %s | %v\n", step.Server, step.What, step.Detail, step.Err)
		}
		return b.String()
	}
	text := tell(anna, "annas secret")
	for _, want := range []string{
		"ldap://" + s.Plain + " | connect | not encrypted | <nil>",
		"ldaps://" + s.Secure + " | connect | TLS 1.3, certificate valid until ",
		"| log in as cn=search,dc=office,dc=example |  | <nil>",
		"| search below dc=office,dc=example | for example uid=anna,ou=people,dc=office,dc=example | <nil>",
		"refused",
		"| find anna@office.example | uid=anna,ou=people,dc=office,dc=example, mailbox anna@office.example | <nil>",
		"| check the password of anna@office.example | uid=anna,ou=people,dc=office,dc=example, mailbox anna@office.example | <nil>",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	cfg.Base = "dc=nowhere"
	if text := tell(Login{}, ""); !strings.Contains(text, "the base") || strings.Contains(text, "find") {
		t.Errorf("without a base:\n%s", text)
	}
	must(t, os.WriteFile(s.File("wrong"), []byte("x"), 0o600))
	cfg.Base, cfg.PasswordFile = root, s.File("wrong")
	if text := tell(Login{}, ""); !strings.Contains(text, "wrong password") || strings.Contains(text, "search below") {
		t.Errorf("with a wrong password:\n%s", text)
	}
}

func testChanges(t *testing.T, s *slapd) {
	cfg := s.config(t)
	cfg.FreshPasswords = 200 * time.Millisecond
	d := open(t, cfg)
	bert := Login{"bert", "office.example"}
	_, err := d.Check(t.Context(), bert, "berts secret")
	must(t, err)
	s.modify(t, "uid=bert,ou=people,"+root, "userPassword", "the new one")
	if _, err := d.Check(t.Context(), bert, "the new one"); err != nil {
		t.Errorf("the new password: %v", err)
	}
	if _, err := d.Check(t.Context(), bert, "berts secret"); !errors.Is(err, ErrInvalid) {
		t.Errorf("the old password: %v", err)
	}
	s.modify(t, "uid=bert,ou=people,"+root, "userPassword", "berts secret")
	time.Sleep(200 * time.Millisecond)
	if _, err := d.Check(t.Context(), bert, "the new one"); !errors.Is(err, ErrInvalid) {
		t.Errorf("a password that was kept: %v", err)
	}
}

func testBigGroup(t *testing.T, s *slapd) {
	var members []string
	for i := range MaxMembers {
		members = append(members, fmt.Sprintf("member%d@elsewhere.example", i))
	}
	const dn = "cn=empty,ou=groups," + root
	s.modify(t, dn, "mgrpRFC822MailMember", members...)
	if p, err := open(t, s.config(t)).Address(t.Context(), mustParse(t, "empty@office.example")); err != nil || len(p.Members) != MaxMembers {
		t.Errorf("%d members, %v", len(p.Members), err)
	}
	s.modify(t, dn, "mgrpRFC822MailMember", append(members, "one.more@elsewhere.example")...)
	if p, err := open(t, s.config(t)).Address(t.Context(), mustParse(t, "empty@office.example")); !errors.Is(err, ErrUnusable) || p.Members != nil {
		t.Errorf("%d members, %v", len(p.Members), err)
	}
}

func TestSlapdRestarted(t *testing.T) {
	t.Parallel()
	s := newSlapd(t)
	cfg := s.config(t)
	log := new(lockedBuffer)
	cfg.Fresh, cfg.FreshPasswords, cfg.Timeout = 1, 1, time.Second // ask each time
	cfg.Servers, cfg.StartTLS, cfg.Log = []string{"ldap://" + s.Plain}, true, slog.New(slog.NewTextHandler(log, nil))
	d := open(t, cfg)
	check := func(what, password string, want error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := d.Check(ctx, anna, password); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%s: %v, not %v", what, err, want)
		}
	}
	check("before", "annas secret", nil)
	s.Kill()
	check("killed", "annas secret", nil)
	check("killed, with another password", "x", ErrUnavailable)
	s.Start(t)
	for range 100 {
		if _, err := d.Check(t.Context(), anna, "x"); errors.Is(err, ErrInvalid) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	check("restarted", "annas secret", nil)
	check("restarted, with another password", "x", ErrInvalid)

	s.Kill() // and restarted before anybody has noticed
	s.Start(t)
	check("restarted between two questions, with another password", "x", ErrInvalid)
	check("restarted between two questions", "annas secret", nil)

	resume := s.Pause(t)
	check("hanging", "annas secret", nil)
	check("hanging, with another password", "x", ErrUnavailable)
	resume()
	for range 100 {
		if _, err := d.Check(t.Context(), anna, "x"); errors.Is(err, ErrInvalid) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	check("awake", "annas secret", nil)
	check("awake, with another password", "x", ErrInvalid)
	if text := log.String(); strings.Count(text, "server down") != 2 || strings.Count(text, "up again") != 2 || strings.Contains(text, "secret") {
		t.Errorf("the log says:\n%s", text)
	}
}

func TestSlapdUnderLoad(t *testing.T) {
	t.Parallel()
	s := newSlapd(t)
	cfg := s.config(t)
	cfg.Fresh, cfg.FreshPasswords, cfg.Stale = 1, 1, 1
	d := open(t, cfg)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 25 {
				login, password := anna, "annas secret"
				if i%2 == 0 {
					login, password = Login{"bert", "office.example"}, "berts secret"
				}
				p, err := d.Check(t.Context(), login, password)
				if err != nil || p.Mailbox.Local != login.User {
					t.Errorf("%v is %v, %v", login, p, err)
				}
				if n%10 == 0 {
					if _, err := d.Check(t.Context(), login, fmt.Sprint("wrong", i, n)); !errors.Is(err, ErrInvalid) {
						t.Errorf("a wrong password: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
}

// lockedBuffer is a log for several writers.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
