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

// state is the certificates in use and what is made of them. It is not changed.
type state struct {
	config Config
	shown  []shown           // at least one; a client gets the first that suits it
	bad    []error           // why others are not shown
	lacks  bool              // the own CA has not issued all that it should
	ca     *x509.Certificate // of the own CA; nil where it cannot be read
	modern *tls.Config
	legacy *tls.Config // nil: there is no RSA certificate, or nobody who may use it
}

// shown is one certificate and where it came from.
type shown struct {
	cert tls.Certificate // with its leaf
	info Info
}

// source is a certificate that is to be read.
type source struct {
	from           Source
	cert, key      string // files
	needed, paired bool   // an error when the file is missing; key is another file
}

// sources are the certificates of a configuration, in the order of preference.
// Those of the own CA stand behind that of ACME: programs in the office that
// trust the CA may know the server by a name that nobody else does.
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

// files are those that sources reads.
func (c Config) files() (all []string) {
	for _, s := range c.sources() {
		all = append(all, s.cert)
		if s.paired {
			all = append(all, s.key)
		}
	}
	return all
}

// read makes a state from the files of cfg. What is not needed is left out when
// it is missing or of no use.
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
			s.bad = append(s.bad, err)
		case from.from == FromOwnCA:
			s.lacks = true
		}
	}
	if cfg.ownCA() && s.ca != nil {
		for i := range s.shown {
			if s.shown[i].info.Source == FromOwnCA {
				s.shown[i].info.CA = &CAInfo{Subject: s.ca.Subject.String(), NotAfter: s.ca.NotAfter, Fingerprint: fingerprint(s.ca)}
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
		return one, badFile(src.cert, err.Error(), "it must hold the certificate and then its chain, in PEM form")
	}
	if one.cert, err = tls.X509KeyPair(certText, keyText); err != nil {
		return one, badFile(src.key, err.Error(), "it must hold the key of "+src.cert+" in PEM form, without a password")
	}
	one.cert.Leaf = certs[0]
	one.info = describe(certs[0], src.cert)
	one.info.Source, one.info.disorder = src.from, disorder(certs)
	return one, nil
}

// hasRSA reports whether a client that knows nothing but RSA can be served.
func (s *state) hasRSA() bool { return len(s.rsa()) > 0 }

// rsa are the certificates with RSA keys.
func (s *state) rsa() (all []tls.Certificate) {
	for _, one := range s.shown {
		if _, ok := one.cert.Leaf.PublicKey.(*rsa.PublicKey); ok {
			all = append(all, one.cert)
		}
	}
	return all
}

// outlived reports whether the certificate of ACME has ended and those of the
// own CA are to take its place.
func (s *state) outlived(now time.Time) bool {
	first := s.shown[0].info
	return first.Source == FromACME && now.After(first.NotAfter)
}

// canIssue reports whether the key of the own CA is there: it may have been
// put away for safety.
func (s *state) canIssue() bool {
	_, err := os.Stat(filepath.Join(s.config.Dir, caKeyFile))
	return err == nil
}

// disorder reports whether a chain is one that old mail programs cannot follow:
// each certificate must be issued by the next (RFC 5246 §7.4.2).
func disorder(chain []*x509.Certificate) bool {
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
		return nil, fmt.Errorf("%w: %s is missing; \"pillarbox setup\" makes it", ErrNoCertificate, file)
	}
	if err != nil {
		return nil, fmt.Errorf("%w %w", ErrBadFile, err)
	}
	return text, nil
}

// readCA is nil when the CA's certificate cannot be read: the server can do
// without it.
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
