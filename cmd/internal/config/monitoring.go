package config

import (
	"fmt"
	"net"
	"net/url"
	"time"

	"pillarbox/mailstore/addr"
)

// Metrics decides who may read the figures over the network.
type Metrics struct {
	TokenFile string         // absolute path; the first line is the token; "": none
	Clients   []addr.Address // mailboxes whose client certificates may read; folded
}

// Alerts holds the thresholds of the alerts, and their webhook.
type Alerts struct {
	Enabled         bool
	Disk            int           // per cent that must be free; 0: no alert
	CertificateDays int           // 0: no alert
	QueueAge        time.Duration // 0: no alert
	Bans            int           // 0: no alert
	Webhook         string        // URL; "": none
	SecretFile      string        // absolute path; its first line is the key of the signature
}

// Backup decides where, when and for how long backups are kept.
type Backup struct {
	Dir                    string          // absolute path; "": the server makes none
	At                     []time.Duration // times of day, since midnight
	Daily, Weekly, Monthly int             // days, weeks and months that keep their last backup
}

// Telemetry decides where the spans of messages go.
type Telemetry struct {
	Endpoint   string // URL of a collector; "": none
	HeaderFile string // absolute path; its first line is a header field; "": none
	CAFile     string // absolute path; "": the CAs of the system
	Addresses  bool   // spans have mail addresses and replies of other servers
}

// webhookURL parses the URL of a webhook. Without encryption it may be on this machine only.
var webhookURL = plain(safeURL("a webhook", "https://alerts.office.example/mail"))

// collectorURL parses the URL of a collector in the same way.
var collectorURL = plain(safeURL("a collector", "https://collector.office.example:4318"))

// safeURL returns a parser of the URL of something that gets data of this server.
func safeURL(what, example string) func(string) (string, error) {
	return func(s string) (string, error) {
		u, err := url.Parse(s)
		switch {
		case err != nil || u.Hostname() == "" || !isHost(u.Hostname()) || u.User != nil,
			u.Scheme != "https" && u.Scheme != "http":
			return "", wrong("is not the URL of "+what, `write "`+example+`"`)
		case u.Scheme == "http" && !isLoopback(u.Hostname()):
			return "", wrong("has no encryption", "write a URL that begins with https://")
		}
		return s, nil
	}
}

// LoopbackOnly reports whether an address to listen on is reached from this machine only.
func LoopbackOnly(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && isLoopback(host)
}

// checkMonitoring reports figures that every machine could read, and a webhook without a signature.
func (l *loader) checkMonitoring() {
	const listen, token, hook, secret = "listen.metrics", "metrics.token_file", "alerts.webhook",
		"alerts.secret_file"
	c := &l.config
	if c.Metrics.TokenFile != "" && l.sound(token) {
		l.checkSecret(token, c.Metrics.TokenFile)
	}
	if l.sound(listen) && l.sound(token) && c.Metrics.TokenFile == "" && len(c.Metrics.Clients) == 0 {
		for _, address := range c.Listen.Metrics {
			if !LoopbackOnly(address) {
				l.keyProblem(listen, fmt.Sprintf("other machines could read the figures at %q",
					address), `write "127.0.0.1:9125", or set metrics.token_file or metrics.clients`)
				break
			}
		}
	}
	switch {
	case !l.sound(hook) || !l.sound(secret):
	case c.Alerts.SecretFile != "":
		l.checkSecret(secret, c.Alerts.SecretFile)
	case c.Alerts.Webhook != "":
		l.keyProblem(hook, "has no key for its signature",
			"write one into a file of its own ('openssl rand -hex 32') and name it in "+secret)
	}
	const header, ca = "telemetry.header_file", "telemetry.ca_file"
	if c.Telemetry.HeaderFile != "" && l.sound(header) {
		l.checkSecret(header, c.Telemetry.HeaderFile)
	}
	if c.Telemetry.CAFile != "" && l.sound(ca) {
		l.checkCA(ca, c.Telemetry.CAFile)
	}
}
