package daemon

import (
	"crypto/tls"
	"time"
)

// clientCertificate says whose certificate of the own CA a client has shown.
func (d *Daemon) clientCertificate(state *tls.ConnectionState) (address, fingerprint string, ok bool) {
	return d.certs.ClientAddress(state, time.Now())
}
