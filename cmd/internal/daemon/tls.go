package daemon

// acmeInstalled is called after ACME has stored a new certificate.
func (d *Daemon) acmeInstalled() {
	if err := d.certs.Reload(); err != nil {
		d.log.Error("the certificate from ACME cannot be used", "error", err)
	}
}
