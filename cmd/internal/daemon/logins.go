package daemon

import (
	"crypto/tls"
	"slices"
	"time"
)

// clientCertificate returns the address in a client's certificate, if our CA has issued it.
func (d *Daemon) clientCertificate(
	state *tls.ConnectionState,
) (address, fingerprint string, ok bool) {
	return d.certs.ClientAddress(state, time.Now())
}

// warnOfSettings logs and returns the warnings about the configuration: about settings that are
// risky, and about logins that they make impossible.
func (d *Daemon) warnOfSettings() []string {
	warnings := slices.Concat(
		d.office.Config().Warnings, d.office.SettingWarnings(), d.office.LogInWarnings())
	for _, warning := range warnings {
		d.log.Warn("configuration", "warning", warning)
	}
	return warnings
}
