package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	keyBits = 2048
	day     = 24 * time.Hour

	caLifetime = 3652 * day // 10 years

	// Mail programs of today refuse more than 398 days (CA/Browser Forum
	// baseline requirements, 6.3.2).
	serverLifetime = 397 * day

	// A client's clock may be slow.
	backdate = day

	maxCommonName = 64 // RFC 5280, ub-common-name
)

// hosts is what a certificate is valid for.
type hosts struct {
	names []string // lower case
	ips   []netip.Addr
}

// newHosts puts names and addresses into one form and adds the loopback ones,
// which programs on the server itself connect to. The order is kept.
func newHosts(names []string, ips []netip.Addr) (hosts, error) {
	h := hosts{}
	for _, name := range append(slices.Clone(names), "localhost") {
		name = strings.TrimSuffix(strings.ToLower(name), ".")
		if !isHostName(name) {
			return h, fmt.Errorf("%q cannot stand in a certificate; write a host name, with international letters as xn--…", name)
		}
		if !slices.Contains(h.names, name) {
			h.names = append(h.names, name)
		}
	}
	for _, ip := range append(slices.Clone(ips), netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()) {
		ip = ip.Unmap().WithZone("")
		if !ip.IsValid() {
			return h, errors.New("an invalid IP address cannot stand in a certificate")
		}
		if !slices.Contains(h.ips, ip) {
			h.ips = append(h.ips, ip)
		}
	}
	return h, nil
}

func isHostName(name string) bool {
	return name != "" && len(name) <= 253 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-._") == "" &&
		!strings.HasPrefix(name, ".") && !strings.Contains(name, "..")
}

// hostsOf is what a certificate is valid for already.
func hostsOf(cert *x509.Certificate) hosts {
	return hosts{names: cert.DNSNames, ips: describe(cert, "").IPs}
}

// add takes in what other holds.
func (h *hosts) add(other hosts) {
	for _, name := range other.names {
		if !slices.Contains(h.names, name) {
			h.names = append(h.names, name)
		}
	}
	for _, ip := range other.ips {
		if !slices.Contains(h.ips, ip) {
			h.ips = append(h.ips, ip)
		}
	}
}

// covers reports whether h holds all that other does.
func (h hosts) covers(other hosts) bool {
	for _, name := range other.names {
		if !slices.Contains(h.names, name) {
			return false
		}
	}
	for _, ip := range other.ips {
		if !slices.Contains(h.ips, ip) {
			return false
		}
	}
	return true
}

func (h hosts) commonName() string {
	for _, name := range h.names {
		if len(name) <= maxCommonName {
			return name
		}
	}
	return "Pillarbox"
}

// pair is a certificate and its key; either may be nil.
type pair struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// fits reports whether the key belongs to the certificate.
func (p pair) fits() bool {
	public, ok := p.key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(p.cert.PublicKey)
}

func newRSAKey() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, keyBits) }

func newECDSAKey() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// keyUsage is what a certificate's key is for: an RSA key may also be what the
// client seals a secret for, in TLS 1.2 and before.
func keyUsage(key crypto.Signer) x509.KeyUsage {
	if _, ok := key.(*rsa.PrivateKey); ok {
		return x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	}
	return x509.KeyUsageDigitalSignature
}

// issueCA makes the certificate of a CA for a server.
func issueCA(key crypto.Signer, server string, now time.Time) (*x509.Certificate, error) {
	// No name constraints: the names of a host change, and old mail programs
	// refuse a certificate with an extension that they do not know.
	name := "Pillarbox CA " + server
	if len(name) > maxCommonName {
		name = "Pillarbox CA"
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name, Organization: []string{"Pillarbox"}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(-backdate).Add(caLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	return sign(template, template, key.Public(), key)
}

// issueServer makes the certificate of the server.
func issueServer(ca pair, key crypto.Signer, h hosts, now time.Time) (*x509.Certificate, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: h.commonName()},
		DNSNames:              h.names,
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(-backdate).Add(serverLifetime),
		KeyUsage:              keyUsage(key),
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if template.NotAfter.After(ca.cert.NotAfter) {
		template.NotAfter = ca.cert.NotAfter
	}
	for _, ip := range h.ips {
		template.IPAddresses = append(template.IPAddresses, net.IP(ip.AsSlice()))
	}
	return sign(template, ca.cert, key.Public(), ca.key)
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func encodeCerts(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// decodeCerts reads the certificates of a PEM file; other blocks are passed over.
func decodeCerts(text []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, c)
	}
	if certs == nil {
		return nil, errors.New("there is no PEM certificate in it")
	}
	return certs, nil
}

// decodeKey reads a key that this package wrote.
func decodeKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("there is no PEM key in it")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("the key cannot sign")
	}
	return signer, nil
}
