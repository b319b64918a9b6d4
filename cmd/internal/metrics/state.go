package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"pillarbox/mailstore/durable"
	"pillarbox/smtp/badmail"
	"pillarbox/smtp/queue"
	"pillarbox/tls/certs"
)

// State reads the state of the server. Functions that are nil have no gauges. Memory answers from
// memory and must not wait. The functions of Disk and Mailboxes may wait for the disk: they are
// called in the background, and their last answer counts (see Sampler).
type State struct {
	Memory    func() Memory
	Disk      func() (Disk, error)
	Mailboxes func() (Mailboxes, error)
}

// Memory is what the server knows without a look at the disk.
type Memory struct {
	Sessions     map[string]int // open connections, by the service
	Queue        queue.State
	Badmail      badmail.Usage
	Certificates []certs.Info
	Banned       int    // client networks
	Dropped      uint64 // events of mail that were not stored
	SpansSent    uint64 // that a collector took
	SpansDropped uint64 // that it did not get
	Suppressed   int64  // reports and notices that were not sent
	Ready        bool   // see Readiness
}

// Disk is what a look at the data directory shows.
type Disk struct {
	Space       durable.DiskSpace
	LogFill     float64 // from 0 to 1
	DamagedLogs int     // damaged files of the log that were kept
	// Backup is the time of the last whole backup, zero if there is none. BackupFault says why a
	// person must look.
	Backup      time.Time
	BackupFault string
}

// Mailboxes are counts over all mailboxes.
type Mailboxes struct {
	Count int
	Held  []string // addresses of accounts that sent too much and are held
	// Above has the number of mailboxes with at least so many per cent of a limit in use.
	Above map[int]int
}

// QuotaLevels are the keys of Mailboxes.Above.
func QuotaLevels() []int { return []int{80, 90, 100} }

const (
	// diskAge and mailboxAge are the ages up to which an answer is given again without a new look.
	diskAge    = 5 * time.Second
	mailboxAge = 5 * time.Minute
	// patience is how long a scrape waits for a look. Then it gets the answer before.
	patience = 2 * time.Second
)

// Readings are the samplers of one State. Metrics and alerts share them.
type Readings struct {
	Memory    func() Memory
	Disk      *Sampler[Disk]
	Mailboxes *Sampler[Mailboxes]
}

// NewReadings returns samplers that have looked at nothing yet.
func NewReadings(s State) *Readings {
	return &Readings{
		Memory:    s.Memory,
		Disk:      NewSampler(diskAge, patience, s.Disk),
		Mailboxes: NewSampler(mailboxAge, patience, s.Mailboxes),
	}
}

// Watch adds the gauges of the server's state. It must be called once, before the first scrape.
func (m *Metrics) Watch(r *Readings) { m.registry.MustRegister(&stateCollector{readings: r}) }

// stateCollector reads the state at each scrape.
type stateCollector struct{ readings *Readings }

// gauge describes one metric of the state.
func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prefix+"_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector. It sends nothing: the metrics depend on the state.
func (c *stateCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(out chan<- prometheus.Metric) {
	set := func(value float64, d *prometheus.Desc, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	count := func(value float64, d *prometheus.Desc) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, value)
	}
	// Both looks begin before either is waited for.
	var both sync.WaitGroup
	var disk Sample[Disk]
	var boxes Sample[Mailboxes]
	both.Go(func() { disk = c.readings.Disk.Get() })
	both.Go(func() { boxes = c.readings.Mailboxes.Get() })
	collectMemory(c.readings.Memory(), set, count)
	both.Wait()
	set(truth(disk.Fresh), gauge("disk_answers",
		"1 if the disk answered in time; 0: the values of the disk are old, or missing."))
	if disk.Known {
		collectDisk(disk.Value, set)
	}
	if boxes.Known {
		collectMailboxes(boxes.Value, set)
	}
}

type setter func(value float64, d *prometheus.Desc, labels ...string)

func collectMemory(s Memory, set setter, count func(float64, *prometheus.Desc)) {
	sessions := map[string]int{}
	for service, n := range s.Sessions {
		sessions[serviceLabel(service)] += n
	}
	for service, n := range sessions {
		set(float64(n), gauge("sessions", "Open connections.", "service"), service)
	}
	set(float64(s.Queue.Messages), gauge("queue_messages", "Messages for other servers."))
	held := gauge("queue_held_messages",
		"Messages that an administrator holds (admin), or that wait for ETRN.", "by")
	set(float64(s.Queue.Held), held, "admin")
	set(float64(s.Queue.ETRNHeld), held, "etrn")
	set(age(s.Queue.Oldest), gauge("queue_oldest_age_seconds",
		"Age of the oldest message that is not held; 0 without one."))
	set(float64(s.Badmail.Messages), gauge("badmail_messages",
		"Messages that could neither be delivered nor returned."))
	set(float64(s.Badmail.Size), gauge("badmail_bytes", "Their size."))
	set(float64(s.Banned), gauge("banned_networks", "Client networks that are banned now."))
	count(float64(s.Dropped), gauge("events_dropped_total",
		"Events of mail that were not stored."))
	count(float64(s.SpansSent), gauge("trace_spans_sent_total",
		"Spans that the collector of [telemetry] took."))
	count(float64(s.SpansDropped), gauge("trace_spans_dropped_total",
		"Spans that it did not get: it did not answer, or rejected them, or they came too fast."))
	count(float64(s.Suppressed), gauge("reports_suppressed_total",
		"Reports and notices that were not sent."))
	set(truth(s.Ready), gauge("ready", "1 if the server takes mail: see /readyz."))
	expiry := gauge("certificate_expiry_timestamp_seconds",
		"When a certificate in use ends.", "source", "key")
	ends := map[[2]string]time.Time{}
	for _, cert := range s.Certificates {
		labels := [2]string{sourceLabel(cert.Source), keyLabel(cert.Key)}
		if end, ok := ends[labels]; !ok || cert.NotAfter.Before(end) {
			ends[labels] = cert.NotAfter
		}
	}
	for labels, end := range ends {
		set(float64(end.Unix()), expiry, labels[0], labels[1])
	}
}

func collectDisk(d Disk, set setter) {
	set(float64(d.Space.Size), gauge("disk_size_bytes", "Size of the data directory's disk."))
	set(float64(d.Space.Free), gauge("disk_free_bytes", "Free room on it for the server."))
	set(float64(d.Space.Files), gauge("disk_inodes", "Files that fit on it; 0: no limit."))
	set(float64(d.Space.FreeFiles), gauge("disk_inodes_free", "Files that still fit on it."))
	set(d.LogFill, gauge("log_fill_ratio", "Used part of the store's log, from 0 to 1."))
	set(float64(d.DamagedLogs), gauge("damaged_logs",
		"Damaged files of the store's log that were kept."))
	if !d.Backup.IsZero() {
		set(float64(d.Backup.Unix()), gauge("backup_success_timestamp_seconds",
			"When the last whole backup began, as a Unix time."))
	}
}

func collectMailboxes(b Mailboxes, set setter) {
	set(float64(b.Count), gauge("mailboxes", "Mailboxes of all domains."))
	set(float64(len(b.Held)), gauge("held_accounts",
		"Accounts that sent too much to other servers and are held."))
	above := gauge("mailboxes_above_quota_level",
		"Mailboxes that use at least this percentage of a limit.", "percent")
	for _, level := range QuotaLevels() {
		set(float64(b.Above[level]), above, percentLabel(level))
	}
}

func percentLabel(level int) string {
	switch level {
	case 80:
		return "80"
	case 90:
		return "90"
	case 100:
		return "100"
	}
	return other
}

func sourceLabel(s certs.Source) string {
	switch s {
	case certs.FromOwnCA:
		return "own_ca"
	case certs.FromACME:
		return "acme"
	}
	return "files"
}

func keyLabel(key string) string {
	switch key {
	case "RSA", "ECDSA":
		return key
	}
	return other
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// age returns the seconds since t; 0 for the zero time.
func age(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(0, time.Since(t).Seconds())
}
