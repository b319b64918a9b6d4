package config

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pillarbox/mailstore/ldap"
	"pillarbox/mailstore/system"
)

// caFile writes the certificate of a CA.
func caFile(t *testing.T, folder, name string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDirectory(t *testing.T) {
	folder := t.TempDir()
	secretFile(t, folder, "ldap.password", 0o600)
	caFile(t, folder, "ca.pem")
	c, err := loadIn(t, folder, `hostname = "a.example"

[[directory]]
kind = "activedirectory"
servers = ["ldaps://dc1.corp.example", "ldap://dc2.corp.example:3268"]
start_tls = true
ca_file = "ca.pem"
bind_dn = 'CN=pillarbox,CN=Users,DC=corp,DC=example'
password_file = "ldap.password"
base = "DC=corp,DC=example"
lookup = true
netbios = ["corp", "OLDCORP"]
alias_attributes = []

[[directory]]
name = "unix"
kind = "openldap"
servers = ["ldap://127.0.0.1"]
user_dn = "uid=%u,ou=people,dc=office,dc=example"
quota_attribute = ""
create = "never"
stale = "24h"
`)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Directories) != 2 || c.Warnings != nil {
		t.Fatalf("%d directories, warnings %q", len(c.Directories), c.Warnings)
	}
	corp, unix := &c.Directories[0], &c.Directories[1]
	want := ldap.Defaults(ldap.ActiveDirectory)
	want.Name = "dc1.corp.example"
	want.Servers = []string{"ldaps://dc1.corp.example", "ldap://dc2.corp.example:3268"}
	want.StartTLS, want.CAFile = true, filepath.Join(folder, "ca.pem")
	want.BindDN, want.PasswordFile = "CN=pillarbox,CN=Users,DC=corp,DC=example", filepath.Join(folder, "ldap.password")
	want.Base, want.AliasAttrs = "DC=corp,DC=example", []string{}
	if !corp.LDAP(nil).Equal(want) {
		t.Errorf("the first is\n%+v, not\n%+v", corp.Config, want)
	}
	if !corp.Lookup || !corp.MakesAtDelivery() || !corp.MakesAtLogin() || !slices.Equal(corp.NetBIOS, []string{"CORP", "OLDCORP"}) {
		t.Errorf("the first is %+v", corp)
	}
	if unix.Name != "unix" || unix.QuotaAttr != "" || unix.Lookup || unix.MakesAtDelivery() || unix.MakesAtLogin() || unix.Stale != 24*time.Hour || unix.MailboxAttr != "mail" {
		t.Errorf("the second is %+v", unix)
	}
	if _, err := ldap.Open(unix.LDAP(nil)); err != nil {
		t.Error(err)
	}
}

// Every key of [[directory]] in the sample exists, and its value is valid.
func TestDirectoryOfTheSample(t *testing.T) {
	_, text, _ := strings.Cut(string(Render(sampleValues())), "# [[directory]]\n")
	text, _, _ = strings.Cut(text, "\n\n")
	var entry []string
	for line := range strings.SplitSeq(text, "\n") {
		if line, ok := strings.CutPrefix(line, "#   "); ok {
			entry = append(entry, line)
		}
	}
	folder := t.TempDir()
	secretFile(t, folder, "ldap.password", 0o600)
	c, err := loadIn(t, folder, "hostname = \"a.example\"\n[[directory]]\n"+strings.Join(entry, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if keys := directoryKeys("x", 0); len(keys) != len(entry) {
		t.Errorf("the sample has %d of %d keys", len(entry), len(keys))
	}
	want := ldap.Defaults(ldap.ActiveDirectory)
	got := c.Directories[0].Config
	want.Name, want.Servers, want.BindDN, want.PasswordFile, want.Base = got.Name, got.Servers, got.BindDN, got.PasswordFile, got.Base
	if !got.Equal(want) {
		t.Errorf("the sample states other defaults:\n%+v, not\n%+v", got, want)
	}
}

func TestDirectoryMistakes(t *testing.T) {
	folder := t.TempDir()
	secretFile(t, folder, "secret", 0o600)
	secretFile(t, folder, "open", 0o644)
	const first = "[[directory]]\nkind = \"openldap\"\n"
	const good = first + "servers = [\"ldaps://dc1\"]\nbase = \"dc=x\"\n"
	for _, test := range []struct{ text, want string }{
		{"[[directory]]\n", `:2: directory[1].kind: is missing`},
		{"[[directory]]\n", `:2: directory[1].servers: is missing`},
		{"[[directory]]\n", `:2: directory[1].base: is missing; write base = "dc=office,dc=example"`},
		{first + `kindd = "x"`, "did you mean kind of [[directory]]?"},
		{"[[directory]]\nkind = \"nds\"", `:3: directory[1].kind: "nds" is not a choice; write "activedirectory" or "openldap"`},
		{first + "servers = []", ":4: directory[1].servers: is empty"},
		{first + `servers = ["dc1"]`, `"dc1" does not begin with ldap:// or ldaps://`},
		{first + `servers = ["ldap://dc1/o=x"]`, `"ldap://dc1/o=x" has more than a host and a port`},
		{first + `user_dn = "cn=admin"`, "the same for all users"},
		{first + `user_dn = "%u@%x"`, "a per cent sign must be followed by"},
		{first + `user_filter = "(uid=%u"`, ":4: directory[1].user_filter: filter"},
		{first + `user_filter = ""`, "directory[1].user_filter: filter"},
		{first + `user_filter = "(objectClass=person)"`, ":4: directory[1].user_filter: \"(objectClass=person)\" has neither %u nor %a"},
		{"[auth]\nmethod = \"directory\"", ":3: auth.method: there is no [[directory]]; write one at the end of the file"},
		{"[auth]\nmethod = \"directory:corp\"\n" + good, `:3: auth.method: there is no [[directory]] called "corp"; write one at the end of the file, with name = "corp"`},
		{"[auth]\nmethod = \"directory:dc1\"\nrequire_spa = true\n" + good, ":4: auth.require_spa: no login is possible"},
		{"[auth]\nkey_file = \"gone/secrets.key\"", ":3: auth.key_file: the folder " + filepath.Join(folder, "gone") + " does not exist"},
		{"[tls.acme]\nenabled = true\naccept_terms = true\nca_file = \"gone.pem\"", ":5: tls.acme.ca_file: " + filepath.Join(folder, "gone.pem") + " does not exist"},
		{first + `base = "office.example"`, `"office.example" is not a distinguished name`},
		{first + `mailbox_attribute = "e mail"`, `"e mail" is not an attribute name`},
		{first + `alias_attributes = ["mail", "x)"]`, `"x)" is not an attribute name`},
		{first + `netbios = ["office.example.long"]`, "not the name of a Windows domain"},
		{first + `netbios = ["A\\b"]`, "not the name of a Windows domain"},
		{first + `timeout = "5"`, "is not a time"},
		{first + `create = "always"`, `write "delivery", "login" or "never"`},
		{first + `quota_unit = "kB"`, `write "B", "KB" or "MB"`},
		{good + `bind_dn = "cn=x"`, ":6: directory[1].bind_dn: has no password"},
		{good + `password_file = "secret"`, ":6: directory[1].password_file: is set but directory[1].bind_dn is not"},
		{good + "bind_dn = \"cn=x\"\npassword_file = \"missing\"", ":7: directory[1].password_file: "},
		{good + "bind_dn = \"cn=x\"\npassword_file = \"open\"", "every user of this machine can read the password"},
		{good + `ca_file = "missing.pem"`, "missing.pem does not exist"},
		{good + `ca_file = "secret"`, ":6: directory[1].ca_file: " + filepath.Join(folder, "secret") + " contains no certificate in PEM form"},
		{good + `ca_file = "."`, ":6: directory[1].ca_file: "},
		{good + `start_tls = true`, ":6: directory[1].start_tls: every server uses TLS from the start"},
		{first + "servers = [\"ldaps://dc1\"]\nuser_dn = \"%u@x\"\nlookup = true", ":6: directory[1].base: is missing"},
		{good + good, `directory[2].name: "dc1" is the name of directory[1] already`},
		{good + "netbios = [\"A\"]\n" + good + "name = \"b\"\nnetbios = [\"a\"]", `directory[2].netbios: "A" is in directory[1] already`},
	} {
		_, err := loadIn(t, folder, "hostname = \"a.example\"\n"+test.text)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s\nis\n%v\nnot\n%s", test.text, err, test.want)
		}
	}
	if _, err := loadIn(t, folder, "hostname = \"a.example\"\n", "PILLARBOX_DIRECTORY_BASE=x"); err == nil || !strings.Contains(err.Error(), "no variable can set [[directory]]") {
		t.Errorf("a variable: %v", err)
	}
}

func TestDirectoryWarnings(t *testing.T) {
	folder := t.TempDir()
	caFile(t, folder, "ca.pem")
	entry := func(kind, servers, rest string) string {
		return "hostname = \"a.example\"\n[[directory]]\nkind = \"" + kind + "\"\nservers = [" + servers + "]\n" + rest
	}
	for _, test := range []struct{ text, want string }{
		{entry("openldap", `"ldap://dc1"`, `base = "dc=x"`), "pillarbox.toml:4: directory[1].servers: passwords cross the network to ldap://dc1 in the clear"},
		{entry("openldap", `"ldap://localhost", "ldap://127.0.0.2", "ldap://[::1]:390"`, `base = "dc=x"`), ""},
		{entry("openldap", `"ldap://dc1"`, "base = \"dc=x\"\nstart_tls = true"), ""},
		{entry("openldap", `"ldaps://dc1"`, `base = "dc=x"`), ""},
		{entry("openldap", `"ldap://localhost"`, "base = \"dc=x\"\nca_file = \"ca.pem\""), "ca_file: is never used"},
		{entry("activedirectory", `"ldaps://dc1"`, `base = "dc=x"`), "pillarbox.toml:2: directory[1]: Active Directory allows no search"},
		{entry("activedirectory", `"ldaps://dc1"`, "base = \"dc=x\"\nuser_dn = \"%u@x\""), ""},
		{entry("activedirectory", `"ldaps://dc1"`, "base = \"dc=x\"\nuser_dn = \"%u@x\"\nlookup = true"), "allows no search"},
		{entry("openldap", `"ldaps://dc1"`, "user_dn = \"%u@x\"\nuser_filter = \"(uid=%u)\""), "user_filter: is never used"},
		{entry("openldap", `"ldaps://dc1"`, "base = \"dc=x\"\ncreate = \"login\""), "create: has no effect without lookup = true"},
		{entry("openldap", `"ldaps://dc1"`, "base = \"dc=x\"\nstale = \"1m\""), "stale: is shorter"},
	} {
		c, err := loadIn(t, folder, test.text)
		if err != nil {
			t.Errorf("%s\n%v", test.text, err)
			continue
		}
		if got := strings.Join(c.Warnings, "\n"); !strings.Contains(got, test.want) || (got == "") != (test.want == "") {
			t.Errorf("%s\nwarns %q, not %q", test.text, got, test.want)
		}
	}
}

func TestSystem(t *testing.T) {
	folder := t.TempDir()
	program := filepath.Join(folder, "checkpassword")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	load := func(text string) (*Config, error) {
		return loadIn(t, folder, "hostname = \"a.example\"\n[system]\n"+text)
	}
	c, err := load("min_uid = 500\ntimeout = \"3s\"\n")
	if err != nil {
		t.Fatal(err)
	}
	if u, ok := c.System.Checker().(*system.UnixChkpwd); !ok || u.MinUID != 500 || u.Timeout != 3*time.Second {
		t.Errorf("the checker is %+v", c.System.Checker())
	}
	c, err = load("check = \"checkpassword\"\ncheckpassword = ['" + program + "', \"-x\"]\n")
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := c.System.Checker().(*system.Checkpassword); !ok || !slices.Equal(p.Program, []string{program, "-x"}) || c.Warnings != nil {
		t.Errorf("the checker is %+v, warnings %q", c.System.Checker(), c.Warnings)
	}
	for _, test := range []struct{ text, want string }{
		{`check = "pam"`, `:3: system.check: "pam" is not a choice; write "unix_chkpwd" or "checkpassword"`},
		{`check = "checkpassword"`, ":3: system.checkpassword: is missing"},
		{`checkpassword = ["checkpassword"]`, ":3: system.checkpassword: \"checkpassword\" is not an absolute path"},
		{`checkpassword = ["/nonexistent"]`, "no such file"},
		{`checkpassword = ["` + folder + `"]`, "is not a file"},
		{`min_uid = 0`, "0 is out of range"},
		{`timeout = "1h"`, "is out of range"},
	} {
		if _, err := load(test.text); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s is %v, not %s", test.text, err, test.want)
		}
	}
	c, err = load("checkpassword = ['" + program + "']\n")
	if err != nil || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "is never run") {
		t.Errorf("%v, %q", err, c.Warnings)
	}
}
