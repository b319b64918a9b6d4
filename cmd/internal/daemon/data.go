package daemon

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/logging"
	"pillarbox/mailstore"
	"pillarbox/mailstore/track"
	"pillarbox/tls/acme"
)

// This file makes the parts of the data directory, and those that only follow the configuration.

func (d *Daemon) makeAdmin(cfg *config.Config) (p part, err error) {
	p.name = "data directory"
	if d.office, err = d.system.Open(cfg, d.logs[logging.Auth]); err != nil {
		return p, err
	}
	d.office.Checkpoint, d.office.Exclusively = d.office.Store.Checkpoint, d.office.Store.Exclusively
	d.office.OnAuditFailure(d.auditFailed)
	p.stop = func(context.Context) { d.office.Close() }
	return p, nil
}

// makeLock makes sure that no second server works on the data directory.
func (d *Daemon) makeLock(*config.Config) (part, error) {
	unlock, err := holdData(context.Background(), d.office.Root)
	if err != nil {
		return part{name: "lock"}, err
	}
	return part{name: "lock", stop: func(context.Context) { unlock() }}, nil
}

// makeStore recovers the store, and finishes changes that an earlier server could not finish.
func (d *Daemon) makeStore(*config.Config) (part, error) {
	p := part{name: "store", stop: d.closeStore}
	if err := errors.Join(d.office.KeepVersion(), d.recoverStore()); err != nil {
		return p, err
	}
	// A domain that cannot be read must not keep the others from being served.
	dir := d.office.Dir
	if err := errors.Join(dir.PruneDrafts(), d.adoptNames(), dir.KeepCopies()); err != nil {
		d.logs[logging.Store].Error("some domains could not be checked; what interrupted changes left there stays "+
			"until the next start", "error", err)
	}
	return p, nil
}

// makeOwnerCheck looks once for files that the server's account cannot use, such as those that root
// has copied.
func (d *Daemon) makeOwnerCheck(*config.Config) (part, error) {
	return loop("owner check", func(ctx context.Context) {
		for _, f := range d.office.OwnerFindings(ctx) {
			d.log.Error("a file cannot be used", "file", filepath.Join(d.office.Root.Name(), f.File),
				"reason", f.Text, "hint", f.Hint)
		}
	}), nil
}

func (d *Daemon) closeStore(context.Context) {
	if err := d.office.Store.Close(); err != nil {
		d.logs[logging.Store].Error("cannot write all mail to its place; the next start will", "error", err)
	}
}

// recoverStore applies the store's log to the mail, and opens the log for new mail.
func (d *Daemon) recoverStore() error {
	kind, trusted, err := d.office.Root.Filesystem()
	if err != nil {
		return err
	}
	if !trusted {
		d.logs[logging.Store].Warn("the file system of the data directory is not known to keep what was synced; "+
			"every file is synced separately, which is slower",
			"file_system", kind, "data", d.office.Root.Name())
	}
	return d.office.Store.Recover(mailstore.RecoverOptions{
		SyncEach: !trusted, LogSize: d.system.LogSize, Log: d.logs[logging.Store], Recovered: d.storeRecovered,
		Accepted: d.noteAccepted, Took: d.metrics.Took,
	})
}

// noteAccepted keeps the IDs of the messages that were accepted shortly before a crash, or before
// the store failed. The log that names them is emptied as the mail gets to its place.
func (d *Daemon) noteAccepted(id string) { d.accepted.Store(id, true) }

// wasAccepted reports whether noteAccepted was called with an ID.
func (d *Daemon) wasAccepted(id string) bool {
	_, ok := d.accepted.Load(id)
	return ok
}

// storeRecovered is called after the store was recovered while the server runs.
func (d *Daemon) storeRecovered() {
	select {
	case d.restored <- struct{}{}:
	default:
	}
}

// adoptNames gives the directories of domains and mailboxes lower-case names. They may have been
// copied from a Windows server, where upper and lower case are the same.
func (d *Daemon) adoptNames() error {
	renamed, taken, err := d.office.Dir.AdoptNames()
	for _, name := range taken {
		d.logs[logging.Store].Warn("mail in this directory is not served: its lower-case name belongs to another "+
			"directory; 'pillarbox admin mailbox import' copies the mail", "directory", name)
	}
	for _, name := range renamed {
		d.logs[logging.Store].Info("directory renamed: domains and mailboxes have lower-case names", "renamed", name)
	}
	return err
}

func (d *Daemon) makeCertificates(cfg *config.Config) (p part, err error) {
	const interval = time.Minute // between checks of the files
	if d.certs, err = d.office.StartCertificate(cfg); err != nil {
		return part{name: "certificates"}, err
	}
	d.certs.Want(d.office.CertificateNames)
	p = loop("certificates", func(ctx context.Context) { d.certs.Watch(ctx, interval, d.logs[logging.TLS]) })
	p.reload = func(next *config.Config) error { return d.certs.Reconfigure(next.Certs()) }
	return p, nil
}

func (d *Daemon) makeACME(cfg *config.Config) (part, error) {
	d.acme = acme.NewRenewer(cfg.ACME(), d.acmeInstalled, d.logs[logging.TLS])
	p := loop("ACME", d.acme.Run)
	p.reload = reloads(func(next *config.Config) { d.acme.SetConfig(next.ACME()) })
	return p, nil
}

func (d *Daemon) makeLogLevels(*config.Config) (part, error) {
	reload := reloads(func(next *config.Config) {
		d.levels.Configure(next.Log.Level, next.Log.Levels)
	})
	return part{name: "log levels", reload: reload}, nil
}

func (d *Daemon) makeSettings(*config.Config) (part, error) {
	reload := reloads(func(next *config.Config) {
		if err := d.office.SetConfig(next); err != nil { // all other settings are in force
			d.log.Error("reload: a directory cannot be used", "error", err)
		}
	})
	return part{name: "settings", reload: reload}, nil
}

// makeEvents opens the events of mail.
func (d *Daemon) makeEvents(cfg *config.Config) (part, error) {
	p := part{name: "events"}
	d.events = track.Open(d.office.Root, eventOptions(cfg), d.log,
		d.logConsoleLine, d.traffic.Read, d.metrics.Read, d.telemetry.Read)
	d.office.Events = d.events
	p.reload = reloads(func(next *config.Config) { d.events.SetOptions(eventOptions(next)) })
	var restoring sync.WaitGroup
	p.start = func(ctx context.Context) error {
		if !cfg.Events.Enabled {
			return nil
		}
		end, now := d.office.EventsEnd(ctx), time.Now()
		restoring.Go(func() {
			if err := d.office.RestoreEvents(ctx, end, now); err != nil && ctx.Err() == nil {
				d.log.Warn("cannot restore the events of mail that came before a crash", "error", err)
			}
		})
		return nil
	}
	p.stop = func(context.Context) { restoring.Wait(); d.events.Close() }
	return p, nil
}

// logConsoleLine logs an event as Domino's console shows it.
func (d *Daemon) logConsoleLine(e *track.Event) {
	if line := e.ConsoleLine(); line != "" {
		part := logging.SMTP
		if e.Kind == track.Relayed {
			part = logging.Outbound
		}
		d.logs[part].Info(line, "service", e.Service)
	}
}

// acmeInstalled is called after ACME has stored a new certificate.
func (d *Daemon) acmeInstalled() {
	if err := d.certs.Reload(); err != nil {
		d.logs[logging.TLS].Error("the certificate from ACME cannot be used", "error", err)
	}
}
