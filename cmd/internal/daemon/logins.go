package daemon

import (
	"crypto/tls"
	"slices"
	"time"
)

// clientCertificate says whose certificate of the own CA a client has shown.
func (d *Daemon) clientCertificate(state *tls.ConnectionState) (address, fingerprint string, ok bool) {
	return d.certs.ClientAddress(state, time.Now())
}

// warnOfSettings logs what in the configuration deserves a look, and whom it
// shuts out, and returns it.
func (d *Daemon) warnOfSettings() []string {
	warnings := slices.Concat(d.office.Config().Warnings, d.office.LogInWarnings())
	for _, warning := range warnings {
		d.log.Warn("configuration", "warning", warning)
	}
	return warnings
}
