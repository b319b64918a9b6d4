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

// warnOfSettings says what in the configuration deserves a look, and whom it
// shuts out.
func (d *Daemon) warnOfSettings() {
	for _, warning := range slices.Concat(d.office.Config().Warnings, d.office.LogInWarnings()) {
		d.log.Warn("configuration", "warning", warning)
	}
}
