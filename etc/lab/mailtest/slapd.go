package mailtest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
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

// SlapdConfig is the content of a Slapd.
type SlapdConfig struct {
	Schema, LDIF string // files: additional schema, and the entries
	Root         string // "dc=office,dc=example"; its manager is cn=root below it
	RootPassword string // without blanks
	// access rules except for passwords, such as "access to * by * read"; ROOT stands for Root
	Access string
}

// Slapd is OpenLDAP's server (Debian's slapd) on its own loopback addresses, with the entries of a
// test. Its directory also has the certificates of two CAs: ca.pem, which has issued the server's
// certificate for 127.0.0.1, and other-ca.pem.
type Slapd struct {
	Plain, Secure string // addresses of ldap:// and ldaps://

	dir, binary string
	cmd         *exec.Cmd
	log         bytes.Buffer
}

// NewSlapd fills a directory and serves it until the test ends. If slapd is not installed, it calls
// missing, which must not return.
func NewSlapd(t testing.TB, cfg SlapdConfig, missing func(why string)) *Slapd {
	t.Helper()
	program, err := exec.LookPath("slapd")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/slapd"); err != nil {
			missing("slapd is not installed; .ci/packages.txt lists what these tests need")
		}
	}
	s := &Slapd{dir: t.TempDir(), Plain: FreeAddress(t), Secure: FreeAddress(t)}
	// AppArmor may confine the slapd at its own path to its own directories. A copy is not
	// confined.
	s.binary = s.File("slapd")
	text, err := os.ReadFile(program)
	must(t, err)
	must(t, os.WriteFile(s.binary, text, 0o700))
	must(t, os.Mkdir(s.File("db"), 0o700))
	s.certificates(t)
	s.configure(t, cfg)
	add := exec.Command(s.binary, "-T", "add", "-f", s.File("slapd.conf"), "-l", cfg.LDIF)
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("slapadd: %v: %s", err, out)
	}
	s.Start(t)
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// FreeAddress returns a loopback address with no listener.
func FreeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// File returns the path of a file beside those of the server.
func (s *Slapd) File(name string) string { return filepath.Join(s.dir, name) }

func (s *Slapd) configure(t testing.TB, cfg SlapdConfig) {
	t.Helper()
	schema, err := filepath.Abs(cfg.Schema)
	must(t, err)
	conf := strings.NewReplacer(
		"DIR", s.dir, "SCHEMA", schema, "ROOT", cfg.Root, "SECRET", cfg.RootPassword,
	).Replace(`
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
# Common settings that clients must not rely on.
allow bind_anon_cred bind_anon_dn
database mdb
suffix ROOT
rootdn cn=root,ROOT
rootpw SECRET
directory DIR/db
maxsize 16777216
access to attrs=userPassword by anonymous auth by * none
` + cfg.Access + "\n")
	must(t, os.WriteFile(s.File("slapd.conf"), []byte(conf), 0o600))
}

// certificates makes the two CAs, and a certificate for 127.0.0.1.
func (s *Slapd) certificates(t testing.TB) {
	t.Helper()
	authority := func() *x509.Certificate {
		return &x509.Certificate{
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
	}
	ca, key := s.issue(t, "ca", authority(), nil, nil)
	s.issue(t, "other-ca", authority(), nil, nil)
	s.issue(t, "server", &x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca, key)
}

// issue makes a certificate and its key. Without a parent the certificate is self-signed.
func (s *Slapd) issue(
	t testing.TB, name string, template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey,
) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	now := time.Now()
	template.SerialNumber = big.NewInt(now.UnixNano())
	template.NotBefore, template.NotAfter = now.Add(-time.Hour), now.Add(time.Hour)
	template.Subject = pkix.Name{CommonName: name}
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	write := func(file, kind string, bytes []byte) {
		t.Helper()
		text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes})
		must(t, os.WriteFile(s.File(file), text, 0o600))
	}
	write(name+".pem", "CERTIFICATE", der)
	write(name+".key", "PRIVATE KEY", private)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return cert, key
}

// Start serves the directory until Kill or the end of the test.
func (s *Slapd) Start(t testing.TB) {
	t.Helper()
	s.cmd = exec.Command(s.binary, "-d", "0", "-f", s.File("slapd.conf"),
		"-h", "ldap://"+s.Plain+" ldaps://"+s.Secure)
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, s.cmd.Start())
	t.Cleanup(s.Kill)
	for range 200 {
		if c, err := net.Dial("tcp", s.Secure); err == nil {
			c.Close()
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	s.Kill()
	t.Fatalf("slapd does not start: %s", s.log.String())
}

// Kill ends the server without a shutdown, as a power cut would.
func (s *Slapd) Kill() {
	if s.cmd.ProcessState == nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
	}
}

// Pause stops the server without closing connections, so that it hangs until resume.
func (s *Slapd) Pause(t testing.TB) (resume func()) {
	t.Helper()
	must(t, s.cmd.Process.Signal(syscall.SIGSTOP))
	// On a busy machine a thread of the server may run on for a moment.
	for range 200 {
		if stopped(s.cmd.Process.Pid) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return func() { s.cmd.Process.Signal(syscall.SIGCONT) }
}

// stopped reports whether all threads of a process are stopped (proc(5): the state follows the
// name).
func stopped(pid int) bool {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, file := range files {
		text, err := os.ReadFile(file)
		_, rest, _ := strings.Cut(string(text), ") ")
		if err == nil && !strings.HasPrefix(rest, "T") {
			return false
		}
	}
	return true
}
