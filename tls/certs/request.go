package certs

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// SigningRequest is a request for a certificate (PKCS #10, RFC 2986) with its new key, both in PEM.
type SigningRequest struct {
	Names   []string // in lower case, without duplicates
	Key     []byte
	Request []byte
}

// NewSigningRequest makes a key and a request for a certificate for the names, of which there must be
// one at least. The key is RSA, which every mail program knows, or ECDSA.
func NewSigningRequest(names []string, useECDSA bool) (r SigningRequest, err error) {
	for _, name := range names {
		name = strings.TrimSuffix(strings.ToLower(name), ".")
		if !isHostName(strings.TrimPrefix(name, "*.")) || !strings.Contains(name, ".") {
			return r, fmt.Errorf("%q cannot be in a public certificate; "+
				"write a whole host name, with international letters as xn--…", name)
		}
		if !slices.Contains(r.Names, name) {
			r.Names = append(r.Names, name)
		}
	}
	if len(r.Names) == 0 {
		return r, errors.New("a certificate needs a host name")
	}
	newKey := newRSAKey
	if useECDSA {
		newKey = newECDSAKey
	}
	key, err := newKey()
	if err != nil {
		return r, err
	}
	template := &x509.CertificateRequest{DNSNames: r.Names}
	if len(r.Names[0]) <= maxCommonName {
		template.Subject = pkix.Name{CommonName: r.Names[0]}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return r, err
	}
	r.Request = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	r.Key, err = encodeKey(key)
	return r, err
}
