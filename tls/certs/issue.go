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

	// Current mail programs refuse more than 398 days (CA/Browser Forum Baseline Requirements,
	// section 6.3.2).
	serverLifetime = 397 * day

	// backdate allows for clients whose clock is slow.
	backdate = day

	maxCommonName = 64 // RFC 5280, ub-common-name
)

// hosts are the names and addresses that a certificate is valid for.
type hosts struct {
	names []string // lower case
	ips   []netip.Addr
}

// newHosts normalizes names and addresses, keeping the order, and adds those of loopback, to which
// programs on the server itself connect.
func newHosts(names []string, ips []netip.Addr) (hosts, error) {
	h := hosts{}
	for _, name := range append(slices.Clone(names), "localhost") {
		name = strings.TrimSuffix(strings.ToLower(name), ".")
		if !isHostName(name) {
			return h, fmt.Errorf("%q cannot be in a certificate; "+
				"write a host name, with international letters as xn--…", name)
		}
		if !slices.Contains(h.names, name) {
			h.names = append(h.names, name)
		}
	}
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	for _, ip := range append(slices.Clone(ips), loopback, netip.IPv6Loopback()) {
		ip = ip.Unmap().WithZone("")
		if !ip.IsValid() {
			return h, errors.New("an invalid IP address cannot be in a certificate")
		}
		if !slices.Contains(h.ips, ip) {
			h.ips = append(h.ips, ip)
		}
	}
	return h, nil
}

func isHostName(name string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-._"
	return name != "" && len(name) <= 253 && strings.Trim(name, letters) == "" &&
		!strings.HasPrefix(name, ".") && !strings.Contains(name, "..")
}

// hostsOf returns the hosts that a certificate is valid for.
func hostsOf(cert *x509.Certificate) hosts {
	return hosts{names: cert.DNSNames, ips: describe(cert, "").IPs}
}

// add adds the hosts of other.
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

// covers reports whether h includes all of other.
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

// pair is a certificate and its key. Either may be nil.
type pair struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// matches reports whether the key belongs to the certificate.
func (p pair) matches() bool {
	public, ok := p.key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(p.cert.PublicKey)
}

func newRSAKey() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, keyBits) }

func newECDSAKey() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// keyUsage returns the purposes of a certificate's key. An RSA key may also decrypt the secret that
// the client encrypts for it, in TLS 1.2 and older.
func keyUsage(key crypto.Signer) x509.KeyUsage {
	if _, ok := key.(*rsa.PrivateKey); ok {
		return x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	}
	return x509.KeyUsageDigitalSignature
}

// issueCA makes a CA certificate, named after a server.
func issueCA(key crypto.Signer, server string, now time.Time) (*x509.Certificate, error) {
	// There are no name constraints: host names change, and old mail programs refuse a
	// certificate with an unknown critical extension.
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

// issueServer makes a certificate for the server. It never outlives the CA.
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

func sign(
	template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer,
) (*x509.Certificate, error) {
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

// decodeCerts parses the certificates of a PEM file and ignores other blocks.
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
		return nil, errors.New("it contains no PEM certificate")
	}
	return certs, nil
}

// decodeKey parses a key file that this package wrote.
func decodeKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("it contains no PEM key")
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
