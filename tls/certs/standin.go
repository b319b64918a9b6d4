package certs

import (
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"time"
)

// Start is [Open] for a server that must serve mail even if its certificate is missing or unusable.
// It then shows a certificate of the own CA for names, and makes what is missing there. If the own CA
// cannot be used either, it shows one that is kept in memory. [Manager.Watch] uses the configured
// certificate as soon as its files are back. An error means that no certificate could be made.
func Start(cfg Config, names []string, now time.Time) (*Manager, error) {
	m := &Manager{clients: newClients(), warned: make(map[string]string), names: names}
	fault := m.load(cfg)
	if fault == nil {
		return m, nil
	}
	_, failed := Ensure(cfg.Dir, names, nil, now)
	if cfg.ownCA() && failed == nil && m.load(cfg) == nil {
		m.made = fault
		return m, nil
	}
	if err := m.standIn(cfg, fault, now); err != nil {
		return nil, errors.Join(fault, failed, err)
	}
	return m, nil
}

// OpenAny is [Open]; but if the configured certificate is unusable and the own CA has one, it opens
// that, which a server would show. [Manager.Fault] tells. It writes nothing.
func OpenAny(cfg Config) (*Manager, error) {
	m, fault := Open(cfg)
	if fault == nil || cfg.ownCA() {
		return m, fault
	}
	s, err := read(cfg.own(), time.Now())
	if err != nil {
		return nil, fault
	}
	m = &Manager{clients: newClients(), warned: make(map[string]string)}
	m.use(s, cfg, fault)
	return m, nil
}

// Fault returns why the configured certificate is not in use; nil means that it is.
func (m *Manager) Fault() error { return m.current.Load().fault }

// own returns the configuration with the certificates of the own CA.
func (c Config) own() Config {
	c.ACMEFile, c.CertFile, c.KeyFile, c.RSACertFile, c.RSAKeyFile = "", "", "", "", ""
	return c
}

// standIn puts a certificate of the own CA into use instead of that of cfg, which has a fault. It
// needs mu, except at the start.
func (m *Manager) standIn(cfg Config, fault error, now time.Time) error {
	s, err := read(cfg.own(), now)
	if err != nil {
		if s, err = temporary(cfg.own(), m.names, now); err != nil {
			return err
		}
	}
	m.lastSeen = statFiles(cfg.files())
	m.use(s, cfg, fault)
	return nil
}

func (m *Manager) use(s *state, cfg Config, fault error) {
	s.config, s.fault = cfg, fault
	m.current.Store(s)
}

// temporary makes a certificate that is in memory only.
func temporary(cfg Config, names []string, now time.Time) (*state, error) {
	h, err := newHosts(names, nil)
	if err != nil {
		return nil, err
	}
	var keys [2]crypto.Signer
	for i := range keys {
		if keys[i], err = newECDSAKey(); err != nil {
			return nil, err
		}
	}
	ca, err := issueCA(keys[0], h.names[0], now)
	if err != nil {
		return nil, err
	}
	cert, err := issueServer(pair{ca, keys[0]}, keys[1], h, now)
	if err != nil {
		return nil, err
	}
	one := shown{info: describe(cert, "")}
	one.info.Source = FromOwnCA
	one.cert = tls.Certificate{
		Certificate: [][]byte{cert.Raw, ca.Raw}, PrivateKey: keys[1], Leaf: cert,
	}
	s := &state{config: cfg, shown: []shown{one}}
	s.profiles()
	return s, nil
}

// faultText is the warning about a fault.
func faultText(fault error) string {
	return fmt.Sprintf("The configured certificate is not in use: %v. Mail programs are shown "+
		"one of the server's own CA, which they may refuse, until it is back.", fault)
}
