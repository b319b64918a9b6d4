package config

import (
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pillarbox/tls/acme"
)

func TestTLSWarnings(t *testing.T) {
	for text, want := range map[string][]string{
		``: nil,
		`tls.legacy_networks = ["192.168.7.0/24", "10.1.2.3", "fd00::/8", "fe80::/10", "127.0.0.1"]`: nil,
		`tls.legacy_networks = ["0.0.0.0/0"]`:                                                        {"0.0.0.0/0 contains the internet"},
		`tls.legacy_networks = ["::/0"]`:                                                             {"::/0 contains the internet"},
		`tls.legacy_networks = ["198.51.100.7"]`:                                                     {"198.51.100.7/32 is on the internet"},
		`tls.legacy_networks = ["192.168.0.0/15"]`:                                                   {"192.168.0.0/15 is on the internet"},
		`tls.legacy_rc4 = true`:                                                                      {"no client gets RC4"},
		`sites.pop3.require_128_bit = true`:                                                          {"sites.pop3.require_tls is false"},
		"[sites]\nsmtp = { require_128_bit = true, require_tls = true }\nsmtps = { require_128_bit = true }\npop3s = { require_128_bit = true }": nil,
		`sites.submission.require_128_bit = true`: {"sites.submission.require_tls is false"},
	} {
		c := mustLoad(t, "hostname = \"mail.office.example\"\n"+text)
		ok := len(c.Warnings) == len(want)
		for i := 0; ok && i < len(want); i++ {
			ok = strings.Contains(c.Warnings[i], want[i])
		}
		if !ok {
			t.Errorf("%s: %q, want %q", text, c.Warnings, want)
		}
	}
}

func TestTLSMistakes(t *testing.T) {
	for text, want := range map[string]string{
		`tls.legacy_networks = ["192.168.7.1/24"]`:          "is an address within a network",
		`tls.legacy_networks = ["::ffff:192.168.7.0/120"]`:  "writes IPv4",
		`tls.legacy_networks = ["lan"]`:                     "is not a network",
		`tls.min_version = "1.0"`:                           "tls.legacy_networks",
		`tls.rsa_cert = "a.pem"`:                            "is set but tls.rsa_key is not",
		"tls.rsa_cert = \"a.pem\"\ntls.rsa_key = \"b.pem\"": "tls.cert is not",
		`tls.acme.enabled = true`:                           "accept_terms",
		`tls.acme.challenge = "dns-01"`:                     "dns-01",
		`tls.acme.directory = "http://acme.example/dir"`:    "https://",
		`tls.acme.directory = "https:///dir"`:               "https://",
		`tls.acme.directory = "https://../dir"`:             "https://",
		`tls.acme.names = ["192.0.2.1"]`:                    "not a name",
		`tls.acme.names = ["*.office.example"]`:             "not a domain name",
		`tls.acme.listen = "80"`:                            "port",
		"tls.cert = \"a.pem\"\ntls.key = \"b.pem\"\ntls.acme = { enabled = true, accept_terms = true }": "so is tls.cert",
	} {
		_, err := load(t, "hostname = \"mail.office.example\"\n"+text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestTLSBecomesWhatThePartsTake(t *testing.T) {
	c := mustLoad(t, `hostname = "mail.office.example"
tls.legacy_networks = ["192.168.7.0/24"]
tls.legacy_rc4 = true
auth.client_certificates = true
`)
	if c.ACME() != nil {
		t.Error("ACME by default")
	}
	got := c.Certs()
	if !slices.Equal(got.LegacyNetworks, []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24")}) || !got.LegacyRC4 || !got.AskClients || got.ACMEFile != "" {
		t.Errorf("%+v", got)
	}
	folder := t.TempDir()
	caFile(t, folder, "acme-ca.pem")
	c, err := loadIn(t, folder, `hostname = "mail.office.example"
[tls.acme]
enabled = true
accept_terms = true
email = "boss@office.example"
challenge = "tls-alpn-01"
directory = "https://acme.office.example:14000/dir"
ca_file = "acme-ca.pem"
`)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(c.Data, "tls", "acme", "acme.office.example_14000")
	want := &acme.Config{
		Dir: dir, Directory: "https://acme.office.example:14000/dir", Email: "boss@office.example", Names: []string{"mail.office.example"},
		Challenge: acme.TLSALPN01, Listen: ":443", CAFile: c.TLS.ACME.CAFile,
	}
	if got := c.ACME(); !reflect.DeepEqual(got, want) || !filepath.IsAbs(got.CAFile) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := c.Certs().ACMEFile; got != acme.CertificateFile(dir) {
		t.Errorf("ACME file %s", got)
	}
}
