package daemon

// acmeInstalled puts a certificate to use that ACME has just brought.
func (d *Daemon) acmeInstalled() {
	if err := d.certs.Reload(); err != nil {
		d.log.Error("the certificate by ACME is not used", "error", err)
	}
}
