//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"pillarbox/etc/lab/mailtest"
	"strings"
	"testing"
)

// slapd is an OpenLDAP server with the people of testdata/directory.
type slapd struct{ *mailtest.Slapd }

const (
	ldapRoot    = "dc=office,dc=example"
	ldapManager = "cn=root," + ldapRoot
	ldapSecret  = "secret-of-root"
	ldapPeople  = "ou=people," + ldapRoot
)

// The passwords of the people in the directory.
const (
	annaLDAP  = "ldap-Anna.1"
	bossLDAP  = "ldap-Boss.1"
	bertLDAP  = "ldap-Bert.1"
	doraLDAP  = "ldap-Dora.1"
	emilLDAP  = "ldap-Emil.1"
	twinLDAP  = "ldap-Twin.1"
	carlaLDAP = "ldap-Carla.1"
)

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newSlapd fills a directory and starts its server.
func newSlapd(t *testing.T) *slapd {
	t.Helper()
	needs(t, "ldapmodify")
	s := &slapd{mailtest.NewSlapd(t, mailtest.SlapdConfig{
		Schema: "testdata/directory/office.schema", LDIF: "testdata/directory/office.ldif", Root: ldapRoot, RootPassword: ldapSecret,
		Access: `access to * by dn.exact="cn=search,ROOT" read by self read by anonymous auth by * none`,
	}, func(why string) { unavailable(t, why) })}
	s.write(t, "search.password", "of the searching account\n")
	return s
}

func (s *slapd) write(t testing.TB, name, text string) {
	t.Helper()
	noError(t, os.WriteFile(s.File(name), []byte(text), 0o600))
}

// modify changes an entry as the directory's administrator. change is LDIF without the dn.
func (s *slapd) modify(t *testing.T, dn, change string) {
	t.Helper()
	cmd := exec.Command("ldapmodify", "-x", "-H", "ldap://"+s.Plain, "-D", ldapManager, "-w", ldapSecret)
	cmd.Stdin = strings.NewReader("dn: " + dn + "\n" + change + "\n")
	mustRun(t, cmd)
}

func personDN(user string) string { return "uid=" + user + "," + ldapPeople }

// entry returns a [[directory]] named corp. It searches with an account of its own and caches
// entries for one second.
func (s *slapd) entry(more ...string) string {
	return s.named("corp", append([]string{
		`kind = "openldap"`,
		`servers = ["ldap://` + s.Plain + `"]`,
		`bind_dn = "cn=search,` + ldapRoot + `"`,
		`password_file = "` + s.File("search.password") + `"`,
		`base = "` + ldapRoot + `"`,
	}, more...)...)
}

// named returns a [[directory]]. If two lines set the same key, the last one counts.
func (s *slapd) named(name string, lines ...string) string {
	all := append([]string{`name = "` + name + `"`, `timeout = "2s"`, `fresh = "1s"`, `fresh_passwords = "1s"`}, lines...)
	seen := make(map[string]bool)
	text := ""
	for i := len(all) - 1; i >= 0; i-- {
		key, _, _ := strings.Cut(all[i], " ")
		if !seen[key] {
			text = all[i] + "\n" + text
		}
		seen[key] = true
	}
	return "\n[[directory]]\n" + text
}

// useDirectory adds a [[directory]] and makes it the authentication method.
func (o *office) useDirectory(t *testing.T, entry string) {
	t.Helper()
	o.addToConfig(t, entry)
	o.set(t, "auth", "method", `"directory"`)
}

func (o *office) addToConfig(t *testing.T, text string) {
	t.Helper()
	o.edit(t, func(config string) string { return config + text })
}

// The replies to failed logins, and to logins that cannot be checked now.
const (
	wrongPOP3, wrongSMTP = "-ERR [AUTH]", "535 5.7.8"
	laterPOP3, laterSMTP = "-ERR [SYS/TEMP]", "454 4.7.0"
)

// rcpt returns the reply to a recipient from a remote server.
func (o *office) rcpt(t testing.TB, to string) string {
	t.Helper()
	s := o.mustDial(t, "smtp")
	defer s.Close()
	s.ask(t, "250", "EHLO other.example")
	s.ask(t, "250", "MAIL FROM:<someone@other.example>")
	reply, err := s.say("RCPT TO:<%s>", to)
	noError(t, err)
	s.say("QUIT")
	return reply
}

// wantRCPT expects this reply to a recipient.
func (o *office) wantRCPT(t testing.TB, to, want string) {
	t.Helper()
	if reply := o.rcpt(t, to); !strings.HasPrefix(reply, want) {
		t.Errorf("RCPT for %s was answered %q, want %s", to, reply, want)
	}
}

// noSecrets checks that a text contains no password of the directory.
func noSecrets(t testing.TB, what, text string) {
	t.Helper()
	for _, secret := range []string{annaLDAP, bossLDAP, bertLDAP, doraLDAP, emilLDAP, twinLDAP, carlaLDAP, "of the searching account"} {
		if strings.Contains(text, secret) {
			t.Errorf("%s holds the password %q", what, secret)
		}
	}
}
