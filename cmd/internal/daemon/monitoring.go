package daemon

import (
	"context"
	"crypto/tls"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"pillarbox/cmd/internal/alert"
	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/logging"
	"pillarbox/cmd/internal/metrics"
	"pillarbox/cmd/internal/notify"
	"pillarbox/cmd/internal/telemetry"
	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/durable"
)

// This file makes the parts that tell how the server is: figures for Prometheus, alerts, and spans.

func (d *Daemon) makeReadings(*config.Config) (part, error) {
	d.readings = metrics.NewReadings(metrics.State{
		Memory: d.readMemory, Disk: d.readDisk, Mailboxes: d.readMailboxes,
	})
	d.metrics.Watch(d.readings)
	return part{name: "readings"}, nil
}

func (d *Daemon) readMemory() metrics.Memory {
	sent, dropped := d.telemetry.Counts()
	return metrics.Memory{
		Sessions:     d.limiter.Open(),
		Queue:        d.queue.State(),
		Badmail:      d.badmail.Usage(),
		Certificates: d.certs.Infos(),
		Banned:       len(d.bans.List()),
		Suppressed:   d.delivery.Suppressed(),
		Dropped:      d.events.Dropped(),
		SpansSent:    sent,
		SpansDropped: dropped,
		Ready:        len(d.unready()) == 0,
	}
}

func (d *Daemon) readDisk() (disk metrics.Disk, err error) {
	if disk.Space, err = durable.Space(d.office.Root.Name()); err != nil {
		return disk, err
	}
	log, err := mailstore.InspectLog(d.office.Root, true)
	b, _ := d.office.BackupStatus(time.Now()) // a damaged record is written anew by the next backup
	disk.Backup, disk.BackupFault = b.Success, b.Fault
	disk.LogFill, disk.DamagedLogs = d.office.Store.LogFill(), len(log.DamagedFiles)
	return disk, err
}

func (d *Daemon) readMailboxes() (metrics.Mailboxes, error) {
	all := metrics.Mailboxes{Above: map[int]int{}}
	domains, err := d.office.Dir.Domains()
	if err != nil {
		return all, err
	}
	for _, domain := range domains {
		boxes, err := d.office.Dir.MailboxesAsFound(domain)
		if err != nil {
			return all, err
		}
		all.Count += len(boxes)
		for _, box := range boxes {
			if box.Account.Held {
				all.Held = append(all.Held, box.Address.String())
			}
		}
	}
	quotas, err := d.office.ListQuotas("", metrics.QuotaLevels()[0])
	for _, q := range quotas {
		for _, level := range metrics.QuotaLevels() {
			if !q.Domain && q.Percent >= level {
				all.Above[level]++
			}
		}
	}
	return all, err
}

// unready returns why the server takes no mail; nothing if it does.
func (d *Daemon) unready() (reasons []string) {
	if err := d.office.Store.Ready(); err != nil {
		reasons = append(reasons, "store: "+err.Error())
	}
	if !d.serving.Load() {
		reasons = append(reasons, "listeners: clients are not served yet, or the server stops")
	}
	return reasons
}

// hasRoute reports whether the configuration has a route of this name.
func (d *Daemon) hasRoute(name string) bool {
	routes := d.office.Config().Routes.Routes
	for i := range routes {
		if routes[i].Name == name {
			return true
		}
	}
	return false
}

// makeMetrics serves the figures. Mail does not depend on them: a port that is in use is logged.
func (d *Daemon) makeMetrics(cfg *config.Config) (part, error) {
	var token atomic.Value // a string: "" admits no client
	read := func(cfg *config.Config) { token.Store(d.metricsToken(cfg)) }
	read(cfg)
	var sites []httpSite
	for _, address := range cfg.Listen.Metrics {
		l, err := d.system.Listen(address)
		if err != nil {
			d.log.Warn("metrics are not served at this address; mail is not affected",
				"address", address, "error", err,
				"hint", "stop the program that holds the port, or change listen.metrics")
			continue
		}
		everyone := func(*http.Request) bool { return true }
		o := httpSite{l, nil, d.metrics.Handler(d.unready, everyone)}
		if !config.LoopbackOnly(address) {
			o.encrypted = d.metricsTLS()
			o.handler = d.metrics.Handler(d.unready, func(r *http.Request) bool {
				return metrics.HasToken(r, token.Load().(string)) || d.mayReadMetrics(r.TLS)
			})
		}
		sites = append(sites, o)
	}
	p := d.serveHTTP("metrics", "metrics are no longer served", metrics.Limits(), sites)
	p.reload = reloads(read)
	return p, nil
}

// metricsToken reads the token of metrics.token_file; "" without one.
func (d *Daemon) metricsToken(cfg *config.Config) string {
	if cfg.Metrics.TokenFile == "" {
		return ""
	}
	token, err := durable.ReadSecretLine(cfg.Metrics.TokenFile)
	if err != nil {
		d.log.Error("no token can read the metrics", "key", "metrics.token_file", "error", err)
	}
	return token
}

// metricsTLS asks clients for a certificate, whatever auth.client_certificates says.
func (d *Daemon) metricsTLS() *tls.Config {
	outer := d.certs.TLSConfig("metrics", d.logs[logging.TLS])
	choose := outer.GetConfigForClient
	outer.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		chosen, err := choose(hello) // a copy for this connection
		if err == nil {
			chosen.ClientAuth = tls.RequestClientCert
		}
		return chosen, err
	}
	return outer
}

// mayReadMetrics reports whether the client has a certificate of a mailbox in metrics.clients that
// was not revoked.
func (d *Daemon) mayReadMetrics(state *tls.ConnectionState) bool {
	address, fingerprint, ok := d.certs.ClientAddress(state, time.Now())
	if !ok {
		return false
	}
	a, err := addr.Parse(address)
	if err != nil || !slices.Contains(d.office.Config().Metrics.Clients, a.Fold()) {
		return false
	}
	box, err := d.office.Dir.Mailbox(a.Fold())
	return err == nil && !box.Account.Locked &&
		slices.ContainsFunc(box.Account.ClientCerts, func(c directory.ClientCert) bool {
			return c.Fingerprint == fingerprint
		})
}

func (d *Daemon) makeAlerts(*config.Config) (part, error) {
	postmaster := notify.NewPostmaster(d.office, d.delivery)
	alerts := alert.New(alert.Parts{
		Files:    d.office.Root,
		Settings: func() alert.Settings { return alertSettings(d.office.Config()) },
		Read:     d.readForAlerts,
		Mail: func(subject, body string) error {
			return postmaster.Write("alert", subject, body)
		},
		Client: alert.NewClient(&http.Transport{DialContext: d.dialTokenServer}),
		Log:    d.log,
	})
	return loop("alerts", alerts.Run), nil
}

func alertSettings(cfg *config.Config) alert.Settings {
	const day = 24 * time.Hour
	return alert.Settings{
		Enabled: cfg.Alerts.Enabled,
		Limits: alert.Limits{
			DiskPercent: cfg.Alerts.Disk,
			Certificate: time.Duration(cfg.Alerts.CertificateDays) * day,
			QueueAge:    cfg.Alerts.QueueAge, Bans: cfg.Alerts.Bans,
		},
		Webhook: cfg.Alerts.Webhook, SecretFile: cfg.Alerts.SecretFile,
		German: cfg.Reports.Language == config.GermanReports, Hostname: string(cfg.Hostname),
	}
}

// readForAlerts takes the reading that alerts are decided by.
func (d *Daemon) readForAlerts() alert.Reading {
	memory, disk, boxes := d.readMemory(), d.readings.Disk.Get(), d.readings.Mailboxes.Get()
	r := alert.Reading{
		Time: time.Now(), Answers: disk.Fresh && disk.Known, Banned: memory.Banned,
		DiskPercent: freePercent(disk.Value.Space), DiskFree: disk.Value.Space.Free,
		DamagedLogs: disk.Value.DamagedLogs, BackupFault: disk.Value.BackupFault,
		QueueOldest: memory.Queue.Oldest, QueueMessages: memory.Queue.Messages,
		Held: boxes.Value.Held, HeldOK: boxes.Fresh && boxes.Known,
	}
	if err := d.office.Store.Ready(); err != nil {
		r.StoreFault = err.Error()
	}
	for _, cert := range memory.Certificates {
		if r.CertificateEnd.IsZero() || cert.NotAfter.Before(r.CertificateEnd) {
			r.CertificateStart, r.CertificateEnd = cert.NotBefore, cert.NotAfter
		}
	}
	return r
}

// freePercent returns the free part of the room or of the inodes, whichever is smaller.
func freePercent(s durable.DiskSpace) int {
	percent := 100.0
	if s.Size > 0 {
		percent = float64(s.Free) / float64(s.Size) * 100
	}
	if s.Files > 0 {
		percent = min(percent, float64(s.FreeFiles)/float64(s.Files)*100)
	}
	return int(percent)
}

// makeTelemetry makes the part that sends the spans of messages. It is made before the events and
// stopped after them, so that it gets the last ones too.
func (d *Daemon) makeTelemetry(cfg *config.Config) (part, error) {
	d.telemetry = telemetry.New(telemetry.Parts{Dial: d.dialTokenServer, Log: d.log},
		d.telemetrySettings(cfg))
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	return part{
		name: "telemetry",
		start: func(context.Context) error {
			running.Go(func() { d.telemetry.Run(ctx) })
			return nil
		},
		reload: reloads(func(next *config.Config) {
			d.telemetry.SetSettings(d.telemetrySettings(next))
		}),
		stop: func(context.Context) { cancel(); running.Wait() },
	}, nil
}

func (d *Daemon) telemetrySettings(cfg *config.Config) telemetry.Settings {
	return telemetry.Settings{
		Endpoint: cfg.Telemetry.Endpoint, HeaderFile: cfg.Telemetry.HeaderFile,
		CAFile: cfg.Telemetry.CAFile, Addresses: cfg.Telemetry.Addresses,
		Hostname: string(cfg.Hostname), Version: d.system.Version,
	}
}
