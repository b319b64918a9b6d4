// Package daemon is the server as a whole: it puts the parts together, starts
// them, applies a changed configuration and stops them. This page is the
// wiring.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/fetch"
	"pillarbox/cmd/internal/netinfo"
	"pillarbox/cmd/internal/retention"
	"pillarbox/mailstore"
	"pillarbox/mailstore/auth"
	"pillarbox/pop3"
	"pillarbox/smtp"
	"pillarbox/smtp/connlimit"
	"pillarbox/smtp/decisionlog"
	"pillarbox/smtp/dns"
	"pillarbox/smtp/queue"
	"pillarbox/smtp/rate"
	"pillarbox/smtp/server"
	"pillarbox/smtp/verify"
	"pillarbox/tls/acme"
	"pillarbox/tls/certs"
)

const (
	shutdownTimeout = 30 * time.Second // for sessions in the middle of something
	certsInterval   = time.Minute      // between looks at the certificate's files
	writeTimeout    = time.Minute      // for a client to take a reply
	ratedKeys       = 10_000           // accounts and devices whose sending is counted
)

// Parts are what the server takes from the system that it runs on. Only Load must be set. A part that is not set is the
// system's own; a simulation brings others.
type Parts struct {
	Load func() (*config.Config, error) // reads the configuration, at each reload too
	Out  io.Writer                      // takes the log lines; nil discards them

	Open    func(cfg *config.Config, log *slog.Logger) (*admin.Service, error)   // opens the data directory
	Listen  func(address string) (net.Listener, error)                           // opens a port
	Control func() (net.Listener, error)                                         // opens the control socket
	Dial    func(ctx context.Context, network, address string) (net.Conn, error) // connects to servers that take mail
	DNS     verify.Resolver                                                      // answers what vouches for strangers
	LogSize int64                                                                // see mailstore.RecoverOptions

	FreeMemory func() // see auth.Options
}

// Daemon is a running server.
type Daemon struct {
	parts  Parts
	load   func() (*config.Config, error)
	level  *slog.LevelVar
	log    *slog.Logger
	office *admin.Service
	certs  *certs.Manager
	acme   *acme.Renewer
	guard  *connlimit.Limiter
	bans   *auth.Bans
	logins *auth.Authenticator
	users  *connlimit.Accounts // sessions of each user who sends
	names  resolver
	past   *decisionlog.Log
	outbound
	fetch    *fetch.Scheduler
	command  Command
	restored chan struct{} // the store was recovered
	smtp     *server.Server
	pop3     *pop3.Server

	listeners []listener
	unlock    func() // of the data directory

	reloading sync.Mutex // one reload at a time
}

// listener is one address that is served.
type listener struct {
	service string // the key under [listen]
	net.Listener
	serve func(net.Listener) error
}

// Start reads the configuration with load, puts the server together and opens
// its ports. Nothing is served before Run. Log lines go to out.
func Start(load func() (*config.Config, error), out io.Writer) (*Daemon, error) {
	return StartWith(Parts{Load: load, Out: out})
}

// StartWith is Start with parts of the system replaced.
func StartWith(parts Parts) (*Daemon, error) {
	if parts.Out == nil {
		parts.Out = io.Discard
	}
	if parts.Open == nil {
		parts.Open = admin.Open
	}
	if parts.Listen == nil {
		parts.Listen = netinfo.Listen
	}
	cfg, err := parts.Load()
	if err != nil {
		return nil, err
	}
	d := &Daemon{parts: parts, load: parts.Load, level: new(slog.LevelVar), unlock: func() {}, restored: make(chan struct{}, 1)}
	d.log = newLogger(cfg.Log, d.level, parts.Out)
	if d.office, err = parts.Open(cfg, d.log); err != nil {
		return nil, err
	}
	d.office.Checkpoint, d.office.Exclusively = d.office.Store.Checkpoint, d.office.Store.Exclusively
	d.office.OnAuditFailure(d.auditFailed)
	if err := d.assemble(cfg); err != nil {
		d.release()
		return nil, err
	}
	return d, nil
}

// assemble makes the parts and joins them.
func (d *Daemon) assemble(cfg *config.Config) (err error) {
	if err := d.takeData(); err != nil {
		return err
	}
	if d.certs, err = admin.OpenCertificate(cfg); err != nil {
		return err
	}
	d.acme = acme.NewRenewer(cfg.ACME(), d.acmeInstalled, d.log)
	d.bans = auth.NewBans(banOptions(cfg), d.log)
	d.logins = auth.New(d.office.Dir, auth.Options{
		Log: d.log, Bans: d.bans, Secrets: d.office.Keeper, Backend: d.office.Backend, Certificate: d.clientCertificate,
		FreeMemory: d.parts.FreeMemory,
	})
	d.logins.SetSettings(d.office.AuthSettings())
	d.guard = connlimit.New(guardLimits(cfg, d.log), d.log)
	d.users = connlimit.NewAccounts(cfg.Limits.ConnectionsPerAccount, d.log)
	d.names.Store(dns.New(admin.DNSOptions(cfg)))
	d.past = decisionlog.Open(d.office.Root)
	if err := d.openQueue(cfg); err != nil {
		return err
	}
	d.fetch = d.newFetcher(cfg)
	d.smtp = server.New(d.smtpConfig(cfg), server.Parts{
		Dir: d.office.Dir, Store: d.office.Store, Auth: d.logins, Resolver: &d.names, Devices: d.office.Devices,
		Rates: rate.New(ratedKeys), Accounts: d.users, Decisions: d.past, Log: d.log,
		Delivery: d.desk, Queue: d.queue, ClaimATRN: d.claimATRN,
	})
	d.office.WatchQuota(d.full.Crossed)
	d.pop3 = pop3.New(d.pop3Config(cfg), d.office.Store, d.logins, d.log)
	return d.listen(cfg)
}

// takeData makes sure that no second server works on the data directory, and
// clears away what an earlier one could not finish.
func (d *Daemon) takeData() error {
	unlock, err := holdData(context.Background(), d.office.Root)
	if err != nil {
		return err
	}
	d.unlock = unlock
	if err := errors.Join(d.office.KeepVersion(), d.recoverStore()); err != nil {
		return err
	}
	// A domain that cannot be read must not keep the others from being served.
	if err := errors.Join(d.office.Dir.PruneDrafts(), d.adoptNames(), d.office.Dir.KeepCopies()); err != nil {
		d.log.Error("not every domain could be looked at; what interrupted changes left there stays until the next start", "error", err)
	}
	return nil
}

// adoptNames makes directories that were copied from a Windows server domains
// and mailboxes, whatever letters their names have.
func (d *Daemon) adoptNames() error {
	renamed, taken, err := d.office.Dir.AdoptNames()
	for _, what := range taken {
		d.log.Warn("nobody's mail is looked for in this directory, and the name in small letters is taken; 'pillarbox admin mailbox import' copies its mail",
			"directory", what)
	}
	for _, what := range renamed {
		d.log.Info("directory renamed: mailboxes and domains have small letters", "renamed", what)
	}
	return err
}

// recoverStore makes true what the store's log says, and begins to log what arrives.
func (d *Daemon) recoverStore() error {
	kind, trusted, err := d.office.Root.Filesystem()
	if err != nil {
		return err
	}
	if !trusted {
		d.log.Warn("the data directory is on a file system that is not known to keep what is synced; every file is synced by itself, which is slower",
			"file_system", kind, "data", d.office.Root.Name())
	}
	return d.office.Store.Recover(mailstore.RecoverOptions{SyncEach: !trusted, LogSize: d.parts.LogSize, Log: d.log, Recovered: d.recovered})
}

// recovered is called when the store was recovered while the server runs.
func (d *Daemon) recovered() {
	select {
	case d.restored <- struct{}{}:
	default:
	}
}

// listen opens every address of the configuration. All that fail are reported.
func (d *Daemon) listen(cfg *config.Config) error {
	const popBusy = "-ERR [SYS/TEMP] Too many connections, try again later\r\n"
	busy := fmt.Sprintf("421 4.3.2 %s Too many connections, try again later\r\n", cfg.Hostname)
	banned := func(until time.Time) string { return refuseSMTP(string(cfg.Hostname), until) }
	services := []struct {
		name      string
		addresses []string
		busy      string                 // what one client too many is told; "": hang up, TLS comes first
		banned    func(time.Time) string // what a banned one is told; nil: hang up
		serve     func(net.Listener) error
	}{
		{"smtp", cfg.Listen.SMTP, busy, banned, func(l net.Listener) error { return d.smtp.Serve(l, smtp.MTA) }},
		{"submission", cfg.Listen.Submission, busy, banned, func(l net.Listener) error { return d.smtp.Serve(l, smtp.Submission) }},
		{"smtps", cfg.Listen.SMTPS, "", nil, func(l net.Listener) error { return d.smtp.Serve(l, smtp.SMTPS) }},
		{"odmr", cfg.Listen.ODMR, busy, banned, func(l net.Listener) error { return d.smtp.Serve(l, smtp.ODMR) }},
		{"pop3", cfg.Listen.POP3, popBusy, refusePOP3, func(l net.Listener) error { return d.pop3.Serve(l, false) }},
		{"pop3s", cfg.Listen.POP3S, "", nil, func(l net.Listener) error { return d.pop3.Serve(l, true) }},
	}
	var errs []error
	for _, s := range services {
		for _, address := range s.addresses {
			l, err := d.parts.Listen(address)
			if err != nil {
				errs = append(errs, fmt.Errorf("listen.%s: %w", s.name, err))
				continue
			}
			screened := connlimit.Screen(l, banScreen(d.bans, s.banned))
			d.listeners = append(d.listeners, listener{s.name, d.guard.Listen(screened, s.name, s.busy), s.serve})
		}
	}
	d.listenLocally(cfg)
	if len(errs) == 0 && len(d.listeners) == 0 {
		return admin.Hint(errors.New("no address is served"), "[listen] in the configuration turns every service off")
	}
	return admin.Hint(errors.Join(errs...), "stop what holds the port, or choose another address in [listen]; ports below 1024 need root or CAP_NET_BIND_SERVICE")
}

// Office is the data directory that the server works on. It is the server's to close.
func (d *Daemon) Office() *admin.Service { return d.office }

// Queue is the server's queue.
func (d *Daemon) Queue() *queue.Queue { return d.queue }

// Operate says how the commands are done that operators hand to the server; without
// it there is no socket for them. It is called before Run.
func (d *Daemon) Operate(do Command) { d.command = do }

// Run serves until ctx ends, then lets sessions finish what they are in. Each
// value from reload applies the configuration anew. Run is called once.
func (d *Daemon) Run(ctx context.Context, reload <-chan struct{}) error {
	defer d.release()
	control, err := d.serveControl()
	if err != nil {
		return err
	}
	defer control.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	running.Go(func() { d.certs.Watch(ctx, certsInterval, d.log) })
	running.Go(func() { d.acme.Run(ctx) })
	running.Go(func() { d.full.Run(ctx) })
	running.Go(func() { retention.New(d.office, d.log).Run(ctx) })
	running.Go(func() { d.queue.Run(ctx) })
	running.Go(func() { d.fetch.Run(ctx) })
	running.Go(func() { d.badmail.Run(ctx) })
	running.Go(func() { d.grown.Run(ctx) })
	running.Go(func() { d.keepPickup(ctx) })
	d.serveOperators(ctx, &running)
	for _, l := range d.listeners {
		d.log.Info("listening", "service", l.service, "address", l.Addr())
		running.Go(func() {
			if err := l.serve(l.Listener); err != nil {
				cancel(fmt.Errorf("listen.%s: %w", l.service, err))
			}
		})
	}
	d.warnOfSettings()
	d.log.Info("pillarbox is ready", "hostname", d.office.Config().Hostname, "data", d.office.Root.Name())
	for ctx.Err() == nil {
		select {
		case <-reload:
			d.reloadUnasked()
		case <-d.restored:
			if err := d.queue.Rescan(); err != nil {
				d.log.Error("cannot read the queue", "error", err)
			}
		case <-ctx.Done():
		}
	}
	d.log.Info("stopping")
	d.shutdown()
	running.Wait()
	d.log.Info("stopped")
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

func (d *Daemon) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	var both sync.WaitGroup
	both.Go(func() { d.smtp.Shutdown(ctx) })
	both.Go(func() { d.pop3.Shutdown(ctx) })
	both.Wait()
}

// release gives back what Start took.
func (d *Daemon) release() {
	for _, l := range d.listeners {
		l.Close()
	}
	if d.past != nil {
		d.past.Close()
	}
	d.closeQueue()
	if err := d.office.Store.Close(); err != nil {
		d.log.Error("cannot bring all mail to its place; the next start will", "error", err)
	}
	d.unlock()
	d.office.Close()
}

// Addresses are the addresses that are served, by the key under [listen].
func (d *Daemon) Addresses() map[string][]string {
	all := make(map[string][]string)
	for _, l := range d.listeners {
		all[l.service] = append(all[l.service], l.Addr().String())
	}
	return all
}
