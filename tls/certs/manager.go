package certs

import (
	"context"
	"encoding/pem"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"pillarbox/mailstore/durable"
)

// Manager hands the certificates in use to every new connection. It is safe for
// concurrent use.
type Manager struct {
	current atomic.Pointer[state]
	clients *clients

	mu     sync.Mutex       // held while the state is replaced
	looked map[string]stamp // the files at the last attempt to read them

	// What only Watch knows.
	retryAt time.Time         // when it tries a failed renewal again
	warned  map[string]string // the day on which it last gave each warning
}

// Open reads the certificates. An expired one is used all the same, see
// [Info.Warnings]; only an expired one of ACME gives way to those of the own CA.
// The error is an ErrNoCertificate when the own CA has not been set up, and an
// ErrBadFile when a file is of no use.
func Open(cfg Config) (*Manager, error) {
	m := &Manager{clients: newClients(), warned: make(map[string]string)}
	if err := m.load(cfg); err != nil {
		return nil, err
	}
	return m, nil
}

// Info describes the certificate that most clients are shown.
func (m *Manager) Info() Info { return m.current.Load().shown[0].info }

// Infos describes all certificates in use. A client gets the first that it can
// use and that has the name it asked for.
func (m *Manager) Infos() []Info {
	var all []Info
	for _, one := range m.current.Load().shown {
		all = append(all, one.info)
	}
	return all
}

// Warnings says what is wrong with the certificates without making them
// unusable, a sentence each.
func (m *Manager) Warnings(now time.Time) []string {
	s := m.current.Load()
	var all []string
	for _, one := range s.shown {
		for _, warning := range one.info.Warnings(now) {
			if !slices.Contains(all, warning) {
				all = append(all, warning)
			}
		}
	}
	for _, err := range s.bad {
		all = append(all, "A certificate is not used: "+err.Error()+".")
	}
	if len(s.config.LegacyNetworks) > 0 && !s.hasRSA() {
		all = append(all, "Old programs in tls.legacy_networks need a certificate with an RSA key, and there is none; tls.rsa_cert and tls.rsa_key name one.")
	}
	return all
}

// Reload reads the files again. When they are of no use the certificates in use
// stay, and the error says so.
func (m *Manager) Reload() error { return m.Reconfigure(m.current.Load().config) }

// Reconfigure changes over to other certificates or other profiles, for new
// connections. After an error everything stays as it was.
func (m *Manager) Reconfigure(cfg Config) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.load(cfg); err != nil {
		end := m.Info().NotAfter.UTC().Format(time.DateOnly)
		return fmt.Errorf("%w; the certificate that is valid until %s stays in use", err, end)
	}
	return nil
}

func (m *Manager) load(cfg Config) error {
	// Look first and read afterwards: a change between the two is noticed at
	// the next look.
	looked := look(cfg.files())
	s, err := read(cfg, time.Now())
	if before := m.current.Load(); err == nil || before != nil && slices.Equal(before.config.files(), cfg.files()) {
		m.looked = looked
	}
	if err != nil {
		return err
	}
	m.current.Store(s)
	return nil
}

// Renew issues the server's certificates anew, for the same names and addresses
// and with the same keys, and uses them from now on. It is an ErrNotOwnCA when
// the certificate comes from files.
func (m *Manager) Renew(now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.current.Load()
	if !s.config.ownCA() {
		return fmt.Errorf("%w: renew %s where it comes from; the server notices the new file", ErrNotOwnCA, s.config.CertFile)
	}
	if err := renew(s.config.Dir, now); err != nil {
		return err
	}
	return m.load(s.config)
}

func renew(dir string, now time.Time) error {
	o, err := openOwn(dir)
	if err != nil {
		return err
	}
	defer o.close()
	if o.ca.cert == nil || o.rsa.cert == nil || o.rsa.key == nil {
		return fmt.Errorf("%w: %s is not complete; \"pillarbox setup\" fills it", ErrNoCertificate, dir)
	}
	if err := o.ensureKeys(); err != nil {
		return err
	}
	return o.issue(o.hosts(), now)
}

// ExportCA is the certificate of the own CA, for mail programs to trust, as
// "pem" or "der". It is an ErrNotOwnCA when the certificate comes from files.
func (m *Manager) ExportCA(format string) ([]byte, error) {
	s := m.current.Load()
	if !s.config.ownCA() {
		return nil, fmt.Errorf("%w: ask for the CA where %s comes from", ErrNotOwnCA, s.config.CertFile)
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

// Watch looks after the certificates until ctx is done: at once and then at
// every interval it renews those of the own CA when they are about to end, makes
// the one with an ECDSA key where it is missing, and reads files that have
// changed. It logs what it does and what it cannot do, and once a day what
// [Manager.Warnings] has to say.
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
	if m.changed() || m.current.Load().outlived(now) {
		if err := m.Reload(); err != nil {
			log.Error("the changed certificate is not used", "error", err)
		} else {
			log.Info("certificate reloaded", "file", m.Info().File, "until", m.Info().NotAfter)
		}
	}
	if m.renewalDue(now) {
		if err := m.Renew(now); err != nil {
			m.retryAt = now.Add(retryRenewal)
			log.Error("the certificate is about to end and cannot be renewed", "until", m.OwnExpiry(), "error", err)
		} else {
			log.Info("certificate renewed", "until", m.OwnExpiry())
		}
	}
	m.warn(now, log)
}

// warn logs each warning once a day, for as long as it holds.
func (m *Manager) warn(now time.Time, log *slog.Logger) {
	today := now.Format(time.DateOnly)
	before := m.warned
	m.warned = make(map[string]string)
	for _, warning := range m.Warnings(now) {
		if m.warned[warning] = today; before[warning] != today {
			log.Warn("certificate", "warning", warning)
		}
	}
}

// OwnExpiry is when the first certificate of the own CA ends; zero when there is none.
func (m *Manager) OwnExpiry() (end time.Time) {
	for _, info := range m.Infos() {
		if info.Source == FromOwnCA && (end.IsZero() || info.NotAfter.Before(end)) {
			end = info.NotAfter
		}
	}
	return end
}

func (m *Manager) renewalDue(now time.Time) bool {
	if now.Before(m.retryAt) {
		return false
	}
	s := m.current.Load()
	for _, one := range s.shown {
		if one.info.CA != nil && renewalDue(one.info.NotAfter, one.info.CA.NotAfter, now) {
			return true
		}
	}
	return s.lacks && s.canIssue()
}

// changed reports whether the files are others than at the last attempt to
// read them; one bad file is thus complained about once.
func (m *Manager) changed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for file, now := range look(m.current.Load().config.files()) {
		if !now.same(m.looked[file]) {
			return true
		}
	}
	return false
}

// stamp tells one content of a file from the next; nil for a missing file.
type stamp struct{ info fs.FileInfo }

func look(files []string) map[string]stamp {
	stamps := make(map[string]stamp, len(files))
	for _, file := range files {
		// An error leaves nil; reading the file will report it.
		info, _ := os.Stat(file)
		stamps[file] = stamp{info}
	}
	return stamps
}

func (s stamp) same(other stamp) bool {
	if s.info == nil || other.info == nil {
		return s.info == nil && other.info == nil
	}
	return durable.Unchanged(s.info, other.info)
}
