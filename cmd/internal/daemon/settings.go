package daemon

import (
	"context"
	"log/slog"
	"math"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/fetch"
	"pillarbox/cmd/internal/logging"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/track"
	"pillarbox/pop3"
	"pillarbox/smtp/badmail"
	"pillarbox/smtp/connlimit"
	"pillarbox/smtp/dns"
	"pillarbox/smtp/footer"
	"pillarbox/smtp/policy"
	"pillarbox/smtp/queue"
	"pillarbox/smtp/remote"
	"pillarbox/smtp/route"
	"pillarbox/smtp/server"
	"pillarbox/smtp/verify"
	"pillarbox/smtp/wire"
)

// This file converts the configuration into the Config of each part.

const writeTimeout = time.Minute // for a client to take a reply

func (d *Daemon) smtpConfig(cfg *config.Config) server.Config {
	return server.Config{
		Rules: &cfg.Policy,

		Local:    policy.Device{Outside: cfg.Local.Outside, PerHour: cfg.Local.PerHour},
		Triggers: triggers(cfg),
		Checks: verify.Settings{
			SPF:   verify.Action(cfg.Authenticity.SPF),
			DKIM:  verify.Action(cfg.Authenticity.DKIM),
			DMARC: verify.Action(cfg.Authenticity.DMARC),
		},
		Verifier: verify.New(verify.Options{
			Resolver: d.system.DNS, Servers: admin.DNSOptions(cfg).Servers,
			Log: d.logs[logging.Policy],
		}),
		DSNForAll: cfg.Reports.Strangers == config.AllStrangers,
		MaxFor:    cfg.SMTP.MaxForRecipients,

		Wire: wire.Config{
			Tap:             &d.tap,
			Hostname:        string(cfg.Hostname),
			Greeting:        greeting(cfg, cfg.SMTP.Greeting),
			TLS:             d.certs.TLSConfig("smtp", d.logs[logging.TLS]),
			HandshakeFailed: d.handshakeFailed("smtp"),
			MaxMessageSize:  cfg.SMTP.MaxMessageSize,
			MaxRecipients:   cfg.SMTP.MaxRecipients,
			MaxTextLine:     int(cfg.SMTP.MaxTextLine),
			MaxErrors:       cfg.SMTP.MaxErrors,
			MaxCommandLine:  cfg.SMTP.MaxCommandLength,
			MaxSessionSize:  cfg.SMTP.MaxSessionSize,
			MaxMessages:     cfg.SMTP.MaxMessages,
			CommandTimeout:  times(cfg, cfg.SMTP.CommandTimeout),
			ProgressTimeout: 2 * times(cfg, cfg.SMTP.CommandTimeout),
			DataTimeout:     times(cfg, cfg.SMTP.DataTimeout),
			WriteTimeout:    writeTimeout,
			StrictPaths:     cfg.SMTP.StrictAddresses,
			StrictLines:     cfg.SMTP.StrictLines,
		},
	}
}

// greeting returns a function that returns the greeting at the time of the call.
func greeting(cfg *config.Config, template string) func() string {
	return func() string { return config.ExpandGreeting(template, cfg.Hostname, time.Now()) }
}

func (d *Daemon) pop3Config(cfg *config.Config) pop3.Config {
	return pop3.Config{
		Track:                 d.events,
		Tap:                   &d.tap,
		Hostname:              string(cfg.Hostname),
		Greeting:              greeting(cfg, cfg.POP3.Greeting),
		TLS:                   d.certs.TLSConfig("pop3", d.logs[logging.TLS]),
		HandshakeFailed:       d.handshakeFailed("pop3"),
		PlaintextNetworks:     plaintextPOP3(cfg),
		Require128Bit:         cfg.Sites.POP3.Require128Bit,
		Require128BitImplicit: cfg.Sites.POP3S.Require128Bit,
		Admit:                 d.admitPOP3(cfg),
		LoggedIn: func(client netip.Addr, user auth.Principal) {
			if user.App == "" { // one for POP3 must not send, and a removed one counts at once
				d.recent.Add(client, user.Address)
			}
		},
		Retention:    d.office,
		Sessions:     &d.sessions,
		IdleTimeout:  times(cfg, cfg.POP3.IdleTimeout),
		Overtake:     cfg.POP3.Overtake,
		WriteTimeout: writeTimeout,
		MaxErrors:    cfg.POP3.MaxErrors,
	}
}

// admitPOP3 returns a function that applies the lists of hosts that may use POP3, and logs refusals.
func (d *Daemon) admitPOP3(cfg *config.Config) func(context.Context, netip.Addr) bool {
	rules := policy.Rules{Connections: cfg.POP3.Hosts}
	return func(ctx context.Context, client netip.Addr) bool {
		f := policy.Facts{Client: policy.Client{Remote: client}}
		if rules.NeedsName() {
			f.Name, f.NameState = d.resolver.Name(ctx, client)
		}
		decision := rules.Connect(&f)
		if decision.Verdict == policy.Accept {
			return true
		}
		d.logs[logging.POP3].Info("refused", "service", "pop3", "stage", decision.Stage, "remote_ip", client,
			"rule", "pop3.deny_hosts")
		return false
	}
}

// triggers returns the clients that may ask for ETRN-held mail, per route.
func triggers(cfg *config.Config) (all []server.Trigger) {
	for i, r := range cfg.Routes.Routes {
		if r.Hold {
			clients := cfg.Relayed[i]
			all = append(all, server.Trigger{
				Route: r.Name, Domains: r.Domains,
				Hosts: clients.ETRNHosts, Accounts: clients.ETRNAccounts,
			})
		}
	}
	return all
}
func badmailLimits(cfg *config.Config) badmail.Limits {
	age := time.Duration(cfg.Reports.KeepDays) * 24 * time.Hour
	return badmail.Limits{Age: age, Size: cfg.Reports.KeepSize}
}

func (d *Daemon) senderConfig(cfg *config.Config) remote.SenderConfig {
	return remote.SenderConfig{
		Options: remote.Options{
			Routes:   func() *route.Table { return &cfg.Routes },
			Hostname: string(cfg.Hostname),
			Hosted: func(domain addr.Domain) bool {
				hosted, _ := d.office.Dir.Hosts(domain)
				return hosted
			},
			Own:    func(to netip.AddrPort) bool { return d.isOwn(to, "smtp", "submission", "smtps") },
			DNS:    admin.DNSOptions(cfg).Servers,
			Dial:   d.system.Dial,
			Tokens: d.tokens,
			Log:    d.logs[logging.Outbound],
		},
		Sign:   cfg.Authenticity.Sign,
		Seal:   cfg.Outbound.ARC,
		Footer: d.footerOf,
	}
}

// footerOf returns the footer of a domain here.
func (d *Daemon) footerOf(name addr.Domain) footer.Footer {
	file, err := d.office.Dir.Domain(name)
	if err != nil {
		return footer.Footer{}
	}
	return footer.Footer(file.Footer)
}

func queueConfig(cfg *config.Config) queue.Config {
	return queue.Config{
		Routes:      &cfg.Routes,
		Connections: min(cfg.Outbound.Connections, mostAttempts(openFiles())),
		Closed:      !cfg.Outbound.Enabled,
	}
}

func fetchConfig(cfg *config.Config) fetch.Config {
	return fetch.Config{
		Entries:  cfg.Fetch,
		Hostname: string(cfg.Hostname),
		MaxSize:  cfg.SMTP.MaxMessageSize,
		MaxHops:  cfg.Policy.MaxHops.Value,
		DNS:      admin.DNSOptions(cfg).Servers,
	}
}

// times multiplies a timeout by connections.timeout_multiplier.
func times(cfg *config.Config, d time.Duration) time.Duration {
	return d * time.Duration(max(cfg.Connections.TimeoutMultiplier, 1))
}

// plaintextPOP3 returns the networks that may log in to POP3 without TLS. There are none if the
// site demands TLS.
func plaintextPOP3(cfg *config.Config) []netip.Prefix {
	if cfg.Sites.POP3.RequireTLS {
		return nil
	}
	return cfg.Auth.PlaintextNetworks
}

func banOptions(cfg *config.Config) auth.BanOptions {
	return auth.BanOptions{
		After: cfg.Bans.After, Duration: cfg.Bans.Duration, Trusted: trustedClients(cfg),
	}
}

// trustedClients returns a function that reports whether a client is in bans.trusted or
// auth.plaintext_networks. Such clients are never banned, and have connections reserved for them.
func trustedClients(cfg *config.Config) func(netip.Addr) bool {
	trusted, plaintext := cfg.Bans.Trusted, cfg.Policy.LogIns.PlaintextNetworks
	return func(ip netip.Addr) bool {
		_, listed := trusted.Match(ip, "")
		_, lan := plaintext.Match(ip, "")
		return listed || lan
	}
}

// resolver is the current DNS resolver. A reload replaces it.
type resolver struct{ atomic.Pointer[dns.Resolver] }

func (r *resolver) Name(ctx context.Context, ip netip.Addr) (string, policy.NameState) {
	return r.Load().Name(ctx, ip)
}

func (r *resolver) Listings(ctx context.Context, ip netip.Addr, zones []string) []policy.Listing {
	return r.Load().Listings(ctx, ip, zones)
}

func (r *resolver) SenderDomain(ctx context.Context, domain addr.Domain) policy.DomainState {
	return r.Load().SenderDomain(ctx, domain)
}

// connectionLimits returns the configured limits of connections, or lower ones if the limit of open
// files requires it. A client above the limit must get a 421, not make an open fail.
func connectionLimits(cfg *config.Config, log *slog.Logger) connlimit.Limits {
	connections, files := cfg.Limits.Connections, openFiles()
	if most := MostConnections(files); connections == 0 || connections > most {
		log.Warn("fewer connections than configured: the limit of open files is too low",
			"connections", most, "outbound", min(cfg.Outbound.Connections, mostAttempts(files)),
			"files", files,
			"hint", "set LimitNOFILE in the systemd unit, or 'ulimit -n'")
		connections = most
	}
	return connlimit.Limits{
		Connections: connections, PerAddress: cfg.Limits.ConnectionsPerAddress,
		Services: serviceLimits(&cfg.Limits), Trusted: trustedClients(cfg),
	}
}

// serviceLimits returns the limits of the services by their names under [listen].
func serviceLimits(limits *config.Limits) map[string]int {
	return map[string]int{
		"smtp": limits.SMTP, "submission": limits.Submission, "smtps": limits.SMTPS,
		"odmr": limits.ODMR, "pop3": limits.POP3, "pop3s": limits.POP3S,
	}
}

// openFiles returns the number of files that the process may have open.
func openFiles() uint64 {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return math.MaxUint64
	}
	return files.Cur
}

// MostConnections returns the number of connections that leaves a file to every session, a third of
// the files to the queue, and 24 to the server. Clients must not take the descriptors that the
// store and the queue need.
func MostConnections(files uint64) int { return max(1, filesToShare(files)/3) }

// mostAttempts returns the number of simultaneous delivery attempts. Each needs a connection and a
// file.
func mostAttempts(files uint64) int { return max(1, filesToShare(files)/6) }

func filesToShare(files uint64) int {
	const own = 24 // listeners, sockets, the log, folders
	return max(0, int(min(files, 1<<30))-own)
}

// handshakeFailed returns what logs the failed TLS handshakes of a service.
func (d *Daemon) handshakeFailed(service string) func(netip.Addr, error) {
	return func(remote netip.Addr, err error) {
		d.certs.HandshakeFailed(service, remote, err, d.logs[logging.TLS])
	}
}

func eventOptions(cfg *config.Config) track.Options {
	e := cfg.Events
	return track.Options{
		Discard: !e.Enabled,
		Keep:    time.Duration(e.KeepDays) * 24 * time.Hour, MaxSize: e.MaxSize, Subjects: e.Subjects,
	}
}
