// Package metrics counts what happens to mail and measures the state of the server, for Prometheus.
//
// Start with [New]. [Metrics.Read] is a reader of track: it counts events while they happen.
// [Metrics.Took] takes the times of the store, [Metrics.Log] counts log lines. [Metrics.Watch] adds
// the gauges, which read the server's state when they are asked for ([State]); a disk that does not
// answer delays no answer ([Sampler]). [Metrics.Handler] serves it all by HTTP, and [Serve] limits
// how much a client can cost.
//
// Labels have few values: services, rules and routes that the server knows, and "other". No address
// and no name of a mailbox is ever a label.
package metrics

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"pillarbox/mailstore"
	"pillarbox/mailstore/track"
)

const prefix = "pillarbox"

// other replaces a label value that the server does not know.
const other = "other"

// Names are the values that labels may have.
type Names struct {
	Rules []string                    // see policy.RuleNames
	Route func(name string) (ok bool) // reports whether the configuration has the route
}

// Metrics are the counters of one server. They are safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	route    func(string) bool
	rules    map[string]bool

	events      *prometheus.CounterVec // by event
	connections *prometheus.CounterVec // by service
	tls         *prometheus.CounterVec // by service, version
	logins      *prometheus.CounterVec // by service, result
	refusals    *prometheus.CounterVec // by service, verdict, rule
	accepted    *prometheus.CounterVec // by service
	sizes       *prometheus.HistogramVec
	recipients  *prometheus.HistogramVec
	deliveries  *prometheus.CounterVec // by result
	attempts    *prometheus.CounterVec // by route, result
	delays      *prometheus.HistogramVec
	fetched     *prometheus.CounterVec // by service
	fetchedSize *prometheus.CounterVec
	store       *prometheus.HistogramVec // by step
	lines       *prometheus.CounterVec   // by level
}

// New returns counters that are all zero, and those of the Go runtime and the process.
func New(names Names) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), route: names.Route, rules: map[string]bool{}}
	for _, rule := range names.Rules {
		m.rules[rule] = true
	}
	m.events = m.counter("events_total", "Events of mail, as in the event log.", "event")
	m.connections = m.counter("connections_total", "Connections of clients.", "service")
	m.tls = m.counter("tls_connections_total", "Connections with TLS.", "service", "version")
	m.logins = m.counter("logins_total", "Logins: ok or failed.", "service", "result")
	m.refusals = m.counter("refusals_total", "Refused commands and messages: for good (refused) "+
		"or for now (deferred), by the rule that decided.", "service", "verdict", "rule")
	m.accepted = m.counter("messages_accepted_total", "Messages that are durable here.", "service")
	m.sizes = m.histogram("message_size_bytes", "Sizes of accepted messages.",
		[]float64{1e3, 1e4, 1e5, 1e6, 1e7, 1e8}, "service")
	m.recipients = m.histogram("message_recipients", "Recipients of accepted messages.",
		[]float64{1, 2, 5, 10, 20, 50, 100}, "service")
	m.deliveries = m.counter("deliveries_total",
		"Messages to mailboxes here: delivered or over_quota.", "result")
	m.attempts = m.counter("relay_attempts_total", "Results for recipients on other servers: sent, "+
		"deferred or failed.", "route", "result")
	m.delays = m.histogram("relay_delay_seconds", "Time from a message's arrival until another "+
		"server took it.", []float64{1, 5, 30, 60, 300, 900, 3600, 14400, 86400, 172800}, "route")
	m.fetched = m.counter("messages_fetched_total", "Messages that clients fetched.", "service")
	m.fetchedSize = m.counter("fetched_bytes_total", "Octets of fetched messages.", "service")
	m.store = m.histogram("store_duration_seconds", "Time that the store took: commit until a "+
		"message is durable, flush of its log, sync of the file system.",
		[]float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30}, "step")
	m.lines = m.counter("log_lines_total", "Lines of the log at the levels warn and error.", "level")
	m.start()
	m.registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// start makes the series whose labels are fixed, so that an alert sees their first increase.
func (m *Metrics) start() {
	for _, level := range []string{"warn", "error"} {
		m.lines.WithLabelValues(level)
	}
	for _, step := range []mailstore.Step{
		mailstore.StepCommit, mailstore.StepFlush, mailstore.StepSync,
	} {
		m.store.WithLabelValues(string(step))
	}
	for _, result := range []string{"delivered", "over_quota"} {
		m.deliveries.WithLabelValues(result)
	}
	for _, service := range listening() {
		m.connections.WithLabelValues(service)
	}
	for _, service := range []string{"smtp", "submission", "smtps"} {
		m.accepted.WithLabelValues(service)
		m.logins.WithLabelValues(service, "ok")
		m.logins.WithLabelValues(service, "failed")
	}
	for _, kind := range []track.Kind{track.Badmail, track.Reported, track.OverQuota} {
		m.events.WithLabelValues(eventLabel(kind))
	}
	for _, result := range []string{"sent", "deferred", "failed"} {
		m.attempts.WithLabelValues("default", result)
	}
}

func (m *Metrics) counter(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: prefix, Name: name, Help: help,
	}, labels)
	m.registry.MustRegister(v)
	return v
}

func (m *Metrics) histogram(
	name, help string, buckets []float64, labels ...string,
) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: prefix, Name: name, Help: help, Buckets: buckets,
	}, labels)
	m.registry.MustRegister(v)
	return v
}

// Read counts an event. It is a track.Reader: it neither waits nor keeps e.
func (m *Metrics) Read(e *track.Event) {
	m.events.WithLabelValues(eventLabel(e.Kind)).Inc()
	service := serviceLabel(e.Service)
	switch e.Kind {
	case track.Connected:
		m.connections.WithLabelValues(service).Inc()
	case track.Secured:
		m.tls.WithLabelValues(service, versionLabel(e.Text)).Inc()
	case track.LoggedIn:
		m.logins.WithLabelValues(service, "ok").Inc()
	case track.LoginFailed:
		m.logins.WithLabelValues(service, "failed").Inc()
	case track.Refused:
		m.refusals.WithLabelValues(service, verdictLabel(e.Reply), m.ruleLabel(e.Rule)).Inc()
	case track.Accepted:
		m.accepted.WithLabelValues(service).Inc()
		m.sizes.WithLabelValues(service).Observe(float64(e.Size))
		m.recipients.WithLabelValues(service).Observe(float64(e.Count))
	case track.Delivered:
		m.deliveries.WithLabelValues("delivered").Inc()
	case track.OverQuota:
		m.deliveries.WithLabelValues("over_quota").Inc()
	case track.Relayed:
		m.attempts.WithLabelValues(m.routeLabel(e.Route), "sent").Inc()
		m.delayed(e)
	case track.Deferred:
		m.attempts.WithLabelValues(m.routeLabel(e.Route), "deferred").Inc()
	case track.Failed:
		m.attempts.WithLabelValues(m.routeLabel(e.Route), "failed").Inc()
	case track.Fetched:
		m.fetched.WithLabelValues(service).Inc()
		m.fetchedSize.WithLabelValues(service).Add(float64(max(0, e.Size)))
	}
}

// delayed observes how long a message took from its arrival, which is in its ID.
func (m *Metrics) delayed(e *track.Event) {
	if arrived := mailstore.IDTime(e.ID); !arrived.IsZero() {
		m.delays.WithLabelValues(m.routeLabel(e.Route)).
			Observe(max(0, e.Time.Sub(arrived).Seconds()))
	}
}

// Took observes how long a step of the store took.
func (m *Metrics) Took(step mailstore.Step, took time.Duration) {
	m.store.WithLabelValues(string(step)).Observe(took.Seconds())
}

// Log returns a handler that counts the lines it passes on.
func (m *Metrics) Log(to slog.Handler) slog.Handler { return counting{to, m.lines} }

// counting counts lines at the levels warn and error.
type counting struct {
	slog.Handler
	lines *prometheus.CounterVec
}

func (c counting) Handle(ctx context.Context, r slog.Record) error {
	switch {
	case r.Level >= slog.LevelError:
		c.lines.WithLabelValues("error").Inc()
	case r.Level >= slog.LevelWarn:
		c.lines.WithLabelValues("warn").Inc()
	}
	return c.Handler.Handle(ctx, r)
}

func (c counting) WithAttrs(attrs []slog.Attr) slog.Handler {
	return counting{c.Handler.WithAttrs(attrs), c.lines}
}

func (c counting) WithGroup(name string) slog.Handler {
	return counting{c.Handler.WithGroup(name), c.lines}
}

// listening are the services that clients connect to, by their keys under [listen].
func listening() []string {
	return []string{"smtp", "submission", "smtps", "odmr", "pop3", "pop3s", "local"}
}

// sources are the other services of events: where mail comes from that no client sends.
func sources() []string {
	return []string{"badmail", "fetch", "notice", "pickup", "quarantine", "report"}
}

func serviceLabel(name string) string {
	switch {
	case name == "":
		return "none"
	case slices.Contains(listening(), name), slices.Contains(sources(), name):
		return name
	}
	return other
}

func (m *Metrics) ruleLabel(name string) string {
	switch {
	case name == "":
		return "none"
	case m.rules[name]:
		return name
	}
	return other
}

func (m *Metrics) routeLabel(name string) string {
	switch {
	case name == "":
		return "none"
	case name == "default" || m.route != nil && m.route(name):
		return name
	}
	return other
}

func eventLabel(k track.Kind) string { return strings.ReplaceAll(k.String(), " ", "_") }

// verdictLabel returns what an SMTP reply means.
func verdictLabel(reply string) string {
	if strings.HasPrefix(reply, "4") {
		return "deferred"
	}
	return "refused"
}

// versionLabel returns the version of TLS that a text begins with, such as "TLS 1.3 …".
func versionLabel(text string) string {
	for _, version := range []string{"1.3", "1.2", "1.1", "1.0"} {
		if strings.HasPrefix(text, "TLS "+version) || strings.HasPrefix(text, "TLS"+version) {
			return version
		}
	}
	return other
}
