//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// postfix is a separate instance of Postfix: one directory, and its own ports of loopback. It
// accepts mail only for bob, in all domains but the office's.
type postfix struct {
	dir  string
	port string
}

// postfixMain is main.cf; a test appends its lines. DIR stands for the directory.
const postfixMain = `compatibility_level = 3.6
queue_directory = DIR/queue
data_directory = DIR/data
maillog_file_prefixes = DIR
maillog_file = DIR/log
myhostname = mx.isp.example
inet_interfaces = loopback-only
inet_protocols = ipv4
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
mynetworks =
virtual_mailbox_base = DIR/mail
virtual_mailbox_maps = regexp:{{/^bob@/ bob/}}
virtual_uid_maps = static:UID
virtual_gid_maps = static:GID
virtual_mailbox_domains = regexp:{{!/^office\.example$$/ all}}
smtpd_relay_restrictions = permit_auth_destination, reject
smtpd_peername_lookup = no
disable_dns_lookups = yes
minimal_backoff_time = 3600s
`

// postfixMaster is master.cf without the services that listen.
const postfixMaster = `cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
showq unix n - n - - showq
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
tlsmgr unix - - n 1000? 1 tlsmgr
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
pickup unix n - n 60 1 pickup
postlog unix-dgram n - n - 1 postlogd
`

// newPostfix starts an instance with these lines appended to main.cf.
func newPostfix(t *testing.T, main string) *postfix {
	t.Helper()
	p := makePostfix(t)
	p.start(t, main)
	return p
}

// makePostfix creates the directory of an instance.
func makePostfix(t *testing.T) *postfix {
	t.Helper()
	needs(t, "postfix")
	if os.Getuid() != 0 {
		unavailable(t, "Postfix is run by root only")
	}
	p := &postfix{dir: filepath.Join(t.TempDir(), "postfix"), port: freePort(t)}
	for _, dir := range []string{"queue", "data", "mail", "sasl"} {
		if err := os.MkdirAll(filepath.Join(p.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// Its processes drop root's privileges and must still be able to reach it.
	if err := os.Chmod(filepath.Dir(filepath.Dir(p.dir)), 0o755); err != nil {
		t.Fatal(err)
	}
	return p
}

// start starts the instance with these lines appended to main.cf, and the services appended to
// master.cf. The test stops it at its end.
func (p *postfix) start(t *testing.T, main string, services ...string) {
	t.Helper()
	p.own(t, "data", "postfix")
	uid, gid := p.own(t, "mail", "nobody")
	expand := strings.NewReplacer("DIR", p.dir, "UID", uid, "GID", gid).Replace
	p.write(t, "main.cf", expand(postfixMain+main))
	p.write(t, "master.cf", expand("127.0.0.1:"+p.port+" inet n - n - - smtpd\n"+postfixMaster+strings.Join(services, "")))
	p.run(t, "postfix", "start")
	t.Cleanup(func() {
		p.run(t, "postfix", "stop")
		if t.Failed() {
			t.Logf("the end of Postfix's log:\n%s", tail(p.log(t), 40))
		}
	})
	listening(t, p.port)
}

// own makes a user of the machine the owner of a directory.
func (p *postfix) own(t *testing.T, dir, name string) (uid, gid string) {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	id, _ := strconv.Atoi(u.Uid)
	group, _ := strconv.Atoi(u.Gid)
	if err := os.Chown(filepath.Join(p.dir, dir), id, group); err != nil {
		t.Fatal(err)
	}
	return u.Uid, u.Gid
}

func (p *postfix) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// run runs one of Postfix's programs.
func (p *postfix) run(t *testing.T, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, append([]string{"-c", p.dir}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin"}
	return mustRun(t, cmd)
}

func (p *postfix) log(t testing.TB) string {
	text, err := os.ReadFile(filepath.Join(p.dir, "log"))
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// mail returns bob's messages, the oldest first.
func (p *postfix) mail(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(p.dir, "mail", "bob", "new", "*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(files, func(a, b string) int { return written(t, a).Compare(written(t, b)) })
	var messages []string
	for _, file := range files {
		messages = append(messages, read(t, file))
	}
	return messages
}

// written returns the time when a file was written.
func written(t testing.TB, file string) time.Time {
	t.Helper()
	fi, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return fi.ModTime()
}

// wantMail waits until bob has this number of messages.
func (p *postfix) wantMail(t testing.TB, count int) []string {
	t.Helper()
	var messages []string
	eventually(t, "bob has "+strconv.Itoa(count)+" messages", func() bool {
		messages = p.mail(t)
		return len(messages) >= count
	})
	if len(messages) != count {
		t.Fatalf("bob has %d messages, want %d", len(messages), count)
	}
	return messages
}

// waiting returns the number of messages that Postfix still has to deliver.
func (p *postfix) waiting(t *testing.T) (count int) {
	t.Helper()
	for line := range strings.Lines(p.run(t, "postqueue", "-j")) {
		if !json.Valid([]byte(line)) {
			t.Fatalf("postqueue says %q", line)
		}
		count++
	}
	return count
}

// certificate makes a CA and a certificate for a name, as PEM files in a directory: ca.pem,
// cert.pem and key.pem.
func certificate(t *testing.T, dir, name string) {
	t.Helper()
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA of the provider"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: authority.NotBefore, NotAfter: authority.NotAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := x509.CreateCertificate(rand.Reader, authority, authority, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.CreateCertificate(rand.Reader, server, authority, key.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		"ca.pem":   {Type: "CERTIFICATE", Bytes: ca},
		"cert.pem": {Type: "CERTIFICATE", Bytes: cert},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
