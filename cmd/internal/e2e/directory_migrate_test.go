//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"pillarbox/etc/lab/mailtest"
	"strings"
	"testing"
)

// uidls returns the unique-ids of a mailbox.
func (o *office) uidls(t testing.TB, user, password string) string {
	t.Helper()
	s, err := o.logIn(user, password)
	noError(t, err)
	defer s.Close()
	s.ask(t, "+OK", "UIDL")
	text, err := s.text()
	noError(t, err)
	s.ask(t, "+OK", "QUIT")
	return text
}

func (o *office) account(t testing.TB, address string) string {
	return read(t, filepath.Join(o.mailbox(address), "account.json"))
}

// TestDirectoryMigration moves the password of a mailbox to the directory and back while the server
// runs. The mail does not change.
func TestDirectoryMigration(t *testing.T) {
	o, d := newOffice(t), newSlapd(t)
	o.addToConfig(t, d.entry("lookup = true")) // passwords are still checked by file
	s := o.serve(t)
	o.pillarbox(t, "", "admin", "mailbox", "secrets", boss, "spa")
	o.wantDoors(t, boss, bossPassword, "", "")
	for _, subject := range []string{"one", "two", "three"} {
		o.deliver(t, letter(subject), boss)
	}
	uidls := o.uidls(t, boss, bossPassword)
	if strings.Count(uidls, "\n") != 3 || !strings.Contains(o.account(t, boss), "argon2id") || !strings.Contains(o.account(t, boss), "sealed") {
		t.Fatalf("before: %s\n%s", uidls, o.account(t, boss))
	}
	want := func(method, password, other string) {
		t.Helper()
		o.wantDoors(t, boss, other, wrongPOP3, wrongSMTP)
		if got := o.uidls(t, boss, password); got != uidls {
			t.Errorf("by %s the UIDLs are\n%s\nand were\n%s", method, got, uidls)
		}
		if out := o.pillarbox(t, "", "admin", "mailbox", "show", boss); (method == "file") == strings.Contains(out, "checked by") || method != "file" && !strings.Contains(out, "Password:           checked by "+method) {
			t.Errorf("admin mailbox show says\n%s", out)
		}
		if account := o.account(t, boss); (method == "file") != strings.Contains(account, "argon2id") || method != "file" && strings.Contains(account, "sealed") {
			t.Errorf("by %s the account is\n%s", method, account)
		}
	}
	tell := func(part string, args ...string) {
		t.Helper()
		cmd := o.command(t, binary, args...)
		cmd.Stdin = strings.NewReader(bossPassword + "\n")
		if out, _ := run(t, cmd); !strings.Contains(out, part) {
			t.Errorf("%v says\n%s\nwant %q", args, out, part)
		}
	}
	tell("mailbox boss@office.example has its password checked by directory:corp\n", "admin", "mailbox", "migrate-auth", boss, "directory")
	want("directory:corp", bossLDAP, bossPassword)
	s.stop(t)
	s = o.serve(t)
	want("directory:corp", bossLDAP, bossPassword)
	tell("its password is checked by directory:corp, not by this server", "admin", "mailbox", "passwd", boss, "--password-stdin")
	tell("its password is checked by directory:corp, not by this server", "winpop", "changepwd", boss, "secret")

	tell("mailbox boss@office.example has its password checked by this server\n", "admin", "mailbox", "migrate-auth", boss, "file", "--password-stdin")
	want("file", bossPassword, bossLDAP)
	tell("has its password checked by directory:corp\n", "winpop", "migrateToAD", boss)
	want("directory:corp", bossLDAP, bossPassword)

	// A domain with the method directory, in which one mailbox keeps a password of its own.
	tell("domain office.example checks passwords by directory:corp", "admin", "domain", "method", domain, "directory:corp")
	tell("checked by this server", "admin", "mailbox", "migrate-auth", boss, "file", "--password-stdin")
	want("file", bossPassword, bossLDAP)
	o.wantDoors(t, anna, annaLDAP, "", "")
	o.wantDoors(t, anna, annaPassword, wrongPOP3, wrongSMTP)
	s.stop(t)
	s = o.serve(t)
	want("file", bossPassword, bossLDAP)
	o.wantDoors(t, anna, annaLDAP, "", "")

	// A mailbox cannot move to a directory without its user.
	o.pillarbox(t, bossPassword, "admin", "mailbox", "add", "guest", "--no-password")
	tell("the directory corp has no user for guest@office.example\n  hint: add the user there first, or use --force", "admin", "mailbox", "migrate-auth", "guest", "directory")
	tell("has no user for guest@office.example", "winpop", "migrateToAD", "guest@office.example")
	o.pillarbox(t, "", "admin", "mailbox", "add", "bmeier", "--no-password")
	tell(`has uid=bmeier,ou=people,dc=office,dc=example for "bmeier", whose mailbox is bert.meier@office.example`, "admin", "mailbox", "migrate-auth", "bmeier", "directory")
	tell("the method directory:nowhere is not configured\n  hint: see [[directory]]", "admin", "mailbox", "migrate-auth", boss, "directory:nowhere")
	tell(`this machine has no account "guest"`, "admin", "mailbox", "migrate-auth", "guest", "system")
	d.Kill()
	tell("directory corp: the directory gives no answer", "admin", "mailbox", "migrate-auth", boss, "directory")
	want("file", bossPassword, bossLDAP)
	tell("note: directory corp: the directory gives no answer", "admin", "mailbox", "migrate-auth", boss, "directory", "--force")
	tell("2 of its mailboxes have no password here", "admin", "domain", "method", domain, "file")
	tell("checks passwords by file, as auth.method says", "admin", "domain", "method", domain, "default")
	o.wantDoors(t, anna, annaPassword, "", "")
	o.wantDoors(t, boss, bossPassword, laterPOP3, laterSMTP)
	s.stop(t)
	noSecrets(t, "the log", s.log.String())
}

// TestDirectoryCommands checks the output of the administrator's commands.
func TestDirectoryCommands(t *testing.T) {
	o, d := newOffice(t), newSlapd(t)
	dead := mailtest.FreeAddress(t)
	o.useDirectory(t, d.entry("lookup = true", `servers = ["ldap://`+d.Plain+`", "ldaps://`+d.Secure+`"]`, `ca_file = "`+d.File("ca.pem")+`"`))
	o.addToConfig(t, d.named("dead", `kind = "openldap"`, `servers = ["ldap://`+dead+`"]`, `base = "`+ldapRoot+`"`))
	o.addToConfig(t, d.named("passwords", `kind = "openldap"`, `servers = ["ldap://`+d.Plain+`"]`, `user_dn = "uid=%u,`+ldapPeople+`"`, `base = "`+ldapRoot+`"`))
	o.addToConfig(t, d.entry(`name = "foreign"`, `servers = ["ldaps://`+d.Secure+`"]`, `ca_file = "`+d.File("other-ca.pem")+`"`))
	o.addToConfig(t, d.entry(`name = "never"`, "lookup = true", `create = "never"`))
	o.pillarbox(t, "", "admin", "domain", "add", "other.example")
	o.pillarbox(t, "", "admin", "domain", "method", "other.example", "directory:passwords")
	o.pillarbox(t, "", "admin", "domain", "add", "never.example")
	o.pillarbox(t, "", "admin", "domain", "method", "never.example", "directory:never")
	o.serve(t)
	for _, test := range []struct {
		stdin string
		args  []string
		code  int
		want  []string // with several blanks reduced to one
	}{
		{"", []string{"list"}, 0, []string{
			"DIRECTORY SERVERS LOOK-UP DOMAINS",
			"corp ldap://" + d.Plain + ", ldaps://" + d.Secure + " yes office.example",
			"dead ldap://" + dead + " no -", "passwords ldap://" + d.Plain + " no other.example",
		}},
		{"", []string{"test", "corp"}, 0, []string{
			"ldap://" + d.Plain + " connect ok", "not encrypted",
			"ldaps://" + d.Secure + " connect ok", "TLS 1.3, certificate valid until ",
			"ldaps://" + d.Secure + " log in as cn=search,dc=office,dc=example ok", "for example uid=anna,ou=people,dc=office,dc=example",
		}},
		{annaLDAP, []string{"test", "corp", anna, "--password-stdin"}, 0, []string{
			"- find anna@office.example ok", "- check the password of anna@office.example ok",
			"uid=anna,ou=people,dc=office,dc=example, mailbox anna@office.example",
			"- open the mailbox of anna@office.example ok",
		}},
		{"", []string{"test", "corp", "dora"}, 0, []string{"dora@office.example, created at the first login"}},
		{"x", []string{"test", "corp", anna, "--password-stdin"}, 1, []string{
			"- check the password of anna@office.example FAILED", "the directory refuses the password: wrong password", "pillarbox: this user cannot log in as it is",
		}},
		{"", []string{"test", "corp", "nobody"}, 1, []string{
			"- find nobody@office.example FAILED", "not in the directory: no entry below dc=office,dc=example matches (|(uid=nobody)(mail=nobody@office.example))",
			"no mailbox has this name, and the directory has no user for whom one can be created",
		}},
		{"", []string{"test", "corp", "printer"}, 1, []string{"- find printer@office.example ok", "open the mailbox of printer@office.example FAILED", "this user cannot log in"}},
		{"", []string{"test", "corp", "twin"}, 1, []string{"several entries match", "uid=twin,ou=others,dc=office,dc=example"}},
		{"", []string{"test", "passwords", anna}, 0, []string{
			"not yet: 'pillarbox admin domain method office.example directory:passwords' switches over; directory:corp checks its password now",
		}},
		{bertLDAP, []string{"test", "passwords", "bmeier@other.example", "--password-stdin"}, 1, []string{
			"check the password of bmeier@other.example ok", "no mailbox has this name, and lookup is off; 'pillarbox admin mailbox add --no-password' makes one",
		}},
		{"", []string{"test", "never", "dora@never.example"}, 1, []string{`no mailbox has this name, and create = "never"`}},
		{"", []string{"test", "corp", "anna@elsewhere.example"}, 1, []string{"elsewhere.example is not a domain of this server"}},
		{"", []string{"test", "dead"}, 1, []string{"ldap://" + dead + " connect FAILED", "connection refused", "not every server of the directory can be used as it is"}},
		{"", []string{"test", "foreign"}, 1, []string{"connect FAILED", "certificate signed by unknown authority"}},
		{"", []string{"test", "nowhere"}, 1, []string{`there is no directory "nowhere"`, "admin directory list' shows"}},
		{"", []string{"test", "corp", "--password-stdin"}, 2, []string{"--password-stdin is the password of a user, who is missing"}},
	} {
		cmd := o.command(t, binary, append([]string{"admin", "directory"}, test.args...)...)
		cmd.Stdin = strings.NewReader(test.stdin + "\n")
		out, code := run(t, cmd)
		flat := strings.Join(strings.Fields(out), " ")
		for _, want := range test.want {
			if !strings.Contains(flat, want) {
				t.Errorf("%v: %q is not in\n%s", test.args, want, out)
			}
		}
		if code != test.code {
			t.Errorf("%v: exit code %d, want %d\n%s", test.args, code, test.code, out)
		}
		noSecrets(t, strings.Join(test.args, " "), out)
	}
	if out := o.pillarbox(t, "", "admin", "domain", "show", domain); !strings.Contains(out, "Passwords:  directory:corp (the default)") {
		t.Errorf("admin domain show says\n%s", out)
	}
	if out := o.pillarbox(t, "", "admin", "domain", "show", "other.example"); !strings.Contains(out, "Passwords:  directory:passwords\n") {
		t.Errorf("admin domain show says\n%s", out)
	}
	out := o.pillarbox(t, "", "admin", "mailbox", "show", anna)
	for _, want := range []string{"checked by directory:corp", "Log in by:          PLAIN, LOGIN", "NTLM, CRAM-MD5, APOP: its password is checked by directory:corp"} {
		if !strings.Contains(out, want) {
			t.Errorf("admin mailbox show: %q is not in\n%s", want, out)
		}
	}
}

// TestDirectoryNewCA replaces the file of the CA while the server runs.
func TestDirectoryNewCA(t *testing.T) {
	o, d := newOffice(t), newSlapd(t)
	ca := o.write(t, "ldap-ca.pem", read(t, d.File("other-ca.pem")))
	o.useDirectory(t, d.entry(`start_tls = true`, `ca_file = "`+ca+`"`))
	o.serve(t)
	o.wantDoors(t, anna, annaLDAP, laterPOP3, laterSMTP)
	noError(t, os.WriteFile(ca, []byte(read(t, d.File("ca.pem"))), 0o600))
	o.pillarbox(t, "", "admin", "reload")
	o.wantDoors(t, anna, annaLDAP, "", "")
}
