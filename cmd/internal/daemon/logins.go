package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/lastlogin"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
)

// makeLastLogins makes the part that writes the last logins. It stops after the servers, so that it
// writes the logins of their last sessions too.
func (d *Daemon) makeLastLogins(*config.Config) (part, error) {
	p := loop("last logins", func(ctx context.Context) {
		d.office.LastLogins.Run(ctx, d.loginExists, d.log)
	})
	wait := p.stop
	p.stop = func(ctx context.Context) {
		wait(ctx)
		if err := d.office.LastLogins.Write(d.loginExists); err != nil {
			d.log.Error("last logins since the last hour are lost", "file", lastlogin.File, "error", err)
		}
	}
	return p, nil
}

// loginExists reports whether there is a mailbox or, with the ID of an app password, whether it has
// that, as far as the files can be read.
func (d *Daemon) loginExists(a addr.Address, app string) bool {
	box, err := d.office.Dir.Mailbox(a)
	if err != nil || app == "" {
		return !errors.Is(err, directory.ErrNotFound)
	}
	_, _, ok := box.Account.AppPassword(app)
	return ok
}

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
