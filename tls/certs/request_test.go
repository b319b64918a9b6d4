package certs

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
)

func TestSigningRequest(t *testing.T) {
	for _, useECDSA := range []bool{false, true} {
		r, err := NewSigningRequest([]string{"Mail.Office.Example.", "pop.office.example", "mail.office.example", "*.office.example"}, useECDSA)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"mail.office.example", "pop.office.example", "*.office.example"}
		block, _ := pem.Decode(r.Request)
		req, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil || req.CheckSignature() != nil || !slices.Equal(req.DNSNames, want) || !slices.Equal(r.Names, want) || req.Subject.CommonName != want[0] {
			t.Errorf("%+v, %v", req, err)
		}
		if _, ok := req.PublicKey.(*ecdsa.PublicKey); ok != useECDSA {
			t.Errorf("the key is %T", req.PublicKey)
		}
		if key, ok := req.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() != keyBits {
			t.Errorf("%d bits", key.N.BitLen())
		}
		if _, err := tls.X509KeyPair(r.Request, r.Key); err == nil || !strings.Contains(err.Error(), "failed to find") {
			t.Errorf("a request is no certificate: %v", err)
		}
	}
	long, err := NewSigningRequest([]string{strings.Repeat("a", 60) + ".office.example"}, true)
	if block, _ := pem.Decode(long.Request); err != nil || block == nil {
		t.Error(err)
	}
	for _, bad := range [][]string{nil, {"mail"}, {"a b.example"}, {""}, {"büro.example"}, {"a..example"}} {
		if _, err := NewSigningRequest(bad, true); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
