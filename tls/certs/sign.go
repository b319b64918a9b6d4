package certs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"github.com/smallstep/pkcs7"
)

// Sign returns content within a signature of the server: SignedData of RFC 5652 §5 in DER, with the
// certificate and its chain. Whoever trusts the server's certificate can verify it.
func (m *Manager) Sign(content []byte) ([]byte, error) {
	cert := m.current.Load().signer()
	var chain []*x509.Certificate
	for _, der := range cert.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("chain of the certificate: %w", err)
		}
		chain = append(chain, c)
	}
	data, err := pkcs7.NewSignedData(content)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	data.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
	if err := data.AddSignerChain(cert.Leaf, cert.PrivateKey, chain, pkcs7.SignerInfoConfig{}); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return data.Finish()
}

// signer returns the certificate that signs: of those with the origin of the first one, one with an
// RSA key, which every verifier knows, or else the first.
func (s *state) signer() tls.Certificate {
	for _, one := range s.shown {
		if one.info.Source == s.shown[0].info.Source && one.cert.Leaf.PublicKeyAlgorithm == x509.RSA {
			return one.cert
		}
	}
	return s.shown[0].cert
}
