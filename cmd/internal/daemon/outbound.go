package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/fetch"
	"pillarbox/cmd/internal/notify"
	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
	"pillarbox/smtp/badmail"
	"pillarbox/smtp/delivery"
	"pillarbox/smtp/dkim"
	"pillarbox/smtp/dsn"
	"pillarbox/smtp/pickup"
	"pillarbox/smtp/queue"
	"pillarbox/smtp/remote"
	"pillarbox/smtp/route"
	"pillarbox/smtp/verify"
)

// outbound is the half of the server that sends.
type outbound struct {
	desk    *delivery.Dispatcher
	queue   *queue.Queue
	sender  *remote.Sender
	badmail *badmail.Store
	grown   *notify.Badmail
	full    *notify.Quota
}

// openQueue makes the parts that send. Nothing is sent before Run.
func (d *Daemon) openQueue(cfg *config.Config) (err error) {
	d.badmail = badmail.New(d.office.Root, d.log, func(u badmail.Usage) { d.grown.Grown(u) })
	d.badmail.SetLimits(badmailLimits(cfg))
	d.desk = delivery.New(dispatchConfig(cfg, d.parts.DNS), delivery.Parts{Dir: d.office.Dir, Store: d.office.Store, Badmail: d.badmail, Log: d.log})
	d.grown = notify.NewBadmail(d.office, d.desk, d.log)
	d.full = notify.NewQuota(d.office, d.desk, d.log)
	d.sender = remote.NewSender(d.senderConfig(cfg), dkim.Open(d.office.Root), d.log)
	d.queue, err = queue.Open(queueConfig(cfg), queue.Parts{
		Spool: d.office.Store.Spool(), Deliver: d.sender, Report: d.desk.Report, Log: d.log,
	})
	d.desk.Queue = d.queue
	return err
}

func badmailLimits(cfg *config.Config) badmail.Limits {
	return badmail.Limits{Age: time.Duration(cfg.Reports.KeepDays) * 24 * time.Hour, Size: cfg.Reports.KeepSize}
}

// setOutbound puts another configuration in force.
func (d *Daemon) setOutbound(cfg *config.Config) {
	d.desk.SetConfig(dispatchConfig(cfg, d.parts.DNS))
	d.badmail.SetLimits(badmailLimits(cfg))
	d.sender.SetConfig(d.senderConfig(cfg))
	d.queue.SetConfig(queueConfig(cfg))
	d.fetch.SetConfig(fetchConfig(cfg))
}

// newFetcher makes the scheduler that collects mail. The parts that send must exist.
func (d *Daemon) newFetcher(cfg *config.Config) *fetch.Scheduler {
	return fetch.New(fetchConfig(cfg), fetch.Parts{
		Files:  d.office.Root,
		Inject: d.desk.Inject,
		Resolve: func(to addr.Address) (bool, error) {
			res, err := d.office.Dir.Resolve(to)
			return len(res.Mailboxes)+len(res.Forward) > 0, err
		},
		Keep:    d.badmail.Put,
		AskETRN: d.sender.AskETRN,
		Own:     func(to netip.AddrPort) bool { return d.isOwn(to, "pop3", "pop3s") },
		Sent:    d.sender.Sent(),
		Log:     d.log,
	})
}

func fetchConfig(cfg *config.Config) fetch.Config {
	return fetch.Config{
		Entries: cfg.Fetch, Hostname: string(cfg.Hostname), MaxSize: cfg.SMTP.MaxMessageSize,
		DNS: admin.DNSOptions(cfg).Servers,
	}
}

func (d *Daemon) senderConfig(cfg *config.Config) remote.SenderConfig {
	return remote.SenderConfig{
		Options: remote.Options{
			Routes:   func() *route.Table { return &cfg.Routes },
			Hostname: string(cfg.Hostname),
			Hosted:   func(domain addr.Domain) bool { hosted, _ := d.office.Dir.Hosts(domain); return hosted },
			Own:      func(to netip.AddrPort) bool { return d.isOwn(to, "smtp", "submission", "smtps") },
			DNS:      admin.DNSOptions(cfg).Servers,
			Dial:     d.parts.Dial,
			Log:      d.log,
		},
		Sign: cfg.Authenticity.Sign,
	}
}

func (d *Daemon) closeQueue() {
	if d.sender != nil {
		d.sender.Close()
	}
}

func queueConfig(cfg *config.Config) queue.Config {
	return queue.Config{Routes: &cfg.Routes, Connections: min(cfg.Outbound.Connections, mostAttempts(openFiles())), Closed: !cfg.Outbound.Enabled}
}

// vouchTimeout is how long a report waits for the DNS of a stranger's domain, which the stranger may have made slow.
const vouchTimeout = 3 * time.Second

func dispatchConfig(cfg *config.Config, names verify.Resolver) delivery.Config {
	null := map[config.NullSender]delivery.NullSender{
		config.NullToBadmail: delivery.ToBadmail, config.NullSend: delivery.ToPostmaster, config.NullDrop: delivery.Discard,
	}
	strangers := map[config.Strangers]delivery.Strangers{
		config.NoStrangers: delivery.NoStrangers, config.VerifiedStrangers: delivery.VerifiedStrangers, config.AllStrangers: delivery.AllStrangers,
	}
	verifier := verify.New(verify.Options{Resolver: names, Servers: admin.DNSOptions(cfg).Servers, Timeout: vouchTimeout})
	return delivery.Config{
		Hostname:       string(cfg.Hostname),
		Language:       dsn.Language(cfg.Reports.Language),
		From:           cfg.Reports.From,
		CopyTo:         cfg.Reports.CopyTo,
		MaxReturn:      cfg.Reports.MaxReturn,
		Success:        cfg.Reports.Success,
		NullSender:     null[cfg.Reports.NullSender],
		DeferOverQuota: cfg.Mailboxes.OverQuota == config.DeferOverQuota,
		Strangers:      strangers[cfg.Reports.Strangers],
		PerAddress:     cfg.Reports.PerAddress,
		PerHour:        cfg.Reports.PerHour,
		Vouch: func(from *queue.Source, sender addr.Address) smtp.Standing {
			return verifier.Standing(context.Background(), from.Remote, from.Helo, sender)
		},
	}
}

// isOwn reports whether an address is one of these services of this server: to send mail there, or to collect it there,
// would be to go round in a circle.
func (d *Daemon) isOwn(to netip.AddrPort, services ...string) bool {
	for _, l := range d.listeners {
		if !slices.Contains(services, l.service) {
			continue
		}
		own, err := netip.ParseAddrPort(l.Addr().String())
		if err != nil || own.Port() != to.Port() {
			continue
		}
		if own.Addr().Unmap() == to.Addr().Unmap() || own.Addr().IsUnspecified() && isHere(to.Addr()) {
			return true
		}
	}
	return false
}

// isHere reports whether an address is this machine's.
func isHere(ip netip.Addr) bool {
	if ip.IsLoopback() {
		return true
	}
	all, err := net.InterfaceAddrs()
	for _, a := range all {
		if prefix, parseErr := netip.ParsePrefix(a.String()); err == nil && parseErr == nil && prefix.Addr().Unmap() == ip.Unmap() {
			return true
		}
	}
	return false
}

// keepPickup sends what is placed in the pickup folder.
func (d *Daemon) keepPickup(ctx context.Context) {
	folder := d.office.Config().Pickup
	if !folder.Enabled {
		return
	}
	pickup.New(pickup.Options{
		Dir:           folder.Dir,
		MaxSize:       func() int64 { return d.office.Config().SMTP.MaxMessageSize },
		Hostname:      func() string { return string(d.office.Config().Hostname) },
		DefaultDomain: d.office.Dir.DefaultDomain,
		Inject: func(env *smtp.Envelope, from string, message io.Reader) (string, error) {
			return d.desk.Inject(env, queue.Source{Service: "pickup", Local: true}, from, message)
		},
		Log: d.log,
	}).Run(ctx)
}

// listenLocally opens the socket for programs on this machine. It is a convenience: without it the server runs all the same.
func (d *Daemon) listenLocally(cfg *config.Config) {
	if !cfg.Local.Enabled {
		return
	}
	unguarded, err := openLocal(cfg.Local.Socket)
	if err != nil {
		d.log.Warn("programs on this machine cannot send through 'pillarbox sendmail'", "socket", cfg.Local.Socket, "error", err)
		return
	}
	l := d.guard.Listen(unguarded, "local", fmt.Sprintf("421 4.3.2 %s Too many connections, try again later\r\n", cfg.Hostname))
	d.listeners = append(d.listeners, listener{"local", l, func(l net.Listener) error { return d.smtp.Serve(l, smtp.Local) }})
}

// openLocal listens on a unix socket that every user of the machine may write to. One that nobody listens on is a leftover.
func openLocal(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return nil, errors.New("another server listens there")
	}
	if fi, err := os.Lstat(path); err == nil && fi.Mode().Type() != fs.ModeSocket {
		return nil, errors.New("something that is no socket has this name: " + strconv.Quote(path))
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o666); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}
