package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"pillarbox/tls/acme"
	"pillarbox/tls/certs"
)

// TLS holds the certificates and the versions of TLS. The paths are absolute, of
// PEM files. Cert and Key are both empty if the server's own CA in the data directory
// issues the certificates.
type TLS struct {
	Cert       string
	Key        string
	RSACert    string // beside Cert, for programs that cannot use it
	RSAKey     string
	MinVersion uint16 // as in crypto/tls

	LegacyNetworks []netip.Prefix // clients that may use old TLS
	LegacyRC4      bool           // and RC4

	ACME ACME
}

// ACME holds the settings for a certificate for a public name (RFC 8555).
type ACME struct {
	Enabled     bool
	Directory   string
	Email       address
	Names       []domain // empty: the host name
	Challenge   acme.Challenge
	Listen      string // "": the usual port of the challenge
	CAFile      string
	AcceptTerms bool
}

// anyNetwork parses a network, even the whole internet, or a single address.
var anyNetwork = codec[network]{
	parse: func(s string) (network, error) {
		return parseNetwork(s, `write a network or an address, such as "192.168.1.0/24"`)
	},
	format: network.String,
}

var secureURL = plain(func(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || !isHost(u.Hostname()) {
		return "", wrong(fmt.Sprintf("%q is not the directory of an ACME server", s),
			"write its URL, which begins with https://")
	}
	return s, nil
})

// Certs returns the configuration of the certificate manager.
func (c *Config) Certs() certs.Config {
	cfg := certs.Config{
		Dir:            filepath.Join(c.Data, "tls"),
		CertFile:       c.TLS.Cert,
		KeyFile:        c.TLS.Key,
		RSACertFile:    c.TLS.RSACert,
		RSAKeyFile:     c.TLS.RSAKey,
		MinVersion:     c.TLS.MinVersion,
		LegacyNetworks: c.TLS.LegacyNetworks,
		LegacyRC4:      c.TLS.LegacyRC4,
		AskClients:     c.Auth.ClientCertificates,
	}
	if c.TLS.ACME.Enabled {
		cfg.ACMEFile = acme.CertificateFile(c.acmeDir())
	}
	return cfg
}

// acmeDir is the directory of the account and the certificate of the ACME server;
// each server has its own.
func (c *Config) acmeDir() string {
	host := "unknown"
	if u, err := url.Parse(c.TLS.ACME.Directory); err == nil {
		host = strings.ReplaceAll(u.Host, ":", "_")
	}
	return filepath.Join(c.Data, "tls", "acme", host)
}

// ACME returns the configuration of the ACME client, nil if ACME is off.
func (c *Config) ACME() *acme.Config {
	a := &c.TLS.ACME
	if !a.Enabled {
		return nil
	}
	cfg := &acme.Config{Dir: c.acmeDir(), Directory: a.Directory, Challenge: a.Challenge,
		Listen: a.Listen, CAFile: a.CAFile}
	if !a.Email.IsZero() {
		cfg.Email = a.Email.String()
	}
	for _, name := range a.Names {
		cfg.Names = append(cfg.Names, string(name))
	}
	if len(cfg.Names) == 0 {
		cfg.Names = []string{string(c.Hostname)}
	}
	if cfg.Listen == "" {
		cfg.Listen = map[acme.Challenge]string{acme.HTTP01: ":80",
			acme.TLSALPN01: ":443"}[a.Challenge]
	}
	return cfg
}

// checkTLS checks the keys of [tls] and the TLS of the sites together.
func (l *loader) checkTLS() {
	c := &l.config.TLS
	pair := func(cert, certFile, key, keyFile string) {
		if l.sound(cert) && l.sound(key) {
			l.checkPair(cert, certFile, key, keyFile)
			l.checkPair(key, keyFile, cert, certFile)
		}
	}
	pair("tls.cert", c.Cert, "tls.key", c.Key)
	pair("tls.rsa_cert", c.RSACert, "tls.rsa_key", c.RSAKey)
	if c.RSACert != "" && c.Cert == "" {
		l.keyProblem("tls.rsa_cert", "is set but tls.cert is not",
			"take it out: the server's own CA issues an RSA certificate too")
	}
	l.checkLegacy()
	l.checkACME()
	l.checkStrength()
}

func (l *loader) checkLegacy() {
	const name = "tls.legacy_networks"
	for _, n := range l.config.TLS.LegacyNetworks {
		switch {
		case isInternet(n):
			l.keyWarning(name,
				"%s contains the internet: strangers would get TLS that can be broken; list the addresses of the old computers", n)
		case !isOwn(n):
			l.keyWarning(name,
				"%s is on the internet, where mail over old TLS can be read; a VPN is better", n)
		}
	}
	if l.config.TLS.LegacyRC4 && len(l.config.TLS.LegacyNetworks) == 0 {
		l.keyWarning("tls.legacy_rc4", "no client gets RC4: tls.legacy_networks is empty")
	}
}

// ownNetworks are not routed on the internet (RFC 1918, 3927, 4193, 4291 and 6598,
// and loopback).
var ownNetworks = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("::1/128"),
}

func isOwn(n netip.Prefix) bool {
	return slices.ContainsFunc(ownNetworks,
		func(own netip.Prefix) bool { return own.Bits() <= n.Bits() && own.Contains(n.Addr()) })
}

func (l *loader) checkACME() {
	a := &l.config.TLS.ACME
	if !a.Enabled {
		return
	}
	if l.config.TLS.Cert != "" {
		l.keyProblem("tls.acme.enabled", "is set, and so is tls.cert", "choose one of the two")
	}
	if !a.AcceptTerms {
		l.problem(l.config.origin["tls.acme.enabled"], "tls.acme.accept_terms",
			"must be true for a certificate by ACME",
			"read the terms of service of "+a.Directory+" and set it")
	}
	if name := "tls.acme.ca_file"; a.CAFile != "" && l.sound(name) {
		l.checkCA(name, a.CAFile)
	}
}

// checkStrength warns if a site demands a strong cipher but not TLS.
func (l *loader) checkStrength() {
	c := &l.config.Sites
	for _, site := range []struct {
		name             string
		strong, required bool
	}{
		{"sites.smtp", c.SMTP.Require128Bit.Value, c.SMTP.RequireTLS.Value},
		{"sites.submission", c.Submission.Require128Bit.Value, c.Submission.RequireTLS.Value},
		{"sites.pop3", c.POP3.Require128Bit, c.POP3.RequireTLS},
	} {
		if name := site.name + ".require_128_bit"; site.strong && !site.required {
			l.keyWarning(name, "does not apply to clients without TLS: %s.require_tls is false",
				site.name)
		}
	}
}
