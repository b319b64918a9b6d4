package daemon

import (
	"context"
	"io"
	"net"
	"net/netip"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/fetch"
	"pillarbox/cmd/internal/logging"
	"pillarbox/cmd/internal/notify"
	"pillarbox/cmd/internal/retention"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth/oauth"
	"pillarbox/smtp"
	"pillarbox/smtp/badmail"
	"pillarbox/smtp/delivery"
	"pillarbox/smtp/dkim"
	"pillarbox/smtp/dns"
	"pillarbox/smtp/pickup"
	"pillarbox/smtp/queue"
	"pillarbox/smtp/remote"
	"pillarbox/smtp/route"
	"pillarbox/smtp/server"
)

// This file makes the parts that deliver, send and delete mail without a client.

// makeDelivery makes badmail too, which keeps what can be neither delivered nor reported.
func (d *Daemon) makeDelivery(cfg *config.Config) (part, error) {
	var notices *notify.Badmail
	grown := func(u badmail.Usage) { notices.Grown(u) }
	d.badmail = badmail.New(d.office.Root, d.logs[logging.Delivery], grown)
	d.badmail.SetLimits(badmailLimits(cfg))
	d.delivery = delivery.New(d.office.DeliveryConfig(cfg, d.system.DNS), delivery.Parts{
		Dir: d.office.Dir, Store: d.office.Store, Badmail: d.badmail, Track: d.events,
		Answers: d.office.Answers, Log: d.logs[logging.Delivery],
	})
	notices = notify.NewBadmail(d.office, d.delivery, d.logs[logging.Delivery])
	p := loop("delivery", d.badmail.Run, notices.Run)
	p.reload = reloads(func(next *config.Config) {
		d.delivery.SetConfig(d.office.DeliveryConfig(next, d.system.DNS))
		d.badmail.SetLimits(badmailLimits(next))
	})
	return p, nil
}

func (d *Daemon) makeSender(cfg *config.Config) (part, error) {
	d.tokens = oauth.NewTokens(d.dialTokenServer, d.logs[logging.Outbound])
	d.sender = remote.NewSender(d.senderConfig(cfg), dkim.Open(d.office.Root), d.logs[logging.Outbound])
	return part{
		name:   "sender",
		reload: reloads(func(next *config.Config) { d.sender.SetConfig(d.senderConfig(next)) }),
		stop:   func(context.Context) { d.sender.Close() },
	}, nil
}

// dialTokenServer finds a token server by the name servers of the configuration.
func (d *Daemon) dialTokenServer(ctx context.Context, network, address string) (net.Conn, error) {
	servers := admin.DNSOptions(d.office.Config()).Servers
	return (&net.Dialer{Resolver: dns.NewClient(servers)}).DialContext(ctx, network, address)
}

func (d *Daemon) makeQueue(cfg *config.Config) (p part, err error) {
	d.queue, err = queue.Open(queueConfig(cfg), queue.Parts{
		Spool: d.office.Store.Spool(), Deliver: d.sender, Report: d.delivery.Report, Track: d.events,
		Log: d.logs[logging.Queue],
	})
	if err != nil {
		return part{name: "queue"}, err
	}
	d.delivery.Queue = d.queue
	p = loop("queue", d.queue.Run)
	p.reload = reloads(func(next *config.Config) { d.queue.SetConfig(queueConfig(next)) })
	return p, nil
}

// claimATRN claims the ETRN-held mail of a server that asks for it by ATRN. Send delivers it over
// that server's own connection.
func (d *Daemon) claimATRN(
	match func(r *route.Route, domain addr.Domain) bool,
) (server.ATRNSession, error) {
	claimed, err := d.queue.Claim(match)
	if err != nil {
		return server.ATRNSession{}, err
	}
	return server.ATRNSession{Messages: claimed.Messages(), Send: func(c net.Conn, client string) {
		sender := d.sender.Reverse(c, client)
		defer sender.Close()
		claimed.Run(sender)
	}}, nil
}

// makeFetch makes the scheduler that collects mail from other servers.
func (d *Daemon) makeFetch(cfg *config.Config) (part, error) {
	d.fetch = fetch.New(fetchConfig(cfg), fetch.Parts{
		Files:  d.office.Root,
		Inject: d.delivery.Inject,
		Resolve: func(to addr.Address) (bool, error) {
			res, err := d.office.Dir.Resolve(to)
			return len(res.Mailboxes)+len(res.Forward) > 0, err
		},
		Keep:    d.badmail.Put,
		AskETRN: d.sender.AskETRN,
		Tokens:  d.tokens,
		Own:     func(to netip.AddrPort) bool { return d.isOwn(to, "pop3", "pop3s") },
		Sent:    d.sender.Sent(),
		Log:     d.logs[logging.Fetch],
	})
	p := loop("fetch", d.fetch.Run)
	p.reload = reloads(func(next *config.Config) { d.fetch.SetConfig(fetchConfig(next)) })
	return p, nil
}

// makePickup makes the folder for outgoing messages. Its keys need a restart.
func (d *Daemon) makePickup(cfg *config.Config) (part, error) {
	if !cfg.Pickup.Enabled {
		return part{name: "pickup"}, nil
	}
	folder := pickup.New(pickup.Options{
		Dir:           cfg.Pickup.Dir,
		MaxSize:       func() int64 { return d.office.Config().SMTP.MaxMessageSize },
		MaxHops:       func() int { return d.office.Config().Policy.MaxHops.Value },
		Hostname:      func() string { return string(d.office.Config().Hostname) },
		DefaultDomain: d.office.Dir.DefaultDomain,
		Inject: func(env *smtp.Envelope, from string, message io.Reader, begun func(string) error) (string, error) {
			source := queue.Source{Service: "pickup", Local: true}
			return d.delivery.InjectAs(env, source, from, message, begun)
		},
		Accepted: d.wasAccepted,
		Made:     folderOwner(d.office.Root.Name()),
		Log:      d.logs[logging.Delivery],
	})
	return loop("pickup", folder.Run), nil
}

func (d *Daemon) makeQuotaNotices(*config.Config) (part, error) {
	notices := notify.NewQuota(d.office, d.delivery, d.logs[logging.Delivery])
	d.office.WatchQuota(notices.Crossed)
	return loop("quota notices", notices.Run), nil
}

func (d *Daemon) makeRetention(*config.Config) (part, error) {
	return loop("retention", retention.New(d.office, d.logs[logging.Delivery]).Run), nil
}
