package certs

import (
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

// MaxClientDays is the maximum lifetime of a client's certificate in days.
const MaxClientDays = 3650

// ErrDays rejects the requested lifetime of a client's certificate.
var ErrDays = fmt.Errorf("a client's certificate is valid for 1 to %d days", MaxClientDays)

// ClientRequest asks for a client's certificate.
type ClientRequest struct {
	Address  string // of the mailbox, ASCII; ClientAddress returns it
	Password string // protects the file; must not be empty
	Days     int    // lifetime
	RSA      bool   // RSA key and old file encryption, for Windows before 10, macOS before 15
}

// IssuedClient is a client's certificate with its key.
type IssuedClient struct {
	File        []byte // PKCS #12 (RFC 7292): key, certificate and CA, protected by the password
	Fingerprint string // as ClientAddress returns it
	NotBefore   time.Time
	NotAfter    time.Time
}

// IssueClient makes a key and a certificate of the own CA in dir, for a client that logs in as a
// mailbox. The server keeps no copy of either. If there is no CA, IssueClient makes it, named after
// server. It returns ErrNoCAKey if the CA's key is missing.
func IssueClient(dir, server string, client ClientRequest, now time.Time) (IssuedClient, error) {
	if client.Days < 1 || client.Days > MaxClientDays {
		return IssuedClient{}, ErrDays
	}
	if client.Password == "" {
		return IssuedClient{}, errors.New("the file of a client's certificate needs a password")
	}
	o, err := openCADir(dir)
	if err != nil {
		return IssuedClient{}, err
	}
	defer o.close()
	if err := o.ensureCA(server, now); err != nil {
		return IssuedClient{}, err
	}
	if err := o.mayIssue(now); err != nil {
		return IssuedClient{}, err
	}
	// Modern2023 is the encryption of OpenSSL 3 and Windows 10. Older programs can read only the
	// weak LegacyDES; the strength of the password must compensate for it.
	newKey, form := newECDSAKey, pkcs12.Modern2023
	if client.RSA {
		newKey, form = newRSAKey, pkcs12.LegacyDES
	}
	key, err := newKey()
	if err != nil {
		return IssuedClient{}, err
	}
	cert, err := issueClient(o.ca, key, client, now)
	if err != nil {
		return IssuedClient{}, err
	}
	file, err := form.Encode(key, cert, []*x509.Certificate{o.ca.cert}, client.Password)
	if err != nil {
		return IssuedClient{}, err
	}
	return IssuedClient{file, clientFingerprint(cert), cert.NotBefore, cert.NotAfter}, nil
}

func issueClient(
	ca pair, key crypto.Signer, client ClientRequest, now time.Time,
) (*x509.Certificate, error) {
	name := client.Address
	if len(name) > maxCommonName {
		name = "Pillarbox user"
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		EmailAddresses:        []string{client.Address},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(time.Duration(client.Days) * day),
		KeyUsage:              keyUsage(key),
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	if template.NotAfter.After(ca.cert.NotAfter) {
		template.NotAfter = ca.cert.NotAfter
	}
	return sign(template, ca.cert, key.Public(), ca.key)
}

// ClientAddress returns the address of the mailbox for which the client showed a certificate, and
// the SHA-256 fingerprint of that certificate in lower-case hexadecimal. ok is true only if the own
// CA issued it for a client, for exactly one address, and it is valid now. The caller must check
// that it has not been revoked: that its fingerprint is in the mailbox's account.
func (m *Manager) ClientAddress(
	state *tls.ConnectionState, now time.Time,
) (email, fingerprint string, ok bool) {
	ca := m.current.Load().ca
	if state == nil || len(state.PeerCertificates) == 0 || ca == nil {
		return "", "", false
	}
	leaf := state.PeerCertificates[0]
	if len(leaf.EmailAddresses) != 1 {
		return "", "", false
	}
	// No intermediates: the own CA issues directly.
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return leaf.EmailAddresses[0], clientFingerprint(leaf), err == nil
}

func clientFingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}
