//go:build e2e

package e2e

import (
	"crypto/tls"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pillarbox/tls/certs"
)

// oldTLS is the TLS of one kind of old program.
type oldTLS struct {
	name     string
	version  uint16
	suite    uint16
	below128 bool
}

func (o oldTLS) config() *tls.Config {
	return &tls.Config{MinVersion: o.version, MaxVersion: o.version, CipherSuites: []uint16{o.suite}}
}

// oldPrograms need tls.legacy_networks.
var oldPrograms = []oldTLS{
	{"Outlook Express on Windows XP", tls.VersionTLS10, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, true},
	{"the same with the hotfix for AES", tls.VersionTLS10, tls.TLS_RSA_WITH_AES_128_CBC_SHA, false},
	{"Outlook on Windows 7", tls.VersionTLS10, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, false},
	{"TLS 1.1", tls.VersionTLS11, tls.TLS_RSA_WITH_AES_256_CBC_SHA, false},
	{"TLS 1.2 with the RSA key exchange", tls.VersionTLS12, tls.TLS_RSA_WITH_AES_128_CBC_SHA, false},
	{"the same with GCM", tls.VersionTLS12, tls.TLS_RSA_WITH_AES_256_GCM_SHA384, false},
	{"TLS 1.2 with ECDHE and CBC", tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, false},
	{"TLS 1.2 with 3DES", tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA, true},
}

// rc4Programs need tls.legacy_rc4 too.
var rc4Programs = []oldTLS{
	{"Windows 2000", tls.VersionTLS10, tls.TLS_RSA_WITH_RC4_128_SHA, true},
	{"TLS 1.2 with RC4", tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA, true},
}

// newPrograms need no setting. Those with RSA only get the RSA certificate.
var newPrograms = []struct {
	config *tls.Config
	key    string
}{
	{&tls.Config{}, "ECDSA"},
	{&tls.Config{MaxVersion: tls.VersionTLS12}, "ECDSA"},
	{&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{
		tls.TLS_RSA_WITH_RC4_128_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}, "RSA"},
}

// newOldOffice returns an office with an old computer.
func newOldOffice(t *testing.T) *office {
	t.Helper()
	o := newOffice(t)
	o.set(t, "tls", "legacy_networks", `["`+oldPC+`"]`)
	return o
}

// row returns the client's row in the table after one handshake.
func (o *office) row(from, service string, old oldTLS) certs.Client {
	port, _ := strconv.Atoi(o.port(service))
	return certs.Client{
		Address: netip.MustParseAddr(from), Service: protocolOf(service), Port: port, Protocol: tls.VersionName(old.version),
		Cipher: tls.CipherSuiteName(old.suite), Legacy: true, WeakCipher: old.below128, Count: 1,
	}
}

// TestOldTLS checks that the old computer can use old TLS at every listener and a stranger at none.
// Modern TLS works from every address, with the suitable certificate.
func TestOldTLS(t *testing.T) {
	o := newOldOffice(t)
	s := o.serve(t)
	for _, service := range services {
		t.Run(service, func(t *testing.T) {
			for _, old := range oldPrograms {
				c := o.mustDialTLS(t, oldPC, service, old.config())
				if key := c.state().PeerCertificates[0].PublicKeyAlgorithm.String(); key != "RSA" {
					t.Errorf("%s is shown a certificate with a key of %s", old.name, key)
				}
				c.quit(t)
				if _, err := o.dialTLS(t, stranger, service, old.config()); err == nil {
					t.Errorf("a stranger gets %s", old.name)
				}
			}
			for _, old := range rc4Programs {
				for _, from := range []string{oldPC, stranger} {
					if _, err := o.dialTLS(t, from, service, old.config()); err == nil {
						t.Errorf("%s gets %s though legacy_rc4 is off", from, old.name)
					}
				}
			}
			o.wantNewTLS(t, service)
		})
	}
	t.Run("clients", func(t *testing.T) { o.wantOldClients(t, s) })
}

// wantNewTLS expects the best TLS of both sides, from every address.
func (o *office) wantNewTLS(t *testing.T, service string) {
	t.Helper()
	for _, from := range []string{oldPC, stranger} {
		for _, p := range newPrograms {
			c := o.mustDialTLS(t, from, service, p.config)
			state, best := c.state(), uint16(tls.VersionTLS13)
			if p.config.MaxVersion != 0 {
				best = p.config.MaxVersion
			}
			if key := state.PeerCertificates[0].PublicKeyAlgorithm.String(); key != p.key || state.Version != best ||
				!strings.Contains(tls.CipherSuiteName(state.CipherSuite), "_GCM_") && !strings.Contains(tls.CipherSuiteName(state.CipherSuite), "_CHACHA20_") {
				t.Errorf("%s: %s, %s, a key of %s", from, tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite), key)
			}
			c.quit(t)
		}
	}
}

// wantOldClients checks the administrator's view after TestOldTLS.
func (o *office) wantOldClients(t *testing.T, s *server) {
	all, legacy := o.tlsClients(t), o.tlsClients(t, "--legacy")
	for _, service := range services {
		for _, old := range oldPrograms {
			wantClient(t, legacy, o.row(oldPC, service, old))
			wantClient(t, all, o.row(oldPC, service, old))
		}
		refused := o.row(stranger, service, oldTLS{version: tls.VersionTLS10})
		refused.Cipher, refused.Legacy, refused.Refused, refused.Count = "", false, true, 4 // three old programs, and RC4
		wantClient(t, legacy, refused)
	}
	for i, c := range all {
		if plain := !c.Legacy && !c.Refused; plain != (i >= len(legacy)) {
			t.Errorf("the clients that need old TLS are not the first, or --legacy has others: %+v", c)
		}
	}
	for part, want := range map[string]int{
		`level=WARN msg="a client still needs old TLS" remote_ip=` + oldPC + ` service=smtp port=` + o.port("smtp") +
			` protocol="TLS 1.0" cipher=TLS_RSA_WITH_3DES_EDE_CBC_SHA`: 1,
		"a client still needs old TLS": 1,
		`level=WARN msg="a client is too old for TLS as it is offered, and was refused" remote_ip=` + stranger: 1,
		"add its address to tls.legacy_networks": 1,
	} {
		if n := strings.Count(s.log.String(), part); n != want {
			t.Errorf("%d times in the log, want %d: %s", n, want, part)
		}
	}
	table := o.pillarbox(t, "", "admin", "tls", "clients", "--legacy")
	for _, want := range []string{
		`(?m)^ADDRESS +SERVICE +PROTOCOL +CIPHER +FIRST +LAST +COUNT$`,
		`(?m)^` + oldPC + ` +smtp:` + o.port("smtps") + ` +TLS 1\.0 +TLS_RSA_WITH_3DES_EDE_CBC_SHA \(below 128 bits\) `,
		`(?m)^` + oldPC + ` +pop3:` + o.port("pop3") + ` +TLS 1\.1 +TLS_RSA_WITH_AES_256_CBC_SHA +\d`,
		`(?m)^` + stranger + ` +pop3:` + o.port("pop3s") + ` +TLS 1\.0 +refused: too old `,
	} {
		if !regexp.MustCompile(want).MatchString(table) {
			t.Errorf("no %s in\n%s", want, table)
		}
	}
}

// TestOldTLSReload checks that a reload permits RC4 with its key, and refuses all old TLS without
// the network, from the next connection on. Open connections stay.
func TestOldTLSReload(t *testing.T) {
	o := newOldOffice(t)
	s := o.serve(t)
	standing := o.mustDialTLS(t, oldPC, "pop3", oldPrograms[0].config())
	o.set(t, "tls", "legacy_rc4", "true")
	o.pillarbox(t, "", "admin", "reload")
	for _, service := range services {
		for _, old := range rc4Programs {
			o.mustDialTLS(t, oldPC, service, old.config()).quit(t)
			if _, err := o.dialTLS(t, stranger, service, old.config()); err == nil {
				t.Errorf("%s: a stranger gets %s", service, old.name)
			}
		}
	}
	if out := o.pillarbox(t, "", "admin", "tls", "clients", "--legacy"); !strings.Contains(out, "TLS_RSA_WITH_RC4_128_SHA (below 128 bits)") {
		t.Errorf("RC4 is not in\n%s", out)
	}

	o.set(t, "tls", "legacy_networks", `["192.0.2.0/24"]`)
	if out := o.pillarbox(t, "", "admin", "reload"); !strings.Contains(out, "tls.legacy_networks") {
		t.Errorf("reload says\n%s", out)
	}
	if out := o.pillarbox(t, "", "config", "check"); !strings.Contains(out, "192.0.2.0/24 is on the internet, where mail over old TLS can be read") {
		t.Errorf("config check says\n%s", out)
	}
	for _, service := range services {
		for _, old := range append(oldPrograms, rc4Programs...) {
			if _, err := o.dialTLS(t, oldPC, service, old.config()); err == nil {
				t.Errorf("%s: %s is served after the reload", service, old.name)
			}
		}
	}
	s.wantLog(t, `and was refused" remote_ip=`+oldPC)
	standing.ask(t, "+OK", "USER %s", anna)
	standing.ask(t, "+OK", "PASS %s", annaPassword)
	standing.quit(t)
}

// TestOldTLSTickets checks that a client without the right to old TLS cannot resume a session of
// old TLS.
func TestOldTLSTickets(t *testing.T) {
	o := newOldOffice(t)
	o.serve(t)
	cfg := oldPrograms[1].config()
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	o.mustDialTLS(t, oldPC, "smtps", cfg).quit(t)
	if c := o.mustDialTLS(t, oldPC, "smtps", cfg); !c.state().DidResume {
		t.Error("the session is not resumed by the one who has it, so this test tells nothing")
	}
	if c, err := o.dialTLS(t, stranger, "smtps", cfg); err == nil {
		t.Errorf("a stranger gets %s", tls.VersionName(c.state().Version))
	}
	o.mustDialTLS(t, oldPC, "smtps", cfg).quit(t)
	o.set(t, "tls", "legacy_networks", "[]")
	o.pillarbox(t, "", "admin", "reload")
	if c, err := o.dialTLS(t, oldPC, "smtps", cfg); err == nil {
		t.Errorf("after the reload a ticket brings %s", tls.VersionName(c.state().Version))
	}
}
