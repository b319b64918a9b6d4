package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"pillarbox/mailstore/durable"
)

// Manager hands the certificate in use to every new connection. It is safe for
// concurrent use.
type Manager struct {
	current atomic.Pointer[state]

	mu   sync.Mutex // held while the state is replaced
	seen [2]stamp   // the files at the last attempt to read them

	retryAt time.Time // when Watch tries a failed renewal again
}

// state is one certificate in use and where it came from. It is not changed.
type state struct {
	config Config
	leaf   *x509.Certificate
	info   Info
	tls    *tls.Config
}

// Open reads the certificate. An expired one is used all the same, see
// [Info.Warnings]. The error is an ErrNoCertificate when the own CA has not
// been set up, and an ErrBadFile when a file is of no use.
func Open(cfg Config) (*Manager, error) {
	m := &Manager{}
	if err := m.load(cfg); err != nil {
		return nil, err
	}
	return m, nil
}

// TLSConfig is for the server's side of every connection. Later reloads hold
// for it too. The caller does not change it.
func (m *Manager) TLSConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return m.current.Load().tls, nil
		},
	}
}

// Info describes the certificate in use.
func (m *Manager) Info() Info { return m.current.Load().info }

// Reload reads the files again. When they are of no use the certificate in use
// stays, and the error says so.
func (m *Manager) Reload() error { return m.Reconfigure(m.current.Load().config) }

// Reconfigure changes over to another certificate or another lowest version of
// TLS, for new connections. After an error everything stays as it was.
func (m *Manager) Reconfigure(cfg Config) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.load(cfg); err != nil {
		end := m.current.Load().info.NotAfter.UTC().Format(time.DateOnly)
		return fmt.Errorf("%w; the certificate that is valid until %s stays in use", err, end)
	}
	return nil
}

// files are those of the certificate and of its key.
func (c Config) files() [2]string {
	if c.CertFile != "" {
		return [2]string{c.CertFile, c.KeyFile}
	}
	return [2]string{filepath.Join(c.Dir, serverFile), filepath.Join(c.Dir, serverKeyFile)}
}

func (c Config) ownCA() bool { return c.CertFile == "" }

func (m *Manager) load(cfg Config) error {
	// Look first and read afterwards: a change between the two is noticed at
	// the next look.
	seen := look(cfg.files())
	s, err := read(cfg)
	if before := m.current.Load(); err == nil || before != nil && before.config == cfg {
		m.seen = seen
	}
	if err != nil {
		return err
	}
	m.current.Store(s)
	return nil
}

// read makes a state from the files of cfg.
func read(cfg Config) (*state, error) {
	files := cfg.files()
	certText, err := readFile(cfg, files[0])
	if err != nil {
		return nil, err
	}
	keyText, err := readFile(cfg, files[1])
	if err != nil {
		return nil, err
	}
	certs, err := decodeCerts(certText)
	if err != nil {
		return nil, badFile(files[0], err.Error(), "it must hold the certificate and then its chain, in PEM form")
	}
	cert, err := tls.X509KeyPair(certText, keyText)
	if err != nil {
		return nil, badFile(files[1], err.Error(), "it must hold the key of "+files[0]+" in PEM form, without a password")
	}
	s := &state{config: cfg, leaf: certs[0], info: describe(certs[0], files[0])}
	s.info.disorder = disorder(certs)
	if cfg.ownCA() {
		s.info.CA = caInfo(cfg.Dir)
	}
	s.tls = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: max(cfg.MinVersion, tls.VersionTLS12)}
	return s, nil
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
	text, err := os.ReadFile(file)
	if cfg.ownCA() && errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is missing; \"pillarbox setup\" makes it", ErrNoCertificate, file)
	}
	if err != nil {
		return nil, fmt.Errorf("%w %w", ErrBadFile, err)
	}
	return text, nil
}

// caInfo is nil when the CA's certificate cannot be read: the server can do
// without it.
func caInfo(dir string) *CAInfo {
	text, err := os.ReadFile(filepath.Join(dir, caFile))
	if err != nil {
		return nil
	}
	cert, err := firstCert(text)
	if err != nil {
		return nil
	}
	return &CAInfo{Subject: cert.Subject.String(), NotAfter: cert.NotAfter, Fingerprint: fingerprint(cert)}
}

// Renew issues the server's certificate anew, for the same names and addresses
// and with the same key, and uses it from now on. It is an ErrNotOwnCA when the
// certificate comes from files.
func (m *Manager) Renew(now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.current.Load()
	if !s.config.ownCA() {
		return fmt.Errorf("%w: renew %s where it comes from; the server notices the new file", ErrNotOwnCA, s.info.File)
	}
	if err := renew(s, now); err != nil {
		return err
	}
	return m.load(s.config)
}

func renew(s *state, now time.Time) error {
	o, err := openOwn(s.config.Dir)
	if err != nil {
		return err
	}
	defer o.close()
	if o.ca.cert == nil || o.server.key == nil {
		return fmt.Errorf("%w: %s is not complete; \"pillarbox setup\" fills it", ErrNoCertificate, s.config.Dir)
	}
	return o.issue(hostsOf(s.leaf), now)
}

// ExportCA is the certificate of the own CA, for mail programs to trust, as
// "pem" or "der". It is an ErrNotOwnCA when the certificate comes from files.
func (m *Manager) ExportCA(format string) ([]byte, error) {
	s := m.current.Load()
	if !s.config.ownCA() {
		return nil, fmt.Errorf("%w: ask for the CA where %s comes from", ErrNotOwnCA, s.info.File)
	}
	file := filepath.Join(s.config.Dir, caFile)
	text, err := readFile(s.config, file)
	if err != nil {
		return nil, err
	}
	cert, err := firstCert(text)
	if err != nil {
		return nil, badFile(file, err.Error(), "restore it from a backup")
	}
	switch format {
	case "pem":
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), nil
	case "der":
		return cert.Raw, nil
	}
	return nil, fmt.Errorf("%w %q; write pem or der", ErrFormat, format)
}

// retryRenewal is the time between two attempts to renew.
const retryRenewal = time.Hour

// Watch looks after the certificate until ctx is done: at once and then at
// every interval it renews one of the own CA that is about to end, and reads
// files that have changed. It logs what it does and what it cannot do.
func (m *Manager) Watch(ctx context.Context, interval time.Duration, log *slog.Logger) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		m.check(time.Now(), log)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (m *Manager) check(now time.Time, log *slog.Logger) {
	if m.changed() {
		if err := m.Reload(); err != nil {
			log.Error("the changed certificate is not used", "error", err)
		} else {
			log.Info("certificate reloaded", "file", m.Info().File, "until", m.Info().NotAfter)
		}
	}
	if !m.renewalDue(now) {
		return
	}
	if err := m.Renew(now); err != nil {
		m.retryAt = now.Add(retryRenewal)
		log.Error("the certificate is about to end and cannot be renewed", "until", m.Info().NotAfter, "error", err)
		return
	}
	log.Info("certificate renewed", "until", m.Info().NotAfter)
}

func (m *Manager) renewalDue(now time.Time) bool {
	info := m.Info()
	return info.CA != nil && renewalDue(info.NotAfter, info.CA.NotAfter, now) && !now.Before(m.retryAt)
}

// changed reports whether the files are others than at the last attempt to
// read them; one bad file is thus complained about once.
func (m *Manager) changed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := look(m.current.Load().config.files())
	return !now[0].same(m.seen[0]) || !now[1].same(m.seen[1])
}

// stamp tells one content of a file from the next; nil for a missing file.
type stamp struct{ info fs.FileInfo }

func look(files [2]string) (stamps [2]stamp) {
	for i, file := range files {
		// An error leaves nil; reading the file will report it.
		stamps[i].info, _ = os.Stat(file)
	}
	return stamps
}

func (s stamp) same(other stamp) bool {
	if s.info == nil || other.info == nil {
		return s.info == nil && other.info == nil
	}
	return durable.Unchanged(s.info, other.info)
}
