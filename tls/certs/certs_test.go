package certs

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// epoch is the time at which the tests make certificates. Virtual time in synctest starts at it.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

var (
	testNames = []string{"mail.office.example", "Office.Example", "mail"}
	testIPs   = []netip.Addr{netip.MustParseAddr("192.168.7.2"), netip.MustParseAddr("fd00::2"), netip.MustParseAddr("::ffff:192.168.7.3")}
)

// ready is the content of a directory filled by Ensure. It is made once because RSA keys are slow to
// make.
var ready = sync.OnceValues(func() (map[string][]byte, error) {
	dir, err := os.MkdirTemp("", "certs")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if _, err := Ensure(dir, testNames, testIPs, epoch); err != nil {
		return nil, err
	}
	return contents(dir)
})

func contents(dir string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, name := range []string{caFile, caKeyFile, serverFile, serverKeyFile, ecdsaFile, ecdsaKeyFile} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		files[name] = text
	}
	return files, nil
}

// readyDir is a directory of the own CA.
func readyDir(t *testing.T) string {
	t.Helper()
	files, err := ready()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "tls")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		write(t, filepath.Join(dir, name), text)
	}
	return dir
}

func write(t *testing.T, file string, text []byte) {
	t.Helper()
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func mustOpen(t *testing.T, cfg Config) *Manager {
	t.Helper()
	m, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func mustContents(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files, err := contents(dir)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// client trusts the CA and nothing else.
func client(t *testing.T, m *Manager, server string) *tls.Config {
	t.Helper()
	text, err := m.ExportCA("pem")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		t.Fatal("the exported CA is no PEM certificate")
	}
	return &tls.Config{RootCAs: roots, ServerName: server, Time: func() time.Time { return epoch }}
}

// handshake returns the fingerprint of the certificate that the server showed.
func handshake(server, client *tls.Config) (string, error) {
	state, err := speak(server, client, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000})
	if err != nil {
		return "", err
	}
	return fingerprint(state.PeerCertificates[0]), nil
}

func TestHandshakeForEveryNameAndAddress(t *testing.T) {
	m := mustOpen(t, Config{Dir: readyDir(t)})
	for _, name := range []string{
		"mail.office.example", "office.example", "mail", "localhost",
		"192.168.7.2", "192.168.7.3", "fd00::2", "127.0.0.1", "::1",
	} {
		shown, err := handshake(m.TLSConfig("test", slog.New(slog.DiscardHandler)), client(t, m, name))
		if err != nil || shown != m.Info().Fingerprint {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"other.example", "192.168.7.4", "x.office.example"} {
		if _, err := handshake(m.TLSConfig("test", slog.New(slog.DiscardHandler)), client(t, m, name)); err == nil {
			t.Errorf("%s: the certificate holds for it", name)
		}
	}
}

func TestWhatIsIssued(t *testing.T) {
	m := mustOpen(t, Config{Dir: readyDir(t)})
	for i, want := range []x509.PublicKeyAlgorithm{x509.ECDSA, x509.RSA} {
		checkIssued(t, m.current.Load().shown[i].cert.Leaf, want)
	}
	info := m.Info()
	if info.Subject != "CN=mail.office.example" || info.CA == nil || info.CA.Subject != info.Issuer ||
		!info.CA.NotAfter.After(epoch.AddDate(9, 11, 0)) {
		t.Errorf("info %+v, CA %+v", info, info.CA)
	}
	if w := m.Warnings(epoch); w != nil {
		t.Errorf("warnings about new certificates: %v", w)
	}
}

func checkIssued(t *testing.T, leaf *x509.Certificate, key x509.PublicKeyAlgorithm) {
	t.Helper()
	if days := leaf.NotAfter.Sub(leaf.NotBefore).Hours() / 24; days > 398 {
		t.Errorf("valid for %v days", days)
	}
	if !slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) || leaf.IsCA {
		t.Errorf("usage %v, CA %v", leaf.ExtKeyUsage, leaf.IsCA)
	}
	if leaf.SignatureAlgorithm != x509.SHA256WithRSA || leaf.PublicKeyAlgorithm != key {
		t.Errorf("%v signed with %v", leaf.PublicKeyAlgorithm, leaf.SignatureAlgorithm)
	}
	if sealing := leaf.KeyUsage&x509.KeyUsageKeyEncipherment != 0; sealing != (key == x509.RSA) {
		t.Errorf("%v: a secret may be sealed for it: %v", key, sealing)
	}
}

func TestPermissions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "tls")
	if _, err := Ensure(dir, testNames[:1], nil, epoch); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{".": os.ModeDir | 0o700, caKeyFile: 0o600, serverKeyFile: 0o600, ecdsaKeyFile: 0o600, caFile: 0o644, serverFile: 0o644, ecdsaFile: 0o644} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, want %v (%v)", name, info.Mode(), want, err)
		}
	}
}

func TestEnsureWritesOnlyWhatIsMissing(t *testing.T) {
	all := []string{caFile, caKeyFile, serverFile, serverKeyFile, ecdsaFile, ecdsaKeyFile}
	both := []string{serverFile, ecdsaFile}
	for _, test := range []struct {
		name    string
		remove  []string
		names   []string
		after   time.Duration
		changed []string
	}{
		{name: "nothing to do"},
		{name: "fewer names", names: []string{"office.example"}},
		{name: "one more name", names: []string{"sales.example"}, changed: both},
		{name: "31 days left", after: serverLifetime - backdate - 31*day},
		{name: "29 days left", after: serverLifetime - backdate - 29*day, changed: both},
		{name: "no certificate", remove: []string{serverFile}, changed: both},
		{name: "no key", remove: []string{serverKeyFile}, changed: append(both, serverKeyFile)},
		{name: "no ECDSA, as it was once", remove: []string{ecdsaFile, ecdsaKeyFile}, changed: append(both, ecdsaKeyFile)},
		{name: "no ECDSA key", remove: []string{ecdsaKeyFile}, changed: append(both, ecdsaKeyFile)},
		{name: "CA key put away", remove: []string{caKeyFile}},
		{name: "CA key put away, as it was once", remove: []string{caKeyFile, ecdsaFile, ecdsaKeyFile}},
		{name: "crash before the CA's certificate", remove: []string{caFile, serverFile, serverKeyFile}, changed: append(both, caFile, serverKeyFile)},
		{name: "no CA", remove: []string{caFile, caKeyFile}, changed: append(both, caFile, caKeyFile)},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := readyDir(t)
			before := mustContents(t, dir)
			for _, name := range test.remove {
				if err := os.Remove(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
			names := test.names
			if names == nil {
				names = testNames
			}
			now := epoch.Add(test.after)
			missing, err := Missing(dir, names, testIPs, now)
			if err != nil {
				t.Fatal(err)
			}
			made, err := Ensure(dir, names, testIPs, now)
			want := Made{CA: slices.Contains(test.changed, caFile), Server: test.changed != nil}
			if err != nil || made != want || missing != want {
				t.Fatalf("missing %+v, made %+v, want %+v, %v", missing, made, want, err)
			}
			for _, name := range all {
				text, err := os.ReadFile(filepath.Join(dir, name))
				if errors.Is(err, os.ErrNotExist) && slices.Contains(test.remove, name) && test.changed == nil {
					continue
				}
				if changed := !bytes.Equal(text, before[name]); changed != slices.Contains(test.changed, name) {
					t.Errorf("%s: changed %v (%v)", name, changed, err)
				}
			}
			checkServes(t, dir, append(names, testNames...), now)
			if again, err := Ensure(dir, names, testIPs, now); again != (Made{}) || err != nil {
				t.Errorf("once more: made %+v, %v", again, err)
			}
		})
	}
}

// checkServes does a handshake for each name at the time now.
func checkServes(t *testing.T, dir string, names []string, now time.Time) {
	t.Helper()
	m := mustOpen(t, Config{Dir: dir})
	for _, name := range names {
		c := client(t, m, strings.ToLower(name))
		c.Time = func() time.Time { return now }
		if _, err := handshake(m.TLSConfig("test", slog.New(slog.DiscardHandler)), c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A certificate from the future, issued when the clock was wrong, is replaced.
func TestEnsureAfterTheClockWasFast(t *testing.T) {
	dir := readyDir(t)
	if err := mustOpen(t, Config{Dir: dir}).Renew(epoch.Add(100 * day)); err != nil {
		t.Fatal(err)
	}
	now := epoch.Add(50 * day)
	if made, err := Ensure(dir, testNames, testIPs, now); !made.Server || err != nil {
		t.Errorf("made %+v, %v", made, err)
	}
	checkServes(t, dir, testNames, now)
}

func TestEnsureWithoutTheCAKey(t *testing.T) {
	dir := readyDir(t)
	before := mustContents(t, dir)
	if err := os.Remove(filepath.Join(dir, caKeyFile)); err != nil {
		t.Fatal(err)
	}
	made, err := Ensure(dir, []string{"sales.example"}, nil, epoch)
	if made != (Made{}) || !errors.Is(err, ErrNoCAKey) {
		t.Errorf("made %+v, %v", made, err)
	}
	if text, _ := os.ReadFile(filepath.Join(dir, serverFile)); !bytes.Equal(text, before[serverFile]) {
		t.Error("the certificate has changed")
	}
}

func TestEnsureLeavesBadFilesAlone(t *testing.T) {
	for name, text := range map[string]string{
		caFile: "", caKeyFile: "garbage", serverFile: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
		serverKeyFile: "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
	} {
		dir := readyDir(t)
		write(t, filepath.Join(dir, name), []byte(text))
		before := mustContents(t, dir)
		made, err := Ensure(dir, testNames, testIPs, epoch)
		if made != (Made{}) || !errors.Is(err, ErrBadFile) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: made %+v, %v", name, made, err)
		}
		for other, text := range mustContents(t, dir) {
			if !bytes.Equal(text, before[other]) {
				t.Errorf("%s: %s has changed", name, other)
			}
		}
	}
}

func TestEnsureWithTheKeyOfAnotherCA(t *testing.T) {
	dir := readyDir(t)
	write(t, filepath.Join(dir, caKeyFile), mustContents(t, dir)[serverKeyFile])
	if made, err := Ensure(dir, testNames, testIPs, epoch); made != (Made{}) || !errors.Is(err, ErrBadFile) {
		t.Errorf("made %+v, %v", made, err)
	}
}

func TestEnsureRefusesBadNames(t *testing.T) {
	for _, name := range []string{"", "über.example", "*.office.example", "a b", "a..b", ".a", strings.Repeat("a", 254)} {
		dir := filepath.Join(t.TempDir(), "tls")
		if _, err := Ensure(dir, []string{name}, nil, epoch); err == nil {
			t.Errorf("%q accepted", name)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%q: something was made", name)
		}
	}
	if _, err := Ensure(t.TempDir(), nil, []netip.Addr{{}}, epoch); err == nil {
		t.Error("an invalid address was accepted")
	}
}

// A certificate cannot outlive its CA, and is not renewed repeatedly because of that.
func TestEndOfTheCA(t *testing.T) {
	dir := readyDir(t)
	end := mustOpen(t, Config{Dir: dir}).Info().CA.NotAfter
	late := end.Add(-20 * day)
	for i, want := range []bool{true, false} {
		if made, err := Ensure(dir, testNames, testIPs, late); made.Server != want || err != nil {
			t.Errorf("run %d: made %+v, %v", i+1, made, err)
		}
	}
	info := mustOpen(t, Config{Dir: dir}).Info()
	if !info.NotAfter.Equal(end) {
		t.Errorf("valid until %v, the CA until %v", info.NotAfter, end)
	}
	if w := info.Warnings(late); len(w) == 0 || !strings.Contains(w[len(w)-1], "CA expires") {
		t.Errorf("warnings %q", w)
	}
	if _, err := Ensure(dir, []string{"sales.example"}, nil, end.Add(day)); !errors.Is(err, ErrCAExpired) {
		t.Errorf("after the end: %v", err)
	}
}

func TestLongNames(t *testing.T) {
	long := strings.Repeat("a.", 40) + "example"
	h, err := newHosts([]string{long, "b.example"}, nil)
	if err != nil || h.commonName() != "b.example" {
		t.Errorf("common name %s, %v", h.commonName(), err)
	}
}

// A renewal does not affect an open connection; the next one gets the new certificate.
func TestReloadUnderLiveConnections(t *testing.T) {
	m := mustOpen(t, Config{Dir: readyDir(t)})
	listener, err := tls.Listen("tcp", "127.0.0.1:0", m.TLSConfig("test", slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	var echoes sync.WaitGroup
	defer echoes.Wait()
	defer listener.Close()
	echoes.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			echoes.Go(func() {
				defer conn.Close()
				io.Copy(conn, conn)
			})
		}
	})
	dial := func() *tls.Conn {
		conn, err := tls.Dial("tcp", listener.Addr().String(), client(t, m, "mail"))
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	echo := func(conn *tls.Conn) {
		reply := make([]byte, 5)
		if _, err := conn.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, reply); err != nil || string(reply) != "hello" {
			t.Fatalf("echo %q, %v", reply, err)
		}
	}
	before := m.Info()
	first := dial()
	defer first.Close()
	echo(first)
	if err := m.Renew(epoch.Add(day / 2)); err != nil {
		t.Fatal(err)
	}
	echo(first)
	second := dial()
	defer second.Close()
	echo(second)
	shown := fingerprint(second.ConnectionState().PeerCertificates[0])
	if after := m.Info(); after.Fingerprint == before.Fingerprint || shown != after.Fingerprint {
		t.Errorf("before %s\nafter  %s\nshown  %s", before.Fingerprint, after.Fingerprint, shown)
	}
	if !slices.Equal(m.Info().Names, before.Names) || !slices.Equal(m.Info().IPs, before.IPs) {
		t.Errorf("the renewed certificate holds for %v %v", m.Info().Names, m.Info().IPs)
	}
}

func TestBadFilesKeepTheOldCertificate(t *testing.T) {
	dir := readyDir(t)
	m := mustOpen(t, Config{Dir: dir})
	before := m.Info()
	for name, text := range map[string]string{serverFile: "garbage", serverKeyFile: string(mustContents(t, dir)[caKeyFile])} {
		good := mustContents(t, dir)[name]
		write(t, filepath.Join(dir, name), []byte(text))
		err := m.Reload()
		if !errors.Is(err, ErrBadFile) || !strings.Contains(err.Error(), "stays in use") {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if err := m.Reload(); !errors.Is(err, ErrNoCertificate) {
			t.Errorf("%s removed: %v", name, err)
		}
		shown, err := handshake(m.TLSConfig("test", slog.New(slog.DiscardHandler)), client(t, m, "mail"))
		if err != nil || shown != before.Fingerprint {
			t.Errorf("%s: shown %s, %v", name, shown, err)
		}
		write(t, filepath.Join(dir, name), good)
		if err := m.Reload(); err != nil {
			t.Errorf("%s restored: %v", name, err)
		}
	}
}

func TestOpenWithoutSetup(t *testing.T) {
	_, err := Open(Config{Dir: t.TempDir()})
	if !errors.Is(err, ErrNoCertificate) || !strings.Contains(err.Error(), "pillarbox setup") {
		t.Errorf("%v", err)
	}
}

// records collects log lines without their time.
func records() (*slog.Logger, func() string) {
	var lines bytes.Buffer
	log := slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key != slog.LevelKey && a.Key != slog.MessageKey {
			return slog.Attr{}
		}
		return a
	}}))
	return log, func() string {
		defer lines.Reset()
		return lines.String()
	}
}

func TestCheckNoticesChangedFiles(t *testing.T) {
	dir := readyDir(t)
	m := mustOpen(t, Config{Dir: dir})
	log, logged := records()
	expect := func(step, want string) {
		t.Helper()
		m.check(epoch, log)
		if got := logged(); got != want {
			t.Errorf("%s: logged %q, want %q", step, got, want)
		}
	}
	const bad = "level=ERROR msg=\"the changed certificate is not used\"\n"
	const good = "level=INFO msg=\"certificate reloaded\"\n"
	expect("nothing changed", "")

	// Another process renews.
	before := m.Info().Fingerprint
	if err := mustOpen(t, Config{Dir: dir}).Renew(epoch); err != nil {
		t.Fatal(err)
	}
	expect("renewed", good)
	if m.Info().Fingerprint == before {
		t.Error("the old certificate is still in use")
	}
	expect("nothing more", "")

	file := filepath.Join(dir, serverFile)
	saved, _ := os.ReadFile(file)
	write(t, file, []byte("garbage"))
	expect("garbage", bad)
	expect("the same garbage", "")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	expect("removed", bad)
	expect("still missing", "")
	write(t, file, saved)
	expect("restored", good)

	// The same size and time in another file is a change too.
	info, _ := os.Stat(file)
	write(t, file+".new", saved)
	if err := os.Chtimes(file+".new", info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	expect("replaced by its like", good)
}

func TestWatchRenews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := readyDir(t)
		m := mustOpen(t, Config{Dir: dir})
		first := m.Info()
		log, logged := records()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			m.Watch(ctx, 12*time.Hour, log)
		}()
		at := func(when time.Time) Info {
			time.Sleep(time.Until(when))
			synctest.Wait()
			return m.Info()
		}
		if info := at(first.NotAfter.Add(-renewBefore)); info.Fingerprint != first.Fingerprint {
			t.Error("renewed too early")
		}
		second := at(first.NotAfter.Add(-renewBefore + day))
		if second.Fingerprint == first.Fingerprint || !second.NotAfter.After(first.NotAfter.Add(300*day)) {
			t.Errorf("not renewed: valid until %v", second.NotAfter)
		}
		if got, want := logged(), "level=INFO msg=\"certificate renewed\"\n"; got != want {
			t.Errorf("logged %q, want %q", got, want)
		}
		cancel()
		<-done
	})
}

// A failed renewal is tried again each hour, not at every check.
func TestFailedRenewal(t *testing.T) {
	dir := readyDir(t)
	m := mustOpen(t, Config{Dir: dir})
	if err := os.Remove(filepath.Join(dir, caKeyFile)); err != nil {
		t.Fatal(err)
	}
	late := m.Info().NotAfter.Add(-10 * day)
	if err := m.Renew(late); !errors.Is(err, ErrNoCAKey) {
		t.Errorf("%v", err)
	}
	log, logged := records()
	for _, step := range []struct {
		after time.Duration
		lines int
	}{{0, 1}, {time.Minute, 0}, {time.Hour, 1}} {
		m.check(late.Add(step.after), log)
		if got := strings.Count(logged(), "cannot be renewed"); got != step.lines {
			t.Errorf("after %v: %d lines, want %d", step.after, got, step.lines)
		}
	}
}

func TestMinVersion(t *testing.T) {
	cfg := Config{Dir: readyDir(t), MinVersion: tls.VersionTLS13}
	m := mustOpen(t, cfg)
	server := m.TLSConfig("test", slog.New(slog.DiscardHandler))
	try := func(version uint16) error {
		c := client(t, m, "mail")
		c.MinVersion, c.MaxVersion = version, version
		_, err := handshake(server, c)
		return err
	}
	if try(tls.VersionTLS12) == nil || try(tls.VersionTLS13) != nil {
		t.Error("1.3 is not the lowest version")
	}
	cfg.MinVersion = 0
	if err := m.Reconfigure(cfg); err != nil {
		t.Fatal(err)
	}
	if try(tls.VersionTLS11) == nil || try(tls.VersionTLS12) != nil || try(tls.VersionTLS13) != nil {
		t.Error("1.2 is not the lowest version")
	}
}

func TestReconfigureToBadFilesChangesNothing(t *testing.T) {
	m := mustOpen(t, Config{Dir: readyDir(t)})
	before := m.Info()
	err := m.Reconfigure(Config{CertFile: "/nonexistent/cert.pem", KeyFile: "/nonexistent/key.pem"})
	if !errors.Is(err, ErrBadFile) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	log, logged := records()
	m.check(epoch, log)
	if got := logged(); got != "" || m.Info().Fingerprint != before.Fingerprint {
		t.Errorf("logged %q", got)
	}
}

func TestExportCA(t *testing.T) {
	dir := readyDir(t)
	m := mustOpen(t, Config{Dir: dir})
	text, err := m.ExportCA("pem")
	if err != nil || !bytes.Equal(text, mustContents(t, dir)[caFile]) {
		t.Errorf("pem: %s, %v", text, err)
	}
	der, err := m.ExportCA("der")
	if err != nil {
		t.Fatal(err)
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil || !ca.IsCA || fingerprint(ca) != m.Info().CA.Fingerprint {
		t.Errorf("der: %v", err)
	}
	if _, err := m.ExportCA("txt"); !errors.Is(err, ErrFormat) {
		t.Errorf("txt: %v", err)
	}
}

// chain makes the certificates of another CA, of an intermediate CA and of a server, and the
// server's key.
func chain(t *testing.T) (certs []*x509.Certificate, key []byte) {
	t.Helper()
	var above pair
	for i, name := range []string{"Root", "Intermediate", "mail.office.example"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		var cert *x509.Certificate
		switch {
		case i < 2:
			cert, err = issueCA(key, name, epoch)
			if i == 1 {
				cert.RawSubject = nil
				cert.SerialNumber = nil
				cert, err = sign(cert, above.cert, key.Public(), above.key)
			}
		default:
			var h hosts
			if h, err = newHosts([]string{name}, nil); err == nil {
				cert, err = issueServer(above, key, h, epoch)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		above = pair{cert, key}
		certs = append([]*x509.Certificate{cert}, certs...)
	}
	text, err := encodeKey(above.key)
	if err != nil {
		t.Fatal(err)
	}
	return certs, text
}

func TestFiles(t *testing.T) {
	certs, key := chain(t)
	leaf, intermediate, root := certs[0], certs[1], certs[2]
	_, otherKey := chain(t)
	locked := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1, 2, 3}})
	late := leaf.NotAfter.Add(time.Second)
	for _, test := range []struct {
		name     string
		cert     []byte
		key      []byte
		now      time.Time
		fails    string
		warnings []string
	}{
		{name: "leaf", cert: encodeCerts(leaf), key: key},
		{name: "chain", cert: encodeCerts(leaf, intermediate, root), key: key},
		{name: "text around it", cert: slices.Concat([]byte("Subject: me\n"), encodeCerts(leaf), key), key: key},
		{name: "disorder", cert: encodeCerts(leaf, root, intermediate), key: key, warnings: []string{"out of order"}},
		{name: "expired", cert: encodeCerts(leaf), key: key, now: late, warnings: []string{"expired on 2001-01-31"}},
		{name: "about to expire", cert: encodeCerts(leaf), key: key, now: late.Add(-14 * day), warnings: []string{"expires on 2001-01-31"}},
		{name: "not yet valid", cert: encodeCerts(leaf), key: key, now: epoch.Add(-2 * day), warnings: []string{"clock"}},
		{name: "wrong key", cert: encodeCerts(leaf), key: otherKey, fails: "key.pem"},
		{name: "intermediate first", cert: encodeCerts(intermediate, leaf), key: key, fails: "key.pem"},
		{name: "locked key", cert: encodeCerts(leaf), key: locked, fails: "without a password"},
		{name: "no certificate", cert: key, key: key, fails: "cert.pem"},
		{name: "damaged chain", cert: append(encodeCerts(leaf), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}})...), key: key, fails: "cert.pem"},
		{name: "empty", fails: "cert.pem"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			cfg := Config{Dir: dir, CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
			write(t, cfg.CertFile, test.cert)
			write(t, cfg.KeyFile, test.key)
			m, err := Open(cfg)
			if test.fails != "" {
				if !errors.Is(err, ErrBadFile) || !strings.Contains(err.Error(), test.fails) {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			now := test.now
			if now.IsZero() {
				now = epoch
			}
			checkWarnings(t, m.Info().Warnings(now), test.warnings)
			roots := x509.NewCertPool()
			roots.AddCert(root)
			roots.AddCert(intermediate)
			c := &tls.Config{RootCAs: roots, ServerName: "mail.office.example", Time: func() time.Time { return epoch }}
			if _, err := handshake(m.TLSConfig("test", slog.New(slog.DiscardHandler)), c); err != nil {
				t.Error(err)
			}
			if err := m.Renew(now); !errors.Is(err, ErrNotOwnCA) {
				t.Errorf("renew: %v", err)
			}
			if _, err := m.ExportCA("pem"); !errors.Is(err, ErrNotOwnCA) {
				t.Errorf("export: %v", err)
			}
			log, logged := records()
			m.check(late, log)
			if got := logged(); strings.Trim(got, "\n") != strings.Trim(strings.Repeat("level=ERROR msg=certificate\n", len(m.Warnings(late))), "\n") {
				t.Errorf("logged %q", got)
			}
		})
	}
}

func checkWarnings(t *testing.T, got, want []string) {
	t.Helper()
	ok := len(got) == len(want)
	for i := 0; ok && i < len(got); i++ {
		ok = strings.Contains(got[i], want[i])
	}
	if !ok {
		t.Errorf("warnings %q, want %q", got, want)
	}
}

// Several processes that call Ensure at once make one CA.
func TestConcurrentEnsure(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	var wg sync.WaitGroup
	var mu sync.Mutex
	made, newCAs := 0, 0
	for i := range 3 {
		wg.Go(func() {
			written, err := Ensure(dir, []string{fmt.Sprintf("host%d.example", i)}, nil, epoch)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if written.Server {
				made++
			}
			if written.CA {
				newCAs++
			}
		})
	}
	wg.Wait()
	checkServes(t, dir, []string{"host0.example", "host1.example", "host2.example"}, epoch)
	if made != 3 { // each adds its own name
		t.Errorf("%d of 3 wrote something", made)
	}
	if newCAs != 1 {
		t.Errorf("%d made a CA", newCAs)
	}
}
