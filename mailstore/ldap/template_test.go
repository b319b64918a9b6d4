package ldap

import (
	"errors"
	"strings"
	"testing"

	ldapv3 "github.com/go-ldap/ldap/v3"

	"pillarbox/mailstore/addr"
)

func TestFilterTemplates(t *testing.T) {
	for _, test := range []struct{ template, user, want string }{
		{"(uid=%u)", "anna", "(uid=anna)"},
		{"(|(uid=%u)(mail=%a))", "anna", "(|(uid=anna)(mail=anna@office.example))"},
		{"(&(o=%d)(uid=%u)(x=100%%))", "anna", "(&(o=office.example)(uid=anna)(x=100%))"},
		{"(uid=%u)", "*", `(uid=\2a)`},
		{"(uid=%u)", "*)(uid=*", `(uid=\2a\29\28uid=\2a)`},
		{"(uid=%u)", `anna\2a`, `(uid=anna\5c2a)`},
		{"(uid=%u)", "%a%u", "(uid=%a%u)"},
		{"(uid=%u)", "größe", `(uid=gr\c3\b6\c3\9fe)`},
		{"(uid=%u)", ")(objectClass=*", `(uid=\29\28objectClass=\2a)`},
	} {
		got, err := expand(test.template, Login{test.user, "office.example"}, ldapv3.EscapeFilter)
		if err != nil || got != test.want {
			t.Errorf("%s of %q is %s (%v), not %s", test.template, test.user, got, err, test.want)
		}
		if _, err := ldapv3.CompileFilter(got); err != nil {
			t.Errorf("%s: %v", got, err)
		}
	}
}

func TestUserDN(t *testing.T) {
	const dn = "uid=%u,ou=people,dc=office,dc=example"
	for _, test := range []struct{ template, user, want string }{
		{dn, "anna", "uid=anna,ou=people,dc=office,dc=example"},
		{dn, "anna,ou=admins", `uid=anna\,ou=admins,ou=people,dc=office,dc=example`},
		{dn, "anna+cn=x", `uid=anna\+cn=x,ou=people,dc=office,dc=example`},
		{dn, ` anna"<>;#`, `uid=\ anna\"\<\>\;#,ou=people,dc=office,dc=example`},
		{dn, "#61", `uid=\#61,ou=people,dc=office,dc=example`},
		{dn, `anna\`, `uid=anna\\,ou=people,dc=office,dc=example`},
		{"mail=%a,dc=%d", "anna", "mail=anna@office.example,dc=office.example"},
		{"%u@corp.office.example", "anna", "anna@corp.office.example"},
		{"%a", "anna", "anna@office.example"},
		{`OFFICE\%u`, "anna", `OFFICE\anna`},
		{`OFFICE\%u`, "müller.x-y_z'&~", `OFFICE\müller.x-y_z'&~`},
		{"%u@corp.office.example", "anna@evil.example", ""},
		{`OFFICE\%u`, `EVIL\anna`, ""},
		{"%a", "cn=anna,dc=x", ""},
		{`OFFICE\%u`, "anna/x", ""},
		{`OFFICE\%u`, "*", ""},
	} {
		l := Login{test.user, "office.example"}
		got, err := userDN(test.template, l)
		if got != test.want || (err == nil) != (test.want != "") || err != nil && !errors.Is(err, ErrNotFound) {
			t.Errorf("%s of %q is %s (%v), not %s", test.template, test.user, got, err, test.want)
			continue
		}
		if strings.HasPrefix(test.template, "uid=") {
			parsed, err := ldapv3.ParseDN(got)
			if err != nil || len(parsed.RDNs) != 4 || len(parsed.RDNs[0].Attributes) != 1 || parsed.RDNs[0].Attributes[0].Value != test.user {
				t.Errorf("%s is not the name of %q: %v", got, test.user, err)
			}
		}
	}
}

// A user name must never change the meaning of a template.
func FuzzTemplates(f *testing.F) {
	for _, s := range []string{"anna", "*)(uid=*", ",ou=admins", "#x", " x ", `\2a`, "\x00", "+", "%u", "=", "ä", "\xff"} {
		f.Add(s)
	}
	const template = "uid=%u,ou=people"
	f.Fuzz(func(t *testing.T, user string) {
		l := Login{User: user, Domain: "office.example"}
		if l.check() != nil {
			return
		}
		text, err := expand("(&(uid=%u)(mail=%a))", l, ldapv3.EscapeFilter)
		if err != nil {
			t.Fatal(err)
		}
		packet, err := ldapv3.CompileFilter(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if len(packet.Children) != 2 || packet.Children[0].Tag != ldapv3.FilterEqualityMatch || packet.Children[1].Tag != ldapv3.FilterEqualityMatch {
			t.Fatalf("%q makes another filter: %q", user, text)
		}
		if got := packet.Children[0].Children[1].Data.String(); got != user {
			t.Fatalf("%q is asked about as %q", user, got)
		}
		name, err := userDN(template, l)
		if err != nil {
			t.Fatal(err)
		}
		dn, err := ldapv3.ParseDN(name)
		if err != nil || len(dn.RDNs) != 2 || len(dn.RDNs[0].Attributes) != 1 || dn.RDNs[0].Attributes[0].Value != user {
			t.Fatalf("%q logs in as %q (%v)", user, name, err)
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	ok := Config{Name: "x", Servers: []string{"ldap://dc1", "ldaps://dc2:3269/"}, Base: "dc=x"}
	if _, err := Open(ok); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Servers = nil }, "no server"},
		{func(c *Config) { c.Servers = []string{"dc1"} }, "does not begin with ldap:// or ldaps://"},
		{func(c *Config) { c.Servers = []string{"ldap://"} }, "has no host"},
		{func(c *Config) { c.Servers = []string{"ldap://dc1/dc=x"} }, "more than a host and a port"},
		{func(c *Config) { c.Servers = []string{"ldap://u:p@dc1"} }, "more than a host and a port"},
		{func(c *Config) { c.Servers = []string{"ldap://dc1:x"} }, "not a URL"},
		{func(c *Config) { c.Base = "" }, "neither"},
		{func(c *Config) { c.BindDN = "cn=x" }, "no password"},
		{func(c *Config) { c.CAFile = "/nonexistent" }, "no such file"},
		{func(c *Config) { c.CAFile = "ldap.go" }, "no certificate"},
		{func(c *Config) { c.UserFilter = "(uid=%x)" }, "per cent"},
		{func(c *Config) { c.UserFilter = "(uid=%" }, "per cent"},
		{func(c *Config) { c.UserFilter = "uid=%u)" }, "filter"},
		{func(c *Config) { c.GroupFilter = "(" }, "filter"},
		{func(c *Config) { c.UserDN = "cn=admin" }, "%u"},
		{func(c *Config) { c.MailboxAttr = "mail)(x=" }, "attribute"},
		{func(c *Config) { c.MemberAttrs = []string{""} }, "attribute"},
	} {
		c := ok
		test.change(&c)
		if _, err := Open(c); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, not %s", c, err, test.want)
		}
	}
}

func TestConfigsAreEqual(t *testing.T) {
	a := Config{Name: "x", Servers: []string{"ldap://dc1"}, Base: "dc=x"}
	b := a
	b.Kind, b.Timeout = OpenLDAP, DefaultTimeout
	if !a.Equal(b) {
		t.Error("a default makes a difference")
	}
	if b.Base = "dc=y"; a.Equal(b) {
		t.Error("a base makes no difference")
	}
}

func TestAddresses(t *testing.T) {
	for _, test := range []struct {
		mailbox, others []string
		want            string
	}{
		{nil, nil, ""},
		{[]string{"Anna@Office.Example"}, nil, "anna@office.example"},
		{[]string{"anna@office.example", "a@office.example"}, nil, "anna@office.example a@office.example"},
		{[]string{"anna@office.example"}, []string{"SMTP:anna@office.example", "smtp:a.m@office.example", "X400:c=de", "sip:anna@office.example", "x500:/o=x"},
			"anna@office.example a.m@office.example"},
		{[]string{"smtp:a@office.example", "SMTP:anna@office.example"}, nil, "anna@office.example a@office.example"},
		{nil, []string{"a@office.example"}, " a@office.example"},
		{[]string{"not an address", "anna@office.example"}, nil, "anna@office.example"},
		{[]string{"anna"}, []string{"@", "a@b@c"}, ""},
	} {
		primary, aliases := addresses(test.mailbox, test.others)
		got := []string{primary.String()}
		for _, a := range aliases {
			got = append(got, a.String())
		}
		if s := strings.Join(got, " "); s != test.want {
			t.Errorf("%q, %q are %q, not %q", test.mailbox, test.others, s, test.want)
		}
	}
}

func TestQuota(t *testing.T) {
	for _, test := range []struct {
		text string
		unit Unit
		want int64
		ok   bool
	}{
		{"52428800", Bytes, 52428800, true},
		{"51200", Kilobytes, 51200 << 10, true},
		{"50", Megabytes, 50 << 20, true},
		{"52428800S", Bytes, 52428800, true},
		{"1000C,52428800S", Bytes, 52428800, true},
		{"1000C", Bytes, 0, true},
		{"0", Bytes, 0, true},
		{"-1", Bytes, 0, false},
		{"50 MB", Bytes, 0, false},
		{"9223372036854775807", Kilobytes, 0, false},
	} {
		if got, ok := parseQuota(test.text, test.unit); got != test.want || ok != test.ok {
			t.Errorf("%q %s is %d, %v", test.text, test.unit, got, ok)
		}
	}
}

func TestAddressOfNobody(t *testing.T) {
	d, err := Open(Config{Servers: []string{"ldap://nowhere.invalid"}, Base: "dc=x"})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []addr.Address{{}, {Local: "x"}, {Domain: "office.example"}, {Local: "a\x00b", Domain: "office.example"}} {
		if _, err := d.Address(t.Context(), a); !errors.Is(err, ErrNotFound) {
			t.Errorf("Address(%q) says %v", a, err)
		}
	}
}

func TestAsksForDomain(t *testing.T) {
	for _, test := range []struct {
		dn, base, filter string
		want             bool
	}{
		{"uid=%u,ou=%d,dc=office", "", "", true},
		{"%u@%d", "", "", true},
		{"%a", "", "", true},
		{"%u@office.example", "", "(mail=%a)", false}, // the filter is not used
		{"uid=%u,dc=office", "dc=office", "(associatedDomain=%d)", true},
		{"", "dc=office", "", false}, // (|(uid=%u)(mail=%a))
		{"", "dc=office", "(uid=%u)", false},
		{"", "dc=office", "(mail=%a)", true},
		{"", "dc=office", "(&(uid=%u)(associatedDomain=%d))", true},
		{"", "dc=office", "(|(mail=%a)(alias=%a))", true},
		{"", "dc=office", "(&(uid=%u)(!(mail=%a)))", false},
		{"%%d", "dc=office", "(&(uid=%u)(|(mail=%a)(objectClass=x)))", false},
	} {
		c := Config{UserDN: test.dn, Base: test.base, UserFilter: test.filter}.withDefaults()
		if got := c.AsksForDomain(); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}
