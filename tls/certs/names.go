package certs

import (
	"log/slog"
	"slices"
	"strings"
	"time"
)

// Want sets a function that returns host names which the certificates of the own CA must have beside
// those that they have. [Manager.Watch] calls it at each check, and issues the certificates again, with
// the same keys, when a name is new. A name that is no longer wanted stays. Call Want before Watch.
func (m *Manager) Want(names func() []string) { m.want = names }

// addNames issues the certificates again if they lack a name. Without the CA's key, which may be kept
// elsewhere, they stay as they are.
func (m *Manager) addNames(now time.Time, log *slog.Logger) {
	missing := m.missingNames()
	if len(missing) == 0 || now.Before(m.retryAt) || !m.current.Load().canIssue() {
		return
	}
	if err := m.renewFor(missing, now); err != nil {
		m.retryAt = now.Add(retryRenewal)
		log.Error("the certificate lacks names and cannot be renewed", "names", missing, "error", err)
		return
	}
	log.Info("certificate renewed with new names", "names", missing)
}

// missingNames returns the wanted names that not all certificates of the own CA have. A name that
// cannot be in a certificate is left out.
func (m *Manager) missingNames() (missing []string) {
	s := m.current.Load()
	if m.want == nil || !s.config.ownCA() {
		return nil
	}
	for _, name := range m.want() {
		name = strings.ToLower(name)
		lacks := func(one shown) bool {
			return one.info.CA != nil && !slices.Contains(one.info.Names, name)
		}
		if isHostName(name) && slices.ContainsFunc(s.shown, lacks) && !slices.Contains(missing, name) {
			missing = append(missing, name)
		}
	}
	return missing
}

func (m *Manager) renewFor(names []string, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.current.Load()
	if err := renew(s.config.Dir, names, now); err != nil {
		return err
	}
	return m.load(s.config)
}
