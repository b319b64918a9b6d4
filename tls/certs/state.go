package certs

import (
	"bytes"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"pillarbox/mailstore/durable"
)

// state holds the certificates in use and the TLS configurations made of them. It is immutable.
type state struct {
	config     Config
	shown      []shown           // at least one; a client gets the first that it can use
	fault      error             // why that of config is not in use; nil: it is
	unusable   []error           // why other certificates are not used
	incomplete bool              // the own CA has yet to issue a certificate
	ca         *x509.Certificate // the own CA's; nil if it cannot be read
	modern     *tls.Config
	legacy     *tls.Config // nil without an RSA certificate or without legacy networks
}

// shown is one certificate and its origin.
type shown struct {
	cert tls.Certificate // with its leaf
	info Info
}

// source says where to read a certificate.
type source struct {
	from      Source
	cert, key string // files
	needed    bool   // a missing file is an error
	paired    bool   // key is another file than cert
}

// sources returns the certificates of a configuration in the order of preference. Those of the own
// CA come after that of ACME. They are still needed: programs that trust the CA may use a name of
// the server that is not public.
func (c Config) sources() (all []source) {
	if !c.ownCA() {
		all = append(all, source{FromFiles, c.CertFile, c.KeyFile, true, true})
		if c.RSACertFile != "" {
			all = append(all, source{FromFiles, c.RSACertFile, c.RSAKeyFile, true, true})
		}
		return all
	}
	if c.ACMEFile != "" {
		all = append(all, source{FromACME, c.ACMEFile, c.ACMEFile, false, false})
	}
	in := func(name string) string { return filepath.Join(c.Dir, name) }
	return append(all,
		source{FromOwnCA, in(ecdsaFile), in(ecdsaKeyFile), false, true},
		source{FromOwnCA, in(serverFile), in(serverKeyFile), true, true})
}

func (c Config) ownCA() bool { return c.CertFile == "" }

// files returns the files that sources name.
func (c Config) files() (all []string) {
	for _, s := range c.sources() {
		all = append(all, s.cert)
		if s.paired {
			all = append(all, s.key)
		}
	}
	return all
}

// read makes a state from the files of cfg. It leaves out a certificate that is missing or
// unusable, unless it is needed.
func read(cfg Config, now time.Time) (*state, error) {
	s := &state{config: cfg, ca: readCA(cfg.Dir)}
	for _, from := range cfg.sources() {
		one, err := from.read(cfg)
		switch {
		case err == nil && from.from == FromACME && now.After(one.info.NotAfter):
		case err == nil:
			s.shown = append(s.shown, one)
		case from.needed:
			return nil, err
		case !errors.Is(err, ErrNoCertificate):
			s.unusable = append(s.unusable, err)
		case from.from == FromOwnCA:
			s.incomplete = true
		}
	}
	if cfg.ownCA() && s.ca != nil {
		for i := range s.shown {
			if s.shown[i].info.Source == FromOwnCA {
				s.shown[i].info.CA = &CAInfo{
					Subject: s.ca.Subject.String(), NotAfter: s.ca.NotAfter,
					Fingerprint: fingerprint(s.ca),
				}
			}
		}
	}
	s.profiles()
	return s, nil
}

func (src source) read(cfg Config) (one shown, err error) {
	certText, err := readFile(cfg, src.cert)
	if err != nil {
		return one, err
	}
	keyText, err := readFile(cfg, src.key)
	if err != nil {
		return one, err
	}
	certs, err := decodeCerts(certText)
	if err != nil {
		return one, badFile(src.cert, err.Error(),
			"it must hold the certificate and then its chain, in PEM form")
	}
	if one.cert, err = tls.X509KeyPair(certText, keyText); err != nil {
		return one, badFile(src.key, err.Error(),
			"it must hold the key of "+src.cert+" in PEM form, without a password")
	}
	one.cert.Leaf = certs[0]
	one.info = describe(certs[0], src.cert)
	one.info.Source, one.info.unordered = src.from, unordered(certs)
	return one, nil
}

// hasRSA reports whether clients that support only RSA can be served.
func (s *state) hasRSA() bool { return len(s.rsa()) > 0 }

// rsa returns the certificates with RSA keys.
func (s *state) rsa() (all []tls.Certificate) {
	for _, one := range s.shown {
		if _, ok := one.cert.Leaf.PublicKey.(*rsa.PublicKey); ok {
			all = append(all, one.cert)
		}
	}
	return all
}

// acmeExpired reports whether the certificate from ACME has expired, so that those of the own CA
// must replace it.
func (s *state) acmeExpired(now time.Time) bool {
	first := s.shown[0].info
	return first.Source == FromACME && now.After(first.NotAfter)
}

// canIssue reports whether the key of the own CA is present. It may have been moved away for
// safety.
func (s *state) canIssue() bool {
	_, err := os.Stat(filepath.Join(s.config.Dir, caKeyFile))
	return err == nil
}

// unordered reports whether old mail programs cannot follow a chain: each certificate must be
// issued by the next (RFC 5246 §7.4.2).
func unordered(chain []*x509.Certificate) bool {
	for i, c := range chain[1:] {
		if !bytes.Equal(chain[i].RawIssuer, c.RawSubject) {
			return true
		}
	}
	return false
}

func readFile(cfg Config, file string) ([]byte, error) {
	text, err := durable.ReadSmallFile(file, durable.MaxSmall)
	if cfg.ownCA() && errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is missing; \"pillarbox setup\" makes it",
			ErrNoCertificate, file)
	}
	if err != nil {
		return nil, fmt.Errorf("%w %w", ErrBadFile, err)
	}
	return text, nil
}

// readCA returns nil if the CA's certificate cannot be read; the server can work without it.
func readCA(dir string) *x509.Certificate {
	text, err := durable.ReadSmallFile(filepath.Join(dir, caFile), durable.MaxSmall)
	if err != nil {
		return nil
	}
	cert, err := firstCert(text)
	if err != nil {
		return nil
	}
	return cert
}
