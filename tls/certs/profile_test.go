package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
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
	"time"

	"pillarbox/tls/strength"
)

// from is a connection that says it comes from an address.
type from struct {
	net.Conn
	remote net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.remote }
func (f from) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4(192, 168, 7, 2), Port: 995} }

func tcp(t *testing.T, ip string) net.Addr {
	t.Helper()
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(ip), 40000))
}

// joined are the two ends of a connection. Unlike net.Pipe it has buffers, since both sides of TLS
// may write at once.
func joined() (a, b net.Conn, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		return nil, nil, err
	}
	b, err = l.Accept()
	return a, b, err
}

// speak does a handshake as a client at an address. It then sends a byte each way, so that session
// tickets arrive too.
func speak(server, client *tls.Config, remote net.Addr) (state tls.ConnectionState, err error) {
	state, _, err = speakBoth(server, client, remote)
	return state, err
}

// speakBoth is speak with the state of the server's side too.
func speakBoth(server, client *tls.Config, remote net.Addr) (mine, other tls.ConnectionState, err error) {
	a, b, err := joined()
	if err != nil {
		return mine, other, err
	}
	defer a.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer b.Close()
		conn := tls.Server(from{b, remote}, server)
		if conn.Handshake() == nil {
			conn.Write([]byte("+"))
			io.ReadFull(conn, make([]byte, 1))
			other = conn.ConnectionState()
		}
	}()
	conn := tls.Client(a, client)
	if err = conn.Handshake(); err == nil {
		if _, err = io.ReadFull(conn, make([]byte, 1)); err == nil {
			_, err = conn.Write([]byte("+"))
		}
	}
	if err != nil {
		a.Close()
	}
	<-done
	return conn.ConnectionState(), other, err
}

// outlook is a client that supports only this version and these suites.
func outlook(t *testing.T, m *Manager, version uint16, suites ...uint16) *tls.Config {
	t.Helper()
	c := client(t, m, "mail.office.example")
	c.MinVersion, c.MaxVersion, c.CipherSuites = version, version, suites
	return c
}

var silent = slog.New(slog.DiscardHandler)

const (
	inLAN   = "192.168.7.55"
	outside = "198.51.100.7"
)

func legacyConfig(t *testing.T) Config {
	t.Helper()
	return Config{Dir: readyDir(t), LegacyNetworks: []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24"), netip.MustParsePrefix("fe80::/10")}}
}

// Old TLS works only in the named networks, RC4 only if configured, and a client that can do better
// never gets old TLS.
func TestProfiles(t *testing.T) {
	const none = 0
	goodRSA, goodECDSA := uint16(tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256), uint16(tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
	for _, test := range []struct {
		name    string
		version uint16
		suites  []uint16
		lan     uint16 // the suite in the LAN
		out     uint16 // and outside
	}{
		{"XP", tls.VersionTLS10, []uint16{tls.TLS_RSA_WITH_RC4_128_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA}, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, none},
		{"XP with the AES update", tls.VersionTLS10, []uint16{tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, tls.TLS_RSA_WITH_AES_128_CBC_SHA}, tls.TLS_RSA_WITH_AES_128_CBC_SHA, none},
		{"Vista", tls.VersionTLS10, []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA}, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, none},
		{"1.1", tls.VersionTLS11, []uint16{tls.TLS_RSA_WITH_AES_256_CBC_SHA}, tls.TLS_RSA_WITH_AES_256_CBC_SHA, none},
		{"1.2 with the RSA key exchange", tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}, tls.TLS_RSA_WITH_AES_128_GCM_SHA256, none},
		{"1.2 with 3DES", tls.VersionTLS12, []uint16{tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA}, tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA, none},
		{"RC4 alone", tls.VersionTLS10, []uint16{tls.TLS_RSA_WITH_RC4_128_SHA}, none, none},
		{"1.2 with good and bad", tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, goodRSA}, goodRSA, goodRSA},
		{"1.2 with both keys", tls.VersionTLS12, []uint16{goodRSA, goodECDSA}, goodECDSA, goodECDSA},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := mustOpen(t, legacyConfig(t))
			server := m.TLSConfig("pop3", silent)
			for ip, want := range map[string]uint16{inLAN: test.lan, "::ffff:" + inLAN: test.lan, "fe80::1%eth0": test.lan, outside: test.out, "::ffff:" + outside: test.out} {
				state, err := speak(server, outlook(t, m, test.version, test.suites...), tcp(t, ip))
				if (err == nil) != (want != none) || err == nil && (state.CipherSuite != want || state.Version != test.version) {
					t.Errorf("%s: %s %s, want %s (%v)", ip, tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite), tls.CipherSuiteName(want), err)
				}
			}
		})
	}
}

// A client outside the named networks gets no old TLS: TLS 1.0, TLS 1.1, and each obsolete suite
// fail.
func TestNothingOldOutside(t *testing.T) {
	cfg := legacyConfig(t)
	cfg.LegacyRC4 = true
	m := mustOpen(t, cfg)
	server := m.TLSConfig("pop3", silent)
	for _, suite := range append(tls.InsecureCipherSuites(), tls.CipherSuites()...) {
		for _, version := range suite.SupportedVersions {
			if version == tls.VersionTLS13 {
				continue
			}
			state, err := speak(server, outlook(t, m, version, suite.ID), tcp(t, outside))
			if old := strength.Legacy(version, suite.ID); (err == nil) == old {
				t.Errorf("%s %s: old %v, %v", tls.VersionName(state.Version), suite.Name, old, err)
			}
		}
	}
}

func TestRC4OnlyIfWanted(t *testing.T) {
	cfg := legacyConfig(t)
	m := mustOpen(t, cfg)
	server := m.TLSConfig("pop3", silent)
	rc4 := outlook(t, m, tls.VersionTLS10, tls.TLS_RSA_WITH_RC4_128_SHA)
	if _, err := speak(server, rc4, tcp(t, inLAN)); err == nil {
		t.Error("RC4 though nobody wants it")
	}
	cfg.LegacyRC4 = true
	if err := m.Reconfigure(cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := speak(server, rc4, tcp(t, inLAN)); err != nil {
		t.Error(err)
	}
	if _, err := speak(server, rc4, tcp(t, outside)); err == nil {
		t.Error("RC4 for a stranger")
	}
	better := outlook(t, m, tls.VersionTLS10, tls.TLS_RSA_WITH_RC4_128_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA)
	if state, err := speak(server, better, tcp(t, inLAN)); err != nil || state.CipherSuite != tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA {
		t.Errorf("RC4 before 3DES: %s, %v", tls.CipherSuiteName(state.CipherSuite), err)
	}
	cfg.LegacyNetworks = nil
	if err := m.Reconfigure(cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := speak(server, better, tcp(t, inLAN)); err == nil {
		t.Error("old TLS though no network is named")
	}
}

// If the minimum is TLS 1.3, a program with TLS 1.2 is an old one.
func TestLegacyBelowTheMinimum(t *testing.T) {
	cfg := legacyConfig(t)
	cfg.MinVersion = tls.VersionTLS13
	m := mustOpen(t, cfg)
	c := outlook(t, m, tls.VersionTLS12)
	if _, err := speak(m.TLSConfig("pop3", silent), c, tcp(t, inLAN)); err != nil {
		t.Error(err)
	}
	if _, err := speak(m.TLSConfig("pop3", silent), c, tcp(t, outside)); err == nil {
		t.Error("a stranger has TLS 1.2")
	}
}

// Modern clients get the ECDSA certificate, and clients with only RSA the other, whatever name they
// ask for.
func TestWhichCertificate(t *testing.T) {
	m := mustOpen(t, Config{Dir: readyDir(t)})
	for _, name := range []string{"mail.office.example", "unknown.example", ""} {
		for suite, ec := range map[uint16]bool{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: false, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: true} {
			c := outlook(t, m, tls.VersionTLS12, suite)
			c.ServerName, c.InsecureSkipVerify = name, true
			state, err := speak(m.TLSConfig("smtp", silent), c, tcp(t, outside))
			if err != nil {
				t.Errorf("%q %s: %v", name, tls.CipherSuiteName(suite), err)
				continue
			}
			if _, is := state.PeerCertificates[0].PublicKey.(*ecdsa.PublicKey); is != ec {
				t.Errorf("%q %s: ECDSA %v", name, tls.CipherSuiteName(suite), is)
			}
		}
	}
}

// An old directory without an ECDSA certificate serves with RSA and gets the other; without the
// CA's key it stays as it is.
func TestOldDirectoryGainsECDSA(t *testing.T) {
	for _, keyAway := range []bool{false, true} {
		dir := readyDir(t)
		remove := []string{ecdsaFile, ecdsaKeyFile}
		if keyAway {
			remove = append(remove, caKeyFile)
		}
		for _, name := range remove {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		m := mustOpen(t, Config{Dir: dir})
		if all := m.Infos(); len(all) != 1 || all[0].Key != "RSA" {
			t.Errorf("before: %+v", all)
		}
		log, logged := records()
		m.check(epoch, log)
		m.check(epoch.Add(time.Hour), log)
		want, lines := 2, "level=INFO msg=\"certificate renewed\"\n"
		if keyAway {
			want, lines = 1, ""
		}
		all := m.Infos()
		if got := logged(); len(all) != want || got != lines {
			t.Errorf("key away %v: %d certificates, logged %q", keyAway, len(all), got)
		}
		if !keyAway && (all[0].Key != "ECDSA" || !slices.Equal(all[0].Names, all[1].Names) || !slices.Equal(all[0].IPs, all[1].IPs)) {
			t.Errorf("after: %+v", all)
		}
	}
}

// A damaged certificate that is not needed is left out, with a warning.
func TestDamagedECDSAIsLeftOut(t *testing.T) {
	dir := readyDir(t)
	m := mustOpen(t, Config{Dir: dir})
	write(t, filepath.Join(dir, ecdsaFile), []byte("garbage"))
	if err := m.Reload(); err != nil {
		t.Fatal(err)
	}
	checkWarnings(t, m.Warnings(epoch), []string{ecdsaFile})
	if _, err := handshake(m.TLSConfig("smtp", silent), client(t, m, "mail")); err != nil {
		t.Error(err)
	}
	log, logged := records()
	m.check(epoch, log)
	m.check(epoch.Add(time.Minute), log)
	if got := logged(); got != "level=WARN msg=certificate\n" {
		t.Errorf("logged %q", got)
	}
}

// A warning is logged once a day while it applies.
func TestDailyWarning(t *testing.T) {
	certs, key := chain(t)
	dir := t.TempDir()
	cfg := Config{Dir: dir, CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	write(t, cfg.CertFile, encodeCerts(certs[0]))
	write(t, cfg.KeyFile, key)
	m := mustOpen(t, cfg)
	log, logged := records()
	end := certs[0].NotAfter
	for _, step := range []struct {
		before time.Duration
		lines  int
	}{{15 * day, 0}, {14*day - time.Minute, 1}, {14*day - 2*time.Minute, 0}, {13*day - time.Minute, 1}, {12*day - 2*time.Minute, 1}, {12*day - 3*time.Minute, 0}} {
		m.check(end.Add(-step.before), log)
		if got := strings.Count(logged(), "WARN"); got != step.lines {
			t.Errorf("%v before the end: %d lines, want %d", step.before, got, step.lines)
		}
	}
}

// A certificate by ACME comes first while it exists and is valid. Names that are only in the own
// CA's certificate get that one.
func TestACMEFile(t *testing.T) {
	dir := readyDir(t)
	cfg := Config{Dir: dir, ACMEFile: filepath.Join(dir, "acme.pem")}
	m := mustOpen(t, cfg)
	if m.Info().Source != FromOwnCA {
		t.Errorf("before: %+v", m.Info())
	}
	write(t, cfg.ACMEFile, acmeText(t, time.Now().Add(time.Hour)))
	log, logged := records()
	m.check(time.Now(), log)
	if got := logged(); m.Info().Source != FromACME || !strings.Contains(got, "reloaded") {
		t.Errorf("there: %+v, logged %q", m.Info(), got)
	}
	for name, want := range map[string]Source{"mail.public.example": FromACME, "mail": FromOwnCA, "": FromACME} {
		c := &tls.Config{ServerName: name, InsecureSkipVerify: true}
		state, err := speak(m.TLSConfig("smtp", silent), c, tcp(t, inLAN))
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(m.Infos(), func(i Info) bool { return i.Fingerprint == fingerprint(state.PeerCertificates[0]) })
		if i < 0 || m.Infos()[i].Source != want {
			t.Errorf("%q: certificate %d, want that of %s", name, i, want)
		}
	}
	m.check(time.Now().Add(2*time.Hour), log) // the file is the same
	if got := logged(); !strings.Contains(got, "reloaded") {
		t.Errorf("it has ended: logged %q", got)
	}
	write(t, cfg.ACMEFile, acmeText(t, time.Now().Add(-time.Minute)))
	if err := m.Reload(); err != nil || m.Info().Source != FromOwnCA {
		t.Errorf("ended: %+v, %v", m.Info(), err)
	}
}

// acmeText is a certificate file as package acme writes it, from another CA.
func acmeText(t *testing.T, end time.Time) []byte {
	t.Helper()
	ca, err := newECDSAKey()
	if err != nil {
		t.Fatal(err)
	}
	root, err := issueCA(ca, "ACME", end.Add(-10*day))
	if err != nil {
		t.Fatal(err)
	}
	root.NotAfter = end
	key, err := newECDSAKey()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := issueServer(pair{root, ca}, key, hosts{names: []string{"mail.public.example"}}, end.Add(-10*day))
	if err != nil {
		t.Fatal(err)
	}
	text, err := encodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return append(text, encodeCerts(leaf)...)
}

// With files, old programs get the RSA pair beside the ECDSA one, and a warning says so when there
// is none.
func TestRSAFilesBeside(t *testing.T) {
	certs, key := chain(t)
	dir := readyDir(t)
	cfg := Config{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem"), LegacyNetworks: []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24")}}
	write(t, cfg.CertFile, encodeCerts(certs[0]))
	write(t, cfg.KeyFile, key)
	m := mustOpen(t, cfg)
	old := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10, CipherSuites: []uint16{tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA}}
	if _, err := speak(m.TLSConfig("pop3", silent), old, tcp(t, inLAN)); err == nil {
		t.Error("old TLS without an RSA certificate")
	}
	checkWarnings(t, m.Warnings(epoch), []string{"tls.rsa_cert"})
	cfg.RSACertFile, cfg.RSAKeyFile = filepath.Join(dir, serverFile), filepath.Join(dir, serverKeyFile)
	if err := m.Reconfigure(cfg); err != nil {
		t.Fatal(err)
	}
	checkWarnings(t, m.Warnings(epoch), nil)
	if _, err := speak(m.TLSConfig("pop3", silent), old, tcp(t, inLAN)); err != nil {
		t.Error(err)
	}
	if all := m.Infos(); len(all) != 2 || all[0].Source != FromFiles || all[1].Key != "RSA" {
		t.Errorf("%+v", all)
	}
}

// Sessions are resumed although each connection has its own configuration, and also after the
// certificate was renewed.
func TestResumption(t *testing.T) {
	m := mustOpen(t, legacyConfig(t))
	server := m.TLSConfig("pop3", silent)
	for _, test := range []struct {
		version uint16
		suites  []uint16
		ip      string
	}{
		{tls.VersionTLS13, nil, outside},
		{tls.VersionTLS12, nil, outside},
		{tls.VersionTLS10, []uint16{tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA}, inLAN},
	} {
		c := outlook(t, m, test.version, test.suites...)
		c.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		for i, want := range []bool{false, true, true} {
			if i == 2 {
				if err := m.Renew(epoch); err != nil {
					t.Fatal(err)
				}
			}
			state, err := speak(server, c, tcp(t, test.ip))
			if err != nil || state.DidResume != want {
				t.Errorf("%s, connection %d: resumed %v, want %v (%v)", tls.VersionName(test.version), i, state.DidResume, want, err)
			}
		}
		if test.version == tls.VersionTLS10 {
			if _, err := speak(server, c, tcp(t, outside)); err == nil {
				t.Error("a session of the LAN is resumed outside")
			}
		}
	}
}

// A client that needs old TLS is logged once a day, and so is one that is refused.
func TestClients(t *testing.T) {
	var lines bytes.Buffer
	log := slog.New(slog.NewTextHandler(&lines, nil))
	m := mustOpen(t, legacyConfig(t))
	server := m.TLSConfig("pop3", log)
	xp := outlook(t, m, tls.VersionTLS10, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA)
	for range 3 {
		if _, err := speak(server, xp, tcp(t, inLAN)); err != nil {
			t.Fatal(err)
		}
		if _, err := speak(server, xp, tcp(t, outside)); err == nil {
			t.Fatal("old TLS outside")
		}
	}
	if _, err := speak(server, client(t, m, "mail"), tcp(t, inLAN)); err != nil {
		t.Fatal(err)
	}
	all := m.Clients()
	if len(all) != 3 {
		t.Fatalf("%+v", all)
	}
	for i := range all {
		if all[i].First.IsZero() || all[i].Last.Before(all[i].First) {
			t.Errorf("%d: from %v to %v", i, all[i].First, all[i].Last)
		}
		all[i].First, all[i].Last = time.Time{}, time.Time{}
	}
	want := []Client{
		{Address: netip.MustParseAddr(inLAN), Service: "pop3", Port: 995, Protocol: "TLS 1.0", Cipher: "TLS_RSA_WITH_3DES_EDE_CBC_SHA", Legacy: true, WeakCipher: true, Count: 3},
		{Address: netip.MustParseAddr(outside), Service: "pop3", Port: 995, Protocol: "TLS 1.0", Refused: true, Count: 3},
		{Address: netip.MustParseAddr(inLAN), Service: "pop3", Port: 995, Protocol: "TLS 1.3", Cipher: all[2].Cipher, Count: 1},
	}
	if !slices.Equal(all, want) {
		t.Errorf("got  %+v\nwant %+v", all, want)
	}
	if n := strings.Count(lines.String(), "still needs old TLS"); n != 1 {
		t.Errorf("%d lines about the old client:\n%s", n, lines.String())
	}
	if n := strings.Count(lines.String(), "tls.legacy_networks"); n != 1 {
		t.Errorf("%d lines about the one refused:\n%s", n, lines.String())
	}
}

func TestClientsAreToldOfEachDay(t *testing.T) {
	var lines bytes.Buffer
	log := slog.New(slog.NewTextHandler(&lines, nil))
	c := newClients()
	who := contact{"pop3", netip.MustParseAddr(inLAN), 110}
	for hours := range 72 {
		now := epoch.Add(time.Duration(hours) * time.Hour)
		c.recordHandshake(who, tls.VersionTLS10, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, now, log)
		c.recordHandshake(contact{"smtp", who.remote, 25}, tls.VersionTLS11, tls.TLS_RSA_WITH_AES_128_CBC_SHA, now, log)
	}
	if n := strings.Count(lines.String(), "\n"); n != 3 {
		t.Errorf("%d lines in three days", n)
	}
}

// The table is bounded, and other clients cannot displace those that need old TLS.
func TestClientsAreBounded(t *testing.T) {
	c := newClients()
	m := &Manager{clients: c}
	address := netip.MustParseAddr("198.18.0.0")
	c.recordHandshake(contact{"pop3", netip.MustParseAddr(inLAN), 110}, tls.VersionTLS10, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, epoch, silent)
	first := address
	for range maxOtherClients + 10 {
		c.recordHandshake(contact{"smtp", address, 25}, tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256, epoch, silent)
		address = address.Next()
	}
	all := m.Clients()
	if len(all) != maxOtherClients+1 || !all[0].Legacy || len(c.other.rows) != maxOtherClients {
		t.Errorf("%d clients are remembered", len(all))
	}
	if slices.ContainsFunc(all, func(c Client) bool { return c.Address == first }) {
		t.Error("the one that was not seen for longest is still there")
	}
}

func TestClientsAtTheSameTime(t *testing.T) {
	m := mustOpen(t, legacyConfig(t))
	server := m.TLSConfig("pop3", silent)
	c := outlook(t, m, tls.VersionTLS10, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if _, err := speak(server, c, tcp(t, fmt.Sprintf("192.168.7.%d", 10+i))); err != nil {
				t.Error(err)
			}
			m.Clients()
		})
	}
	wg.Wait()
	if n := len(m.Clients()); n != 8 {
		t.Errorf("%d clients", n)
	}
}

// The cost of the hook, compared with the handshake.
func BenchmarkChoose(b *testing.B) {
	dir := b.TempDir()
	if _, err := Ensure(dir, testNames, testIPs, time.Now()); err != nil {
		b.Fatal(err)
	}
	m, err := Open(Config{Dir: dir, LegacyNetworks: []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24")}})
	if err != nil {
		b.Fatal(err)
	}
	server := m.TLSConfig("pop3", silent)
	hellos := make(chan *tls.ClientHelloInfo, 1)
	x, y, err := joined()
	if err != nil {
		b.Fatal(err)
	}
	go tls.Client(x, &tls.Config{InsecureSkipVerify: true}).Handshake()
	remote := &net.TCPAddr{IP: net.IPv4(192, 168, 7, 55), Port: 4000}
	tls.Server(from{y, remote}, &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		hellos <- hello
		return nil, io.EOF
	}}).Handshake()
	hello := <-hellos
	x.Close()
	b.ReportAllocs()
	for b.Loop() {
		cfg, err := server.GetConfigForClient(hello)
		if err != nil {
			b.Fatal(err)
		}
		cfg.VerifyConnection(tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256})
	}
}

// Only a client certificate of the own CA identifies a user.
func TestClientAddress(t *testing.T) {
	dir := readyDir(t)
	m := mustOpen(t, Config{Dir: dir, AskClients: true})
	o, err := openCADir(dir)
	if err != nil {
		t.Fatal(err)
	}
	ca := o.ca
	serverCert := o.ecdsa.cert
	o.close()
	strangers, _ := chain(t)
	strangerKey, err := newECDSAKey()
	if err != nil {
		t.Fatal(err)
	}
	strange, err := issueCA(strangerKey, "mail.office.example", epoch)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(by pair, address string) *x509.Certificate {
		c, err := issueClient(by, strangerKey, ClientRequest{Address: address, Days: 30}, epoch)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	two := *issue(ca, "anna@office.example")
	two.EmailAddresses, two.SerialNumber = []string{"anna@office.example", "boss@office.example"}, nil
	both, err := sign(&two, ca.cert, strangerKey.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	good := issue(ca, "anna@office.example")
	for _, test := range []struct {
		name string
		cert *x509.Certificate
		now  time.Time
		ok   bool
	}{
		{"good", good, epoch, true},
		{"ended", good, epoch.Add(30*day + time.Second), false},
		{"not yet", good, epoch.Add(-2 * day), false},
		{"of another CA with the same name", issue(pair{strange, strangerKey}, "anna@office.example"), epoch, false},
		{"the server's own", serverCert, epoch, false},
		{"a stranger's", strangers[0], epoch, false},
		{"two addresses", both, epoch, false},
		{"the CA itself", ca.cert, epoch, false},
	} {
		state := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{test.cert}}
		email, print, ok := m.ClientAddress(state, test.now)
		if ok != test.ok || ok && (email != "anna@office.example" || print != clientFingerprint(test.cert) || len(print) != 64) {
			t.Errorf("%s: %q %q %v", test.name, email, print, ok)
		}
	}
	for _, state := range []*tls.ConnectionState{nil, {}} {
		if _, _, ok := m.ClientAddress(state, epoch); ok {
			t.Error("ok without a certificate")
		}
	}
}

// classes are the terms of the sample file and the guide for a suite.
func classes(suite *tls.CipherSuite) (all []string) {
	if strings.HasPrefix(suite.Name, "TLS_RSA_") {
		all = append(all, "RSA for the exchange of keys")
	}
	if strings.Contains(suite.Name, "_3DES_") {
		all = append(all, "3DES")
	} else if strings.Contains(suite.Name, "_CBC_") {
		all = append(all, "AES-CBC")
	}
	return all
}

// The server does what the sample file and the guide promise: a suite of a class that they name
// works in the legacy networks and nowhere else.
func TestEverySuiteKeepsThePromise(t *testing.T) {
	m := mustOpen(t, legacyConfig(t))
	server := m.TLSConfig("pop3", silent)
	for _, file := range []string{"../../etc/pillarbox.toml", "../../etc/docs/tls.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		promise := strings.Join(strings.Fields(strings.ReplaceAll(string(text), "\n#", "")), " ")
		_, promise, found := strings.Cut(promise, "TLS 1.0 and 1.1, ")
		if promise, _, _ = strings.Cut(promise, "."); !found {
			t.Fatalf("%s: no promise is found", file)
		}
		for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
			if !slices.Contains(suite.SupportedVersions, tls.VersionTLS12) || strings.Contains(suite.Name, "_RC4_") {
				continue
			}
			named := slices.ContainsFunc(classes(suite), func(c string) bool { return strings.Contains(promise, c) })
			for ip, want := range map[string]bool{inLAN: true, outside: !named} {
				_, err := speak(server, outlook(t, m, tls.VersionTLS12, suite.ID), tcp(t, ip))
				if want = want && !(named && strings.Contains(suite.Name, "_ECDSA_")); (err == nil) != want {
					t.Errorf("%s: %s from %s: %v", file, suite.Name, ip, err)
				}
			}
			if old := len(classes(suite)) > 0; old && !named {
				t.Errorf("%s: %s is not named", file, suite.Name)
			}
		}
	}
}
