// Package certs holds the certificate that the server shows: one that its own
// CA issued, or one from files that the administrator named. Both can be
// replaced at any time without disturbing a connection.
//
// The own CA is a directory of four files: ca.pem, ca-key.pem, server.pem (the
// server's certificate, then the CA's) and server-key.pem. Clients trust
// ca.pem once; [Ensure] and [Manager.Renew] replace only the server's
// certificate after that. All keys are RSA with 2048 bits: the mail programs of
// Windows XP know nothing newer.
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
	lockFile      = "lock"
)

// renewBefore is how long before its end a certificate of the own CA is
// replaced.
const renewBefore = 30 * 24 * time.Hour

// The classes of errors.
var (
	ErrNoCertificate = errors.New("there is no certificate yet")
	ErrNoCAKey       = errors.New("the key of the server's own CA is missing")
	ErrCAExpired     = errors.New("the server's own CA has expired")
	ErrNotOwnCA      = errors.New("the certificate is not from the server's own CA")
	ErrBadFile       = errors.New("unusable file")
	ErrFormat        = errors.New("unknown format")
)

// Config says where the certificate comes from.
type Config struct {
	Dir        string // the directory of the own CA, used when CertFile is empty
	CertFile   string // PEM, the server's certificate and the chain above it
	KeyFile    string // PEM
	MinVersion uint16 // as in crypto/tls; 0 means TLS 1.2
}

// Info describes a certificate to a person.
type Info struct {
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
	case i.NotAfter.Sub(now) < renewBefore/2:
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
