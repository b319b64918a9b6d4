package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/logging"
	"pillarbox/cmd/internal/netinfo"
	"pillarbox/mailstore/auth"
	"pillarbox/pop3"
	"pillarbox/smtp"
	"pillarbox/smtp/connlimit"
	"pillarbox/smtp/decisionlog"
	"pillarbox/smtp/dns"
	"pillarbox/smtp/rate"
	"pillarbox/smtp/server"
)

// This file makes the parts that clients and administrators reach, and what these ask.

// ratedKeys is the number of accounts and devices whose sending is counted.
const ratedKeys = 10_000

func (d *Daemon) makeLogins(cfg *config.Config) (part, error) {
	d.bans = auth.NewBans(banOptions(cfg), d.logs[logging.Auth])
	d.logins = auth.New(d.office.Dir, auth.Options{
		Log: d.logs[logging.Auth], Bans: d.bans, Secrets: d.office.Keeper, Backend: d.office.Backend,
		Certificate: d.clientCertificate, FreeMemory: d.system.FreeMemory, Track: d.events,
		LoggedIn: d.office.LastLogins.Add,
	})
	d.logins.SetSettings(d.office.AuthSettings())
	d.recent = auth.NewRecent()
	d.recent.SetNetworks(cfg.LogIns.Recent)
	return part{name: "logins", reload: reloads(func(next *config.Config) {
		d.logins.SetSettings(d.office.AuthSettings())
		d.recent.SetNetworks(next.LogIns.Recent)
		d.bans.SetOptions(banOptions(next))
	})}, nil
}

func (d *Daemon) makeLimits(cfg *config.Config) (part, error) {
	d.limiter = connlimit.New(connectionLimits(cfg, d.log), d.log)
	d.accounts = connlimit.NewAccounts(cfg.Limits.ConnectionsPerAccount, d.log)
	return part{name: "connection limits", reload: reloads(func(next *config.Config) {
		d.limiter.SetLimits(connectionLimits(next, d.log))
		d.accounts.SetLimit(next.Limits.ConnectionsPerAccount)
	})}, nil
}

func (d *Daemon) makeDNS(cfg *config.Config) (part, error) {
	set := func(cfg *config.Config) { d.resolver.Store(dns.New(admin.DNSOptions(cfg))) }
	set(cfg)
	return part{name: "DNS", reload: reloads(set)}, nil
}

func (d *Daemon) makeDecisionLog(*config.Config) (part, error) {
	d.decisions = decisionlog.Open(d.office.Root)
	return part{name: "decision log", stop: func(context.Context) { d.decisions.Close() }}, nil
}

// makeServers makes the SMTP and POP3 servers and opens their ports. They are one part, because
// they must shut down at the same time: idle clients of one must not wait for sessions of the other.
func (d *Daemon) makeServers(cfg *config.Config) (part, error) {
	d.smtp = server.New(d.smtpConfig(cfg), server.Parts{
		Dir: d.office.Dir, Store: d.office.Store, Auth: d.logins, Recent: d.recent, Resolver: &d.resolver,
		Devices: d.office.Devices, Rates: rate.New(ratedKeys), Accounts: d.accounts,
		Decisions: d.decisions, Track: d.events, Log: d.logs[logging.SMTP], Sessions: &d.sessions,
		Delivery: d.delivery, Queue: d.queue, ClaimATRN: d.claimATRN,
	})
	d.pop3 = pop3.New(d.pop3Config(cfg), d.office.Store, d.logins, d.logs[logging.POP3])
	var running sync.WaitGroup
	return part{
		name:  "servers",
		start: func(context.Context) error { d.serve(&running); return nil },
		reload: reloads(func(next *config.Config) {
			d.smtp.SetConfig(d.smtpConfig(next))
			d.pop3.SetConfig(d.pop3Config(next))
		}),
		stop: func(ctx context.Context) { d.shutdown(ctx); running.Wait() },
	}, d.listen(cfg)
}

// serve serves every listener.
func (d *Daemon) serve(running *sync.WaitGroup) {
	defer d.serving.Store(true)
	for _, l := range d.listeners {
		d.log.Info("listening", "service", l.service, "address", l.Addr())
		running.Go(func() {
			if err := l.serve(l.Listener); err != nil {
				d.fail(fmt.Errorf("listen.%s: %w", l.service, err))
			}
		})
	}
}

// shutdown ends all sessions and closes all listeners, also those that were never served.
func (d *Daemon) shutdown(ctx context.Context) {
	d.serving.Store(false)
	var both sync.WaitGroup
	both.Go(func() { d.smtp.Shutdown(ctx) })
	both.Go(func() { d.pop3.Shutdown(ctx) })
	both.Wait()
	for _, l := range d.listeners {
		l.Close()
	}
}

// listener is one address that is served.
type listener struct {
	service string // the key under [listen], or "local"
	net.Listener
	serve func(net.Listener) error
}

// service is a key under [listen].
type service struct {
	name      string
	addresses []string
	// busy is sent to a client if there are too many; "" hangs up, because TLS comes first.
	busy string
	// banned returns what is sent to a banned client; nil hangs up.
	banned func(until time.Time) string
	serve  func(net.Listener) error
}

func (d *Daemon) services(cfg *config.Config) []service {
	const popBusy = "-ERR [SYS/TEMP] Too many connections, try again later\r\n"
	busy := busySMTP(cfg)
	banned := func(until time.Time) string { return refuseSMTP(string(cfg.Hostname), until) }
	serveSMTP := func(as smtp.Service) func(net.Listener) error {
		return func(l net.Listener) error { return d.smtp.Serve(l, as) }
	}
	servePOP3 := func(implicitTLS bool) func(net.Listener) error {
		return func(l net.Listener) error { return d.pop3.Serve(l, implicitTLS) }
	}
	return []service{
		{"smtp", cfg.Listen.SMTP, busy, banned, serveSMTP(smtp.MTA)},
		{"submission", cfg.Listen.Submission, busy, banned, serveSMTP(smtp.Submission)},
		{"smtps", cfg.Listen.SMTPS, "", nil, serveSMTP(smtp.SMTPS)},
		{"odmr", cfg.Listen.ODMR, busy, banned, serveSMTP(smtp.ODMR)},
		{"pop3", cfg.Listen.POP3, popBusy, refusePOP3, servePOP3(false)},
		{"pop3s", cfg.Listen.POP3S, "", nil, servePOP3(true)},
	}
}

func busySMTP(cfg *config.Config) string {
	return fmt.Sprintf("421 4.3.2 %s Too many connections, try again later\r\n", cfg.Hostname)
}

// listen opens every address of the configuration. It reports all that fail.
func (d *Daemon) listen(cfg *config.Config) error {
	var errs []error
	for _, s := range d.services(cfg) {
		for _, address := range s.addresses {
			l, err := d.system.Listen(address)
			if err != nil {
				errs = append(errs, fmt.Errorf("listen.%s: %w", s.name, err))
				continue
			}
			screened := connlimit.Screen(l, banScreen(d.bans, s.banned))
			limited := d.limiter.Listen(screened, s.name, s.busy)
			d.listeners = append(d.listeners, listener{s.name, limited, s.serve})
		}
	}
	d.listenLocally(cfg)
	if len(errs) == 0 && len(d.listeners) == 0 {
		return admin.Hint(errors.New("no address is served"),
			"[listen] in the configuration turns every service off")
	}
	return admin.Hint(errors.Join(errs...), "%s", listenHint(errs))
}

// listenHint says what to do about addresses that cannot be opened.
func listenHint(errs []error) string {
	var hints []string
	for _, err := range errs {
		hint := "stop the program that holds the port, or choose another address in [listen]"
		if _, ok := errors.AsType[*netinfo.AddressError](err); ok {
			hint = `write an address of this machine in [listen], or the port alone, such as ":110", for all addresses`
		} else if errors.Is(err, fs.ErrPermission) {
			hint = "ports below 1024 need root or CAP_NET_BIND_SERVICE; 'systemctl start pillarbox' starts the server with it"
		}
		if !slices.Contains(hints, hint) {
			hints = append(hints, hint)
		}
	}
	return strings.Join(hints, "; ")
}

// listenLocally opens the socket for programs on this machine. The server runs without it too.
func (d *Daemon) listenLocally(cfg *config.Config) {
	if !cfg.Local.Enabled {
		return
	}
	l, err := openLocal(cfg.Local.Socket, folderOwner(d.office.Root.Name()))
	if err != nil {
		d.log.Warn("programs on this machine cannot send through 'pillarbox sendmail'",
			append(errorArgs(err), "socket", cfg.Local.Socket)...)
		return
	}
	limited := d.limiter.Listen(l, "local", busySMTP(cfg))
	serve := func(l net.Listener) error { return d.smtp.Serve(l, smtp.Local) }
	d.listeners = append(d.listeners, listener{"local", limited, serve})
}

// isOwn reports whether an address is a port of this server for one of the services. Mail must not
// be sent to such a port, or collected from it: it would loop.
func (d *Daemon) isOwn(to netip.AddrPort, services ...string) bool {
	for _, l := range d.listeners {
		if !slices.Contains(services, l.service) {
			continue
		}
		own, err := netip.ParseAddrPort(l.Addr().String())
		if err != nil || own.Port() != to.Port() {
			continue
		}
		if own.Addr().Unmap() == to.Addr().Unmap() {
			return true
		}
		if own.Addr().IsUnspecified() && netinfo.IsHere(to.Addr()) {
			return true
		}
	}
	return false
}
