//go:build e2e

package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// slapd is OpenLDAP's server, with the people of testdata/directory in it.
type slapd struct {
	dir           string
	binary        string
	plain, secure string // addresses
	cmd           *exec.Cmd
	log           bytes.Buffer
}

const (
	ldapRoot    = "dc=office,dc=example"
	ldapManager = "cn=root," + ldapRoot
	ldapSecret  = "secret-of-root"
	ldapPeople  = "ou=people," + ldapRoot
)

// The passwords that people have in the directory.
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

// newSlapd fills a directory and serves it.
func newSlapd(t *testing.T) *slapd {
	t.Helper()
	needs(t, "ldapmodify")
	program, err := exec.LookPath("slapd")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/slapd"); err != nil {
			unavailable(t, "slapd is not installed; .ci/packages.txt lists what these tests need")
		}
	}
	s := &slapd{dir: t.TempDir(), plain: ldapAddress(t), secure: ldapAddress(t)}
	// Where AppArmor confines slapd, it confines the one at its own path, to its
	// own directories: a copy may use these.
	s.binary = s.file("slapd")
	text, err := os.ReadFile(program)
	noError(t, err)
	noError(t, os.WriteFile(s.binary, text, 0o700))
	noError(t, os.Mkdir(s.file("db"), 0o700))
	s.write(t, "search.password", "of the searching account\n")
	s.certificates(t)
	s.configure(t)
	mustRun(t, exec.Command(s.binary, "-T", "add", "-f", s.file("slapd.conf"), "-l", "testdata/directory/office.ldif"))
	s.start(t)
	return s
}

func ldapAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	noError(t, err)
	defer l.Close()
	return l.Addr().String()
}

func (s *slapd) file(name string) string { return filepath.Join(s.dir, name) }

func (s *slapd) write(t testing.TB, name, text string) {
	t.Helper()
	noError(t, os.WriteFile(s.file(name), []byte(text), 0o600))
}

func (s *slapd) configure(t *testing.T) {
	t.Helper()
	schema, err := filepath.Abs("testdata/directory/office.schema")
	noError(t, err)
	s.write(t, "slapd.conf", strings.NewReplacer("DIR", s.dir, "SCHEMA", schema, "ROOT", ldapRoot, "SECRET", ldapSecret).Replace(`
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/misc.schema
include SCHEMA
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile DIR/pid
TLSCACertificateFile DIR/ca.pem
TLSCertificateFile DIR/server.pem
TLSCertificateKeyFile DIR/server.key
TLSVerifyClient never
# What servers in the field allow, and nobody must fall for.
allow bind_anon_cred bind_anon_dn
database mdb
suffix ROOT
rootdn cn=root,ROOT
rootpw SECRET
directory DIR/db
maxsize 16777216
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="cn=search,ROOT" read by self read by anonymous auth by * none
`))
}

// certificates makes a CA, and a certificate of 127.0.0.1 from it.
func (s *slapd) certificates(t *testing.T) {
	t.Helper()
	now := time.Now()
	issue := func(name string, template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		noError(t, err)
		template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(now.UnixNano()), now.Add(-time.Hour), now.Add(time.Hour)
		template.Subject = pkix.Name{CommonName: name}
		if parent == nil {
			parent, parentKey = template, key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
		noError(t, err)
		private, err := x509.MarshalPKCS8PrivateKey(key)
		noError(t, err)
		s.write(t, name+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
		s.write(t, name+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
		cert, err := x509.ParseCertificate(der)
		noError(t, err)
		return cert, key
	}
	authority := func() *x509.Certificate {
		return &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	}
	ca, key := issue("ca", authority(), nil, nil)
	issue("other-ca", authority(), nil, nil)
	issue("server", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, ca, key)
}

// start serves the directory, until stop or the end of the test.
func (s *slapd) start(t *testing.T) {
	t.Helper()
	s.cmd = exec.Command(s.binary, "-d", "0", "-f", s.file("slapd.conf"), "-h", "ldap://"+s.plain+" ldaps://"+s.secure)
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	noError(t, s.cmd.Start())
	t.Cleanup(s.kill)
	for range 200 {
		if c, err := net.Dial("tcp", s.secure); err == nil {
			c.Close()
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	s.kill()
	t.Fatalf("slapd does not start: %s", s.log.String())
}

// kill ends the server as a power cut would.
func (s *slapd) kill() {
	if s.cmd.ProcessState == nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
	}
}

// modify changes an entry as the administrator of the directory does; change is
// LDIF, without the name.
func (s *slapd) modify(t *testing.T, dn, change string) {
	t.Helper()
	cmd := exec.Command("ldapmodify", "-x", "-H", "ldap://"+s.plain, "-D", ldapManager, "-w", ldapSecret)
	cmd.Stdin = strings.NewReader("dn: " + dn + "\n" + change + "\n")
	mustRun(t, cmd)
}

func personDN(user string) string { return "uid=" + user + "," + ldapPeople }

// entry is a [[directory]] that searches with an account of its own, asks anew
// for everything that is older than a second, and is called corp.
func (s *slapd) entry(more ...string) string {
	return s.named("corp", append([]string{
		`kind = "openldap"`,
		`servers = ["ldap://` + s.plain + `"]`,
		`bind_dn = "cn=search,` + ldapRoot + `"`,
		`password_file = "` + s.file("search.password") + `"`,
		`base = "` + ldapRoot + `"`,
	}, more...)...)
}

// named is a [[directory]]. Of two lines with one key the last one counts.
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

// The replies to wrong log-ins, and while nothing can be known.
const (
	wrongPOP3, wrongSMTP = "-ERR [AUTH]", "535 5.7.8"
	laterPOP3, laterSMTP = "-ERR [SYS/TEMP]", "454 4.7.0"
)

// rcpt is the reply to a recipient, from a server elsewhere.
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

// wantRCPT wants a recipient to be answered so.
func (o *office) wantRCPT(t testing.TB, to, want string) {
	t.Helper()
	if reply := o.rcpt(t, to); !strings.HasPrefix(reply, want) {
		t.Errorf("RCPT for %s was answered %q, want %s", to, reply, want)
	}
}

// noSecrets wants none of the directory's passwords in a text.
func noSecrets(t testing.TB, what, text string) {
	t.Helper()
	for _, secret := range []string{annaLDAP, bossLDAP, bertLDAP, doraLDAP, emilLDAP, twinLDAP, carlaLDAP, "of the searching account"} {
		if strings.Contains(text, secret) {
			t.Errorf("%s holds the password %q", what, secret)
		}
	}
}
