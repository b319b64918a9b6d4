// Package certs holds the certificates that the server shows: those that its own
// CA issued, one that an ACME server issued, or such as come from files that the
// administrator named. All can be replaced at any time without disturbing a
// connection.
//
// The own CA is a directory: ca.pem and ca-key.pem; server.pem and
// server-key.pem, the server's certificate (then the CA's) and its key;
// server-ecdsa.pem and server-ecdsa-key.pem, the same once more. Clients trust
// ca.pem once; [Ensure] and [Manager.Renew] replace only the server's
// certificates after that. The CA and the first certificate have RSA keys with
// 2048 bits: the mail programs of Windows XP know nothing newer. The second has
// an ECDSA key and is shown to everybody who can use it, because it costs both
// sides less; a directory that was made before there was one gains it from
// [Manager.Watch].
//
// Most clients get the modern profile: TLS 1.2 and newer, with the suites that
// crypto/tls offers by default. Clients in Config.LegacyNetworks that cannot do
// that get the legacy profile: TLS from 1.0 on, with the RSA key exchange, CBC
// and 3DES. [Manager.Clients] remembers who uses what.
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
	// renewBefore is how long before its end a certificate of the own CA is
	// replaced.
	renewBefore = 30 * day

	// warnBefore is how long before its end a person is told of any certificate:
	// by then every renewal should have happened.
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

// Config says where the certificates come from and who gets which TLS.
type Config struct {
	Dir string // the directory of the own CA, used when CertFile is empty

	// ACMEFile has the key and the certificate, with its chain, that an ACME
	// server issued, PEM in one file. It is shown before those of the own CA while
	// it is there and valid. "": there is none.
	ACMEFile string

	CertFile    string // PEM, the server's certificate and the chain above it
	KeyFile     string // PEM
	RSACertFile string // a second pair, for clients that can do nothing with the first; "": none
	RSAKeyFile  string

	MinVersion uint16 // as in crypto/tls; 0 means TLS 1.2

	LegacyNetworks []netip.Prefix // whose clients may use the legacy profile; no IPv4 in IPv6
	LegacyRC4      bool           // RC4 is in the legacy profile too

	AskClients bool // clients are asked for a certificate of the own CA; see ClientAddress
}

// Source is where a certificate comes from.
type Source string

// The values of Source.
const (
	FromOwnCA Source = "own CA"
	FromACME  Source = "ACME"
	FromFiles Source = "files"
)

// Info describes a certificate to a person.
type Info struct {
	Source      Source       `json:"source"`
	Key         string       `json:"key"` // "RSA", "ECDSA" or what else there may be
	Subject     string       `json:"subject"`
	Issuer      string       `json:"issuer"`
	Names       []string     `json:"names"` // DNS names, as in the certificate
	IPs         []netip.Addr `json:"ips"`
	NotBefore   time.Time    `json:"not_before"`
	NotAfter    time.Time    `json:"not_after"`
	Fingerprint string       `json:"fingerprint"` // SHA-256, as AB:CD:…
	File        string       `json:"file"`
	CA          *CAInfo      `json:"ca,omitempty"` // nil unless the own CA issued it

	disorder bool // of the chain
}

// CAInfo describes the own CA.
type CAInfo struct {
	Subject     string    `json:"subject"`
	NotAfter    time.Time `json:"not_after"`
	Fingerprint string    `json:"fingerprint"` // SHA-256, as AB:CD:…
}

// Warnings says what is wrong with the certificate without making it unusable,
// a sentence each.
func (i Info) Warnings(now time.Time) []string {
	var all []string
	date := func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
	switch {
	case now.Before(i.NotBefore):
		all = append(all, "The certificate is not valid before "+date(i.NotBefore)+"; check the server's clock.")
	case now.After(i.NotAfter):
		all = append(all, "The certificate expired on "+date(i.NotAfter)+".")
	case i.NotAfter.Sub(now) < warnBefore:
		all = append(all, "The certificate expires on "+date(i.NotAfter)+".")
	}
	if len(i.Names) == 0 && len(i.IPs) == 0 {
		all = append(all, "The certificate names no host; mail programs will refuse it.")
	}
	if i.disorder {
		all = append(all, "The certificates in "+i.File+" are out of order; old mail programs want the server's first and each issuer behind.")
	}
	if i.CA != nil && i.CA.NotAfter.Sub(now) < 365*24*time.Hour {
		all = append(all, "The server's own CA expires on "+date(i.CA.NotAfter)+"; every mail program must be given a new one by then.")
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
