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

// Manager provides the current certificates to every new connection. It is safe for concurrent use.
type Manager struct {
	current atomic.Pointer[state]
	clients *clients
	names   []string        // for a certificate that must be made
	made    error           // what was missing at the start, and was made again
	want    func() []string // see Want; nil: none

	mu       sync.Mutex       // held while current is replaced
	lastSeen map[string]stamp // the files at the last attempt to read them; guarded by mu

	// Only Watch uses these.
	retryAt time.Time         // earliest next attempt after a failed renewal
	warned  map[string]string // by warning, the day on which it was last logged
}

// Open reads the certificates. It accepts expired ones, see [Info.Warnings]; only an expired one
// from ACME gives way to those of the own CA. The error is ErrNoCertificate if the own CA has not
// been set up, and ErrBadFile if a file is unusable.
func Open(cfg Config) (*Manager, error) {
	m := &Manager{clients: newClients(), warned: make(map[string]string)}
	if err := m.load(cfg); err != nil {
		return nil, err
	}
	return m, nil
}

// Info describes the certificate that most clients get.
func (m *Manager) Info() Info { return m.current.Load().shown[0].info }

// Infos describes all certificates in use. A client gets the first one that it can use and that has
// the name it asked for.
func (m *Manager) Infos() []Info {
	var all []Info
	for _, one := range m.current.Load().shown {
		all = append(all, one.info)
	}
	return all
}

// Warnings returns defects of the certificates that do not make them unusable, one sentence each.
func (m *Manager) Warnings(now time.Time) []string {
	s := m.current.Load()
	var all []string
	if s.fault != nil {
		all = append(all, faultText(s.fault))
	}
	for _, one := range s.shown {
		for _, warning := range one.info.Warnings(now) {
			if !slices.Contains(all, warning) {
				all = append(all, warning)
			}
		}
	}
	for _, err := range s.unusable {
		all = append(all, "A certificate is not used: "+err.Error()+".")
	}
	if len(s.config.LegacyNetworks) > 0 && !s.hasRSA() {
		all = append(all, "Old programs in tls.legacy_networks need a certificate "+
			"with an RSA key, and there is none; tls.rsa_cert and tls.rsa_key name one.")
	}
	return all
}

// Reload reads the files again. If they are unusable it returns an error, and the current
// certificates stay in use.
func (m *Manager) Reload() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.staysInUse(m.load(m.current.Load().config))
}

// Reconfigure changes certificates and profiles for new connections. After an error everything
// stays as it was. Files that were unusable at the start may still be so: that is no error.
func (m *Manager) Reconfigure(cfg Config) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.load(cfg)
	if s := m.current.Load(); err != nil && s.fault != nil && slices.Equal(s.config.files(), cfg.files()) {
		return m.standIn(cfg, err, time.Now())
	}
	return m.staysInUse(err)
}

func (m *Manager) staysInUse(err error) error {
	if err == nil {
		return nil
	}
	end := m.Info().NotAfter.UTC().Format(time.DateOnly)
	return fmt.Errorf("%w; the certificate that is valid until %s stays in use", err, end)
}

func (m *Manager) load(cfg Config) error {
	// Note the state of the files before reading them, so that a change in between is noticed.
	seen := statFiles(cfg.files())
	s, err := read(cfg, time.Now())
	before := m.current.Load()
	if err == nil || before != nil && slices.Equal(before.config.files(), cfg.files()) {
		m.lastSeen = seen
	}
	if err != nil {
		return err
	}
	m.current.Store(s)
	return nil
}

// Renew issues the server's certificates again, for the same names and addresses and with the same
// keys, and puts them into use. It returns ErrNotOwnCA if the certificate comes from files.
func (m *Manager) Renew(now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.current.Load()
	if !s.config.ownCA() && s.fault == nil {
		return fmt.Errorf("%w: renew %s at its issuer; the server notices the new file",
			ErrNotOwnCA, s.config.CertFile)
	}
	if err := renew(s.config.Dir, nil, now); err != nil {
		return err
	}
	err := m.load(s.config)
	if err != nil && s.fault != nil {
		return m.standIn(s.config, err, now)
	}
	return err
}

// renew issues the certificates again, with more names.
func renew(dir string, names []string, now time.Time) error {
	o, err := openCADir(dir)
	if err != nil {
		return err
	}
	defer o.close()
	if o.ca.cert == nil || o.rsa.cert == nil || o.rsa.key == nil {
		return fmt.Errorf("%w: %s is not complete; \"pillarbox setup\" completes it",
			ErrNoCertificate, dir)
	}
	if err := o.ensureKeys(); err != nil {
		return err
	}
	h := o.hosts()
	h.add(hosts{names: names})
	return o.issue(h, now)
}

// ExportCA returns the certificate of the own CA, which mail programs must trust, in the format
// "pem" or "der". It returns ErrNotOwnCA if the certificate comes from files.
func (m *Manager) ExportCA(format string) ([]byte, error) {
	s := m.current.Load()
	if !s.config.ownCA() && s.fault == nil {
		return nil, fmt.Errorf("%w: get the CA from the issuer of %s",
			ErrNotOwnCA, s.config.CertFile)
	}
	file := filepath.Join(s.config.Dir, caFile)
	text, err := readFile(s.config.own(), file)
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

// retryRenewal is the time after a failed renewal until the next attempt.
const retryRenewal = time.Hour

// Watch maintains the certificates until ctx is done. At once and then at every interval it renews
// those of the own CA before they expire, makes the one with an ECDSA key if it is missing, and
// reads files that have changed. It logs what it does, each failure, and once a day the
// [Manager.Warnings].
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
	fault := m.Fault()
	if changed := m.changed(); changed || fault != nil || m.current.Load().acmeExpired(now) {
		switch err := m.Reload(); {
		case err == nil:
			log.Info("certificate reloaded", "file", m.Info().File, "until", m.Info().NotAfter)
		case changed || fault == nil:
			log.Error("the changed certificate is not used", "error", err)
		}
	}
	if m.renewalDue(now) {
		if err := m.Renew(now); err != nil {
			m.retryAt = now.Add(retryRenewal)
			log.Error("the certificate is about to expire and cannot be renewed",
				"until", m.OwnExpiry(), "error", err)
		} else {
			log.Info("certificate renewed", "until", m.OwnExpiry())
		}
	}
	m.addNames(now, log)
	m.warn(now, log)
}

// warn logs each warning once a day while it applies. Those about a certificate that does not let
// mail programs in are errors.
func (m *Manager) warn(now time.Time, log *slog.Logger) {
	if m.made != nil {
		log.Error("the server's certificate was missing at the start, and was made again; mail "+
			"programs must be given the CA if it is new", "missing", m.made)
		m.made = nil
	}
	severe := m.Fault() != nil || now.After(m.Info().NotAfter)
	today := now.Format(time.DateOnly)
	before := m.warned
	m.warned = make(map[string]string)
	for _, warning := range m.Warnings(now) {
		if m.warned[warning] = today; before[warning] != today {
			if severe {
				log.Error("certificate", "warning", warning)
			} else {
				log.Warn("certificate", "warning", warning)
			}
		}
	}
}

// OwnExpiry returns when the first certificate of the own CA expires, or the zero time if there is
// none.
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
	return s.incomplete && s.canIssue()
}

// changed reports whether the files have changed since the last attempt to read them. An unusable
// file is thus reported only once.
func (m *Manager) changed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for file, now := range statFiles(m.current.Load().config.files()) {
		if !now.same(m.lastSeen[file]) {
			return true
		}
	}
	return false
}

// stamp identifies one content of a file. info is nil if the file is missing.
type stamp struct{ info fs.FileInfo }

func statFiles(files []string) map[string]stamp {
	stamps := make(map[string]stamp, len(files))
	for _, file := range files {
		info, _ := os.Stat(file) // after an error nil; reading the file will report it
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
