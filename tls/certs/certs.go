// Package certs manages the server's TLS certificates. They come from the server's own CA, from an
// ACME server or from files that the administrator names. All can be replaced at any time; open
// connections are not affected.
//
// Start with [Config] and [Manager]: [Open] reads the certificates, [Manager.TLSConfig] is the TLS
// configuration for the mail servers, and [Manager.Watch] renews and reloads. [Ensure] makes the
// own CA; the setup calls it. [IssueClient] makes certificates with which users log in.
//
// The own CA is a directory. It holds ca.pem and ca-key.pem. The server's first certificate is
// server.pem (followed by the CA's), with server-key.pem. The second is server-ecdsa.pem, with
// server-ecdsa-key.pem. Clients trust ca.pem once, so the CA and the keys are never replaced:
// [Ensure] and [Manager.Renew] replace only the server's certificates.
//
// The CA and the first certificate have RSA keys of 2048 bits, because the mail programs of Windows
// XP support nothing newer. The second certificate has an ECDSA key. Every client that can use it
// gets it, because it costs both sides less. A directory older than the second pair gets it from
// [Manager.Watch].
//
// Most clients get the modern profile: TLS 1.2 and newer, with suites that have forward secrecy and
// an AEAD cipher. Clients in Config.LegacyNetworks that cannot use it get the legacy profile: TLS
// from 1.0 on, with RSA key exchange, CBC and 3DES. [Manager.Clients] lists the TLS that each
// client uses.
package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// The files of the own CA.
const (
	caFile        = "ca.pem"
	caKeyFile     = "ca-key.pem"
	serverFile    = "server.pem"
	serverKeyFile = "server-key.pem"
	ecdsaFile     = "server-ecdsa.pem"
	ecdsaKeyFile  = "server-ecdsa-key.pem"
	lockFile      = "lock"
)

const (
	// renewBefore is how long before its expiry a certificate of the own CA is renewed.
	renewBefore = 30 * day

	// warnBefore is how long before the expiry of any certificate a warning is given. By then
	// every renewal should have happened.
	warnBefore = 14 * day
)

// The classes of errors.
var (
	ErrNoCertificate = errors.New("there is no certificate yet")
	ErrNoCAKey       = errors.New("the key of the server's own CA is missing")
	ErrCAExpired     = errors.New("the server's own CA has expired")
	ErrNotOwnCA      = errors.New("the certificate is not from the server's own CA")
	ErrBadFile       = errors.New("unusable file")
	ErrFormat        = errors.New("unknown format")
)

// Config says where the certificates come from, and which clients get which TLS.
type Config struct {
	Dir string // the directory of the own CA, which issues the certificates if CertFile is ""

	// ACMEFile holds the key and the certificate with its chain from an ACME server, as PEM in
	// one file. It takes precedence over those of the own CA while it exists and is valid. ""
	// means none.
	ACMEFile string

	CertFile    string // PEM, the server's certificate followed by its chain
	KeyFile     string // PEM
	RSACertFile string // a second pair, for clients that cannot use the first; "" means none
	RSAKeyFile  string

	MinVersion uint16 // as in crypto/tls; 0 means TLS 1.2

	LegacyNetworks []netip.Prefix // clients that may use the legacy profile; no IPv4-mapped IPv6
	LegacyRC4      bool           // the legacy profile includes RC4

	AskClients bool // ask clients for a certificate of the own CA; see ClientAddress
}

// Source is the origin of a certificate.
type Source string

// The values of Source.
const (
	FromOwnCA Source = "own CA"
	FromACME  Source = "ACME"
	FromFiles Source = "files"
)

// Info describes a certificate.
type Info struct {
	Source      Source       `json:"source"`
	Key         string       `json:"key"` // the algorithm: "RSA", "ECDSA" or another
	Subject     string       `json:"subject"`
	Issuer      string       `json:"issuer"`
	Names       []string     `json:"names"` // DNS names, as in the certificate
	IPs         []netip.Addr `json:"ips"`
	NotBefore   time.Time    `json:"not_before"`
	NotAfter    time.Time    `json:"not_after"`
	Fingerprint string       `json:"fingerprint"` // SHA-256, as AB:CD:…
	File        string       `json:"file"`
	CA          *CAInfo      `json:"ca,omitempty"` // nil unless the own CA issued it

	unordered bool // the chain is out of order
}

// CAInfo describes the own CA.
type CAInfo struct {
	Subject     string    `json:"subject"`
	NotAfter    time.Time `json:"not_after"`
	Fingerprint string    `json:"fingerprint"` // SHA-256, as AB:CD:…
}

// Warnings returns defects that do not make the certificate unusable, one sentence each.
func (i Info) Warnings(now time.Time) []string {
	var all []string
	date := func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
	switch {
	case now.Before(i.NotBefore):
		all = append(all, "The certificate is not valid before "+date(i.NotBefore)+
			"; check the server's clock.")
	case now.After(i.NotAfter):
		all = append(all, "The certificate expired on "+date(i.NotAfter)+".")
	case i.NotAfter.Sub(now) < warnBefore:
		all = append(all, "The certificate expires on "+date(i.NotAfter)+".")
	}
	if len(i.Names) == 0 && len(i.IPs) == 0 {
		all = append(all, "The certificate names no host; mail programs will refuse it.")
	}
	if i.unordered {
		all = append(all, "The certificates in "+i.File+" are out of order; "+
			"old mail programs need the server's first, and each followed by its issuer.")
	}
	if i.CA != nil && i.CA.NotAfter.Sub(now) < 365*24*time.Hour {
		all = append(all, "The server's own CA expires on "+date(i.CA.NotAfter)+
			"; every mail program must be given a new one by then.")
	}
	return all
}

func describe(cert *x509.Certificate, file string) Info {
	info := Info{
		Key:         cert.PublicKeyAlgorithm.String(),
		Subject:     cert.Subject.String(),
		Issuer:      cert.Issuer.String(),
		Names:       cert.DNSNames,
		NotBefore:   cert.NotBefore,
		NotAfter:    cert.NotAfter,
		Fingerprint: fingerprint(cert),
		File:        file,
	}
	for _, ip := range cert.IPAddresses {
		if a, ok := netip.AddrFromSlice(ip); ok {
			info.IPs = append(info.IPs, a.Unmap())
		}
	}
	return info
}

func fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(parts, ":")
}
