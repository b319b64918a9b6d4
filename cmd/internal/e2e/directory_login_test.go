//go:build e2e

package e2e

import (
	"encoding/base64"
	"net"
	"pillarbox/etc/lab/mailtest"
	"strings"
	"testing"
	"time"
)

// doors logs in by POP3 and SMTP without TLS, like the programs of the test network, and returns
// the replies.
func (o *office) doors(t testing.TB, user, password string) (pop3, smtp string) {
	t.Helper()
	p := o.mustDial(t, "pop3")
	defer p.Close()
	p.ask(t, "+OK", "USER %s", user)
	pop3, err := p.say("PASS %s", password)
	noError(t, err)
	if strings.HasPrefix(pop3, "+OK") {
		p.ask(t, "+OK", "QUIT") // a maildrop serves one session at a time
	}
	s := o.mustDial(t, "submission")
	defer s.Close()
	s.ask(t, "250", "EHLO pc.example")
	smtp, err = s.say("AUTH PLAIN %s", base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)))
	noError(t, err)
	return pop3, smtp
}

// wantDoors logs in by POP3 and SMTP. The replies must begin with the given text; "" means success.
func (o *office) wantDoors(t testing.TB, user, password, pop3, smtp string) {
	t.Helper()
	if pop3 == "" {
		pop3, smtp = "+OK", "235"
	}
	gotPOP3, gotSMTP := o.doors(t, user, password)
	if !strings.HasPrefix(gotPOP3, pop3) || !strings.HasPrefix(gotSMTP, smtp) {
		t.Errorf("%s with %q: answered %q and %q, want %s and %s", user, password, gotPOP3, gotSMTP, pop3, smtp)
	}
}

type login struct{ user, password string }

// wantNoDoors expects a refusal of all logins. It runs them at the same time, because each refusal
// is delayed.
func (o *office) wantNoDoors(t *testing.T, all []login) {
	t.Run("wrong", func(t *testing.T) {
		for _, l := range all {
			t.Run(l.user, func(t *testing.T) {
				t.Parallel()
				o.wantDoors(t, l.user, l.password, wrongPOP3, wrongSMTP)
			})
		}
	})
}

// TestDirectoryConnections logs in with every kind of connection to a directory and every kind of
// search.
func TestDirectoryConnections(t *testing.T) {
	d := newSlapd(t)
	_, securePort, _ := net.SplitHostPort(d.Secure)
	userDN := `user_dn = "uid=%u,` + ldapPeople + `"`
	anonymous := []string{`bind_dn = ""`, `password_file = ""`}
	for _, test := range []struct {
		name     string
		settings []string
		byDomain bool   // set by "admin domain method", not by auth.method
		log      string // the log line of the failure; "" for none
	}{
		{"search", nil, false, ""},
		{"method of the domain", nil, true, ""},
		{"user_dn", append(anonymous, userDN, `base = ""`), false, ""},
		{"user_dn and search", append(anonymous, userDN), true, ""},
		{"StartTLS", []string{`start_tls = true`, `ca_file = "` + d.File("ca.pem") + `"`}, false, ""},
		{"LDAPS", []string{`servers = ["ldaps://` + d.Secure + `"]`, `ca_file = "` + d.File("ca.pem") + `"`}, false, ""},
		{"the second server", []string{`servers = ["ldap://` + mailtest.FreeAddress(t) + `", "ldap://` + d.Plain + `"]`}, false, ""},
		{"StartTLS of another CA", []string{`start_tls = true`, `ca_file = "` + d.File("other-ca.pem") + `"`}, false,
			`reason="StartTLS: TLS handshake failed (tls: failed to verify certificate: x509: certificate signed by unknown authority`},
		{"LDAPS of another CA", []string{`servers = ["ldaps://` + d.Secure + `"]`, `ca_file = "` + d.File("other-ca.pem") + `"`}, false,
			`reason="TLS: tls: failed to verify certificate: x509: certificate signed by unknown authority`},
		{"LDAPS of another name", []string{`servers = ["ldaps://localhost:` + securePort + `"]`, `ca_file = "` + d.File("ca.pem") + `"`}, false,
			"x509: certificate is not valid for any names, but wanted to match localhost"},
		{"search account with a wrong password", []string{`password_file = "` + d.File("wrong.password") + `"`}, false,
			"login as cn=search,dc=office,dc=example: the directory refuses the password: wrong password"},
		{"base that is not there", []string{`base = "dc=nowhere"`}, false, "the base does not exist, or the search account may not read it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d.write(t, "wrong.password", "nonsense\n")
			o := newOffice(t)
			if test.byDomain {
				o.addToConfig(t, d.entry(test.settings...))
				o.pillarbox(t, "", "admin", "domain", "method", domain, "directory")
			} else {
				o.useDirectory(t, d.entry(test.settings...))
			}
			s := o.serve(t)
			if test.log != "" {
				o.wantDoors(t, anna, annaLDAP, laterPOP3, laterSMTP)
				s.wantLog(t, test.log)
				return
			}
			o.wantDoors(t, anna, annaLDAP, "", "")
			o.wantDoors(t, "anna", annaLDAP, "", "")
			o.wantDoors(t, boss, bossLDAP, "", "")
			o.wantDoors(t, anna, annaPassword, wrongPOP3, wrongSMTP) // the old password
			o.deliver(t, letter(test.name), anna)
			if n := len(o.files(t, anna)); n != 1 {
				t.Errorf("anna has %d messages, want 1", n)
			}
			s.stop(t)
			noSecrets(t, "the log", s.log.String())
		})
	}
}

// TestDirectoryNames uses every form of the user name that programs send, and some that attackers
// send.
func TestDirectoryNames(t *testing.T) {
	o, d := newOffice(t), newSlapd(t)
	o.useDirectory(t, d.entry("lookup = true", `netbios = ["OFFICE"]`))
	o.addToConfig(t, d.named("ad", `kind = "activedirectory"`, `servers = ["ldap://`+d.Plain+`"]`, `bind_dn = "cn=search,`+ldapRoot+`"`,
		`password_file = "`+d.File("search.password")+`"`, `base = "ou=ad,`+ldapRoot+`"`, "lookup = true", `netbios = ["CORP"]`))
	for _, name := range []string{"corp.example", "corp.local"} {
		o.pillarbox(t, "", "admin", "domain", "add", name)
		o.pillarbox(t, "", "admin", "domain", "method", name, "directory:ad")
	}
	s := o.serve(t)
	for _, test := range []login{
		{anna, annaLDAP}, {"anna", annaLDAP}, {"ANNA", annaLDAP}, {"Anna@Office.Example", annaLDAP},
		{`OFFICE\anna`, annaLDAP}, {`office\Anna`, annaLDAP}, {`office.example\anna`, annaLDAP}, {`PC17\anna`, annaLDAP},
		{"bmeier", bertLDAP}, {"bert.meier", bertLDAP}, {"bert.meier@office.example", bertLDAP},
		{`CORP\carla`, carlaLDAP}, {"carla@corp.example", carlaLDAP}, {"carla.c@corp.example", carlaLDAP}, {"carla@corp.local", carlaLDAP},
	} {
		o.wantDoors(t, test.user, test.password, "", "")
	}
	// The same names from curl.
	args, host := o.curl("pop3", o.ca)
	for _, user := range []string{anna, `OFFICE\anna`, "bmeier"} {
		password := map[string]string{"bmeier": bertLDAP}[user]
		if password == "" {
			password = annaLDAP
		}
		mustRun(t, o.command(t, "curl", append(args, "--ssl-reqd", "--user", user+":"+password, "pop3://"+host+"/")...))
	}
	o.wantNoDoors(t, []login{
		{anna, annaLDAP + "x"}, {anna, ""}, {anna, bertLDAP},
		{"nobody", annaLDAP}, {"printer", "ldap-Printer.1"}, {`CORP\anna`, annaLDAP}, {"contact@corp.example", ""},
		{"*", annaLDAP}, {"ann*", annaLDAP}, {"anna)(uid=*", annaLDAP}, {"*)(|(uid=anna", annaLDAP}, {`anna\29`, annaLDAP},
		{"anna,ou=people", annaLDAP}, {personDN("anna"), annaLDAP},
		{"anna@elsewhere.example", annaLDAP}, {"search", "of the searching account"}, {`anna@office.example)(cn=*`, annaLDAP},
	})
	o.wantDoors(t, "twin", twinLDAP, laterPOP3, laterSMTP)
	s.wantLog(t, "uid=twin,ou=people,dc=office,dc=example, uid=twin,ou=others,dc=office,dc=example")
	list := o.pillarbox(t, "", "admin", "mailbox", "list")
	for _, want := range []string{"anna@office.example", "bert.meier@office.example", "boss@office.example", "carla.c@corp.example"} {
		if !strings.Contains(list, want) {
			t.Errorf("%s has no mailbox:\n%s", want, list)
		}
	}
	if n := strings.Count(list, "@"); n != 4 {
		t.Errorf("there are %d mailboxes, want 4:\n%s", n, list)
	}
	s.stop(t)
	noSecrets(t, "the log", s.log.String())
}

// TestDirectoryStrongMechanisms checks that a mechanism with a stored secret does not work for
// mailboxes of the directory, and that the log says why.
func TestDirectoryStrongMechanisms(t *testing.T) {
	o, d := newOffice(t), newSlapd(t)
	o.useDirectory(t, d.entry("lookup = true"))
	out := o.pillarbox(t, "", "admin", "mailbox", "secrets", anna, "spa", "cram-md5")
	if !strings.Contains(out, "directory:corp checks its password, so no secret can be stored; only PLAIN and LOGIN work") {
		t.Errorf("admin mailbox secrets says\n%s", out)
	}
	s := o.serve(t)
	o.wantDoors(t, anna, annaLDAP, "", "")
	ehlo := func() string {
		c := o.mustDial(t, "submission")
		defer c.Close()
		return c.ask(t, "250", "EHLO pc.example")
	}
	for _, mechanism := range []string{"NTLM", "CRAM-MD5"} {
		if reply := ehlo(); strings.Contains(reply, mechanism) {
			t.Errorf("%s is offered where nobody has the secret for it:\n%s", mechanism, reply)
		}
	}
	// A mechanism is not offered because of one mailbox with secrets, unless the settings demand
	// it: the server does not know which user will log in.
	o.pillarbox(t, bossPassword+"\n", "admin", "mailbox", "migrate-auth", boss, "file", "--password-stdin")
	o.pillarbox(t, bossPassword+"\n", "admin", "mailbox", "passwd", boss, "--spa", "--cram-md5", "--password-stdin")
	time.Sleep(time.Second) // until the server has looked
	if reply := ehlo(); strings.Contains(reply, "NTLM") || strings.Contains(reply, "CRAM-MD5") {
		t.Errorf("offered to all:\n%s", reply)
	}
	o.set(t, "auth", "challenge_networks", `["127.0.0.0/8"]`)
	o.pillarbox(t, "", "admin", "reload")
	eventually(t, "NTLM and CRAM-MD5 are offered", func() bool {
		reply := ehlo()
		return strings.Contains(reply, "NTLM") && strings.Contains(reply, "CRAM-MD5")
	})
	args, host := o.curl("submission", o.ca)
	for _, mechanism := range []string{"CRAM-MD5", "NTLM"} {
		for _, who := range []struct {
			user, password string
			lets           bool
		}{{boss, bossPassword, true}, {anna, annaLDAP, false}, {anna, annaPassword, false}} {
			out, _ := run(t, o.command(t, "curl", append(args, "--ssl-reqd", "--verbose", "--user", who.user+":"+who.password,
				"--login-options", "AUTH="+mechanism, "smtp://"+host+"/pc."+domain, "--mail-from", who.user, "--request", "NOOP")...))
			if got := strings.Contains(out, "< 235"); got != who.lets {
				t.Errorf("%s by %s: let in is %v, want %v\n%s", who.user, mechanism, got, who.lets, out)
			}
		}
		s.wantLog(t, "mechanism="+mechanism+` reason="invalid user name or password: the mailbox has no secret for this mechanism`)
	}
}
