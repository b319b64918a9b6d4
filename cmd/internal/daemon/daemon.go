// Package daemon is the server as a whole: it makes the parts of the server, joins them, starts
// them, applies a changed configuration to them, and stops them.
//
// This page is the wiring. A part has up to three verbs: start, reload and stop ([part]).
// [Daemon.makers] is the list of parts, with the reasons for its order. How each part is made is in
// data.go, inbound.go, outbound.go and control.go; what each takes from the configuration is in settings.go.
// The parts themselves are other packages. No decision about mail belongs here.
package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/fetch"
	"pillarbox/cmd/internal/logging"
	"pillarbox/cmd/internal/metrics"
	"pillarbox/cmd/internal/netinfo"
	"pillarbox/cmd/internal/recentlog"
	"pillarbox/cmd/internal/systemd"
	"pillarbox/cmd/internal/telemetry"
	"pillarbox/cmd/internal/traffic"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/auth/oauth"
	"pillarbox/mailstore/dialogue"
	"pillarbox/mailstore/sessions"
	"pillarbox/mailstore/track"
	"pillarbox/pop3"
	"pillarbox/smtp/badmail"
	"pillarbox/smtp/connlimit"
	"pillarbox/smtp/decisionlog"
	"pillarbox/smtp/delivery"
	"pillarbox/smtp/policy"
	"pillarbox/smtp/queue"
	"pillarbox/smtp/remote"
	"pillarbox/smtp/server"
	"pillarbox/smtp/verify"
	"pillarbox/tls/acme"
	"pillarbox/tls/certs"
)

// shutdownTimeout limits the time that sessions have to finish their command.
const shutdownTimeout = 30 * time.Second

// System is what the server takes from the system that it runs on. Only Load must be set; the other
// fields default to the real system. A simulation replaces them.
type System struct {
	Load func() (*config.Config, error) // reads the configuration, also at each reload
	Out  io.Writer                      // receives the log lines; nil discards them

	// Open opens the data directory.
	Open func(cfg *config.Config, log *slog.Logger) (*admin.Service, error)
	// Listen opens a port, Control the control socket.
	Listen  func(address string) (net.Listener, error)
	Control func() (net.Listener, error)
	// UnusedSockets returns the addresses of sockets that systemd has passed and that Listen has not returned.
	UnusedSockets func() []string
	Reporter      *systemd.Reporter // nil: systemd wants no reports
	// Dial connects to mail servers.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// DNS answers the look-ups of SPF, DKIM and DMARC.
	DNS verify.Resolver

	Version string // of the program, for "pillarbox admin status"

	LogSize    int64  // see mailstore.RecoverOptions
	FreeMemory func() // see auth.Options
}

// Daemon is a server. Start makes it, Run serves.
type Daemon struct {
	system System
	parts  []part     // in the order of makers
	failed chan error // a part cannot go on; Run returns the first error
	levels logging.Levels
	logs   [logging.NumParts]*slog.Logger
	log    *slog.Logger // of logging.Server

	started     time.Time
	recentLog   *recentlog.Handler // through which log writes
	logTail     logging.Tail       // the end of what was written
	sessions    sessions.Table     // of the clients that are connected
	tap         dialogue.Tap       // what these say
	traffic     *traffic.Counter
	diskSamples diskSamples
	metrics     *metrics.Metrics  // reads the events of mail
	readings    *metrics.Readings // the state of the server, for metrics and alerts
	serving     atomic.Bool       // clients are served
	telemetry   *telemetry.Telemetry

	reloading sync.Mutex // one reload at a time

	// The parts that other parts use. Each is set by its maker and not changed afterwards.
	office    *admin.Service
	certs     *certs.Manager
	acme      *acme.Renewer
	bans      *auth.Bans
	logins    *auth.Authenticator
	recent    *auth.Recent // logins by POP3, for clients that may then send
	limiter   *connlimit.Limiter
	accounts  *connlimit.Accounts // sessions of each user who sends
	resolver  resolver
	decisions *decisionlog.Log
	events    *track.Log
	badmail   *badmail.Store
	delivery  *delivery.Dispatcher
	tokens    *oauth.Tokens // of logins to other servers
	sender    *remote.Sender
	queue     *queue.Queue
	restored  chan struct{} // receives a value after the store was recovered
	accepted  sync.Map      // keys: IDs of messages that the store's log named in a recovery
	fetch     *fetch.Scheduler
	backups   backups
	smtp      *server.Server
	pop3      *pop3.Server
	listeners []listener
}

// part is one piece of the server. A verb that a part does not need is nil.
type part struct {
	name string // for the log
	// start begins the part's work and returns. The work ends soon after ctx.
	start func(ctx context.Context) error
	// reload applies another configuration.
	reload func(next *config.Config) error
	// stop returns when the part's work has ended and its resources are free. The context of start
	// has ended before. ctx limits the time for clients. A part may be stopped without a start.
	stop func(ctx context.Context)
}

// loop returns a part whose work is functions that run until their context ends.
func loop(name string, run ...func(ctx context.Context)) part {
	var running sync.WaitGroup
	return part{
		name: name,
		start: func(ctx context.Context) error {
			for _, r := range run {
				running.Go(func() { r(ctx) })
			}
			return nil
		},
		stop: func(context.Context) { running.Wait() },
	}
}

// reloads returns a reload that cannot fail.
func reloads(apply func(next *config.Config)) func(*config.Config) error {
	return func(next *config.Config) error { apply(next); return nil }
}

// maker makes a part and sets the part's field of Daemon. On an error, the part's stop releases
// what the maker has taken.
type maker func(cfg *config.Config) (part, error)

// makers returns the parts in the order in which they are made, started and reloaded. They are
// stopped in the opposite order.
func (d *Daemon) makers() []maker {
	return []maker{
		// The data directory is opened, locked and recovered. No other part may read a store that
		// another process uses, or that is half recovered. It is stopped last, so that every part
		// can still write.
		d.makeAdmin,
		d.makeLock,
		d.makeStore,
		d.makeOwnerCheck,
		d.makeMonitor,

		// Certificates are the only part that can refuse another configuration. They reload before
		// all other parts, so that a refused configuration changes nothing.
		d.makeCertificates,
		d.makeACME,

		// What the servers and the queue ask: settings, spans, events, logins, limits, DNS, the decision log.
		// Logins reload after the settings, from which they take their methods.
		d.makeLogLevels,
		d.makeSettings,
		d.makeTelemetry,
		d.makeEvents,
		d.makeLogins,
		d.makeLastLogins,
		d.makeLimits,
		d.makeDNS,
		d.makeDecisionLog,

		// The way out. The queue delivers through the sender, so the sender closes its connections
		// after the queue has stopped. Messages that are collected, picked up or written by the
		// server itself are delivered like received ones.
		d.makeDelivery,
		d.makeSender,
		d.makeQueue,
		d.makeFetch,
		d.makePickup,
		d.makeQuotaNotices,
		d.makeRetention,
		d.makeBackups,

		// What the server says about itself. It asks all parts above, and tells who asks too early
		// that the server is not ready.
		d.makeReadings,
		d.makeMetrics,
		d.makeAlerts,

		// The sockets and the page of administrators, and reloads by time. They use the parts above, so
		// they end before these stop.
		d.makeControl,
		d.makeWeb,
		d.makeUpdates,

		// The logs of what clients say. They end after the sessions.
		d.makeDialogueLogs,

		// Clients come last: all that they use is ready. Their sessions end first.
		d.makeServers,

		// systemd hears that the server is ready when all of it is, and that it stops before any part does.
		d.makeReporter,
	}
}

// Start reads the configuration with load, makes the parts of the server and opens its ports. It
// serves no client before Run. Log lines go to out.
func Start(load func() (*config.Config, error), out io.Writer) (*Daemon, error) {
	return StartWith(System{Load: load, Out: out})
}

// StartWith is Start with a system of the caller.
func StartWith(system System) (*Daemon, error) {
	if system.Out == nil {
		system.Out = io.Discard
	}
	if system.Open == nil {
		system.Open = admin.Open
	}
	if system.Listen == nil {
		system.Listen = netinfo.Listen
	}
	cfg, err := system.Load()
	if err != nil {
		return nil, err
	}
	d := &Daemon{
		system:   system,
		failed:   make(chan error, 1),
		restored: make(chan struct{}, 1),
		started:  time.Now(),
		traffic:  traffic.New(),
	}
	d.metrics = metrics.New(metrics.Names{Rules: policy.RuleNames(), Route: d.hasRoute})
	d.openLogs(cfg)
	for _, makePart := range d.makers() {
		p, err := makePart(cfg)
		d.parts = append(d.parts, p)
		if err != nil {
			d.stop()
			return nil, admin.OwnerError(cfg.Data, err)
		}
	}
	return d, nil
}

// openLogs makes the logger of each part. The latest warnings and errors are kept at any level.
func (d *Daemon) openLogs(cfg *config.Config) {
	d.levels.Configure(cfg.Log.Level, cfg.Log.Levels)
	lines := logging.Lines(d.system.Out, &d.logTail, cfg.Log.Format == config.JSONLog)
	d.recentLog = recentlog.New(d.metrics.Log(lines))
	for p := range d.logs {
		filtered := d.levels.Handler(logging.Part(p), lines)
		d.logs[p] = slog.New(d.recentLog.Over(d.metrics.Log(filtered)))
	}
	d.log = d.logs[logging.Server]
}

// Run serves until ctx ends, then lets sessions finish their command. Each value from reload
// applies the configuration anew. Run must be called once.
func (d *Daemon) Run(ctx context.Context, reload <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := d.start(ctx); err != nil {
		cancel()
		d.stop()
		if d.office != nil {
			err = admin.OwnerError(d.office.Root.Name(), err)
		}
		return err
	}
	d.warnOfSettings()
	d.log.Info("pillarbox is ready",
		"hostname", d.office.Config().Hostname, "data", d.office.Root.Name())
	err := d.wait(ctx, reload)
	d.log.Info("stopping")
	cancel()
	d.stop()
	d.log.Info("stopped")
	return err
}

func (d *Daemon) start(ctx context.Context) error {
	for _, p := range d.parts {
		if p.start == nil {
			continue
		}
		if err := p.start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// wait returns when ctx ends or a part has failed.
func (d *Daemon) wait(ctx context.Context, reload <-chan struct{}) error {
	for {
		select {
		case <-reload:
			d.reloadFor(admin.Actor{Who: "server", From: "signal", Act: "reload"}, d.system.Load)
		case <-d.restored:
			if err := d.queue.Rescan(); err != nil {
				d.log.Error("cannot read the queue", "error", err)
			}
		case err := <-d.failed:
			return err
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
				return cause
			}
			return nil
		}
	}
}

// fail makes Run return with err.
func (d *Daemon) fail(err error) {
	select {
	case d.failed <- err:
	default:
	}
}

// stop stops the parts, the last one first.
func (d *Daemon) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	for _, p := range slices.Backward(d.parts) {
		if p.stop != nil {
			p.stop(ctx)
			d.log.Debug("part stopped", "part", p.name)
		}
	}
}

// Office returns the administration of the data directory. The server closes it.
func (d *Daemon) Office() *admin.Service { return d.office }

// Queue returns the server's queue.
func (d *Daemon) Queue() *queue.Queue { return d.queue }

// Addresses returns the addresses that are served, by their key under [listen].
func (d *Daemon) Addresses() map[string][]string {
	all := make(map[string][]string)
	for _, l := range d.listeners {
		all[l.service] = append(all[l.service], l.Addr().String())
	}
	return all
}
