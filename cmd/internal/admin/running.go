package admin

import (
	"context"
	"errors"
	"time"

	"pillarbox/cmd/internal/logging"
	"pillarbox/cmd/internal/recentlog"
	"pillarbox/cmd/internal/sysinfo"
	"pillarbox/cmd/internal/traffic"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/sessions"
	"pillarbox/smtp/delivery"
	"pillarbox/smtp/queue"
	"pillarbox/smtp/remote"
	"pillarbox/tls/certs"
)

// Running holds the parts of the running server that verbs use. The daemon sets it in
// Service.Running before it serves. All parts are safe for concurrent use.
type Running struct {
	Reload func() ReloadResult // applies the configuration file as it is now
	// FileChanges returns the keys that a reload would change, or why the file cannot be loaded.
	FileChanges func() ([]string, error)
	Queue       Queue
	Delivery    *delivery.Dispatcher // delivers messages that do not come by SMTP
	Bans        Bans
	ACME        ACME
	Fetch       Fetch
	// TLSClients returns the TLS that each client has used since the start.
	TLSClients func() []certs.Client
	// Suppressed counts the reports and notices that were not sent since the start, because the
	// sender was not verified or a limit was reached.
	Suppressed func() int64
	// StartBackup makes the backup of the configuration soon. It returns false if one is at work.
	StartBackup func() bool
	// Probe tests the route of mail from one address to another, and passes on each step.
	Probe func(ctx context.Context, to, from addr.Address, step func(remote.Step))

	Version     string
	Since       time.Time                  // the start of the server
	Listeners   func() map[string][]string // the addresses of each key under [listen]
	Sessions    *sessions.Table            // the clients that are connected
	Today       func() traffic.Day         // the mail of the current day
	Hours       func() []traffic.Hour      // that of the last 24 hours
	DiskSamples func() []sysinfo.Sample    // of the data directory, the oldest first
	Errors      func() []recentlog.Entry   // the latest warnings and errors of the log
	Levels      *logging.Levels            // of the log, for each part
	LogTail     *logging.Tail              // the end of the log
}

// Queue is the running server's queue.
type Queue interface {
	List(f queue.Filter, limit int) (items []*queue.Item, count int, err error)
	Do(action queue.Action, f queue.Filter) (count int, err error)
	Readmit(id string) // takes in what the quarantine gave back
	Newer() []string   // IDs of messages that stay untouched: see queue.NewerError
	Len() int
	Active() []queue.Active
	Destinations() []queue.Destination
}

// ErrNotRunning means that no server serves the data directory.
var ErrNotRunning = errors.New("the server is not running")

// server returns the running server, for verbs that need it to do something: "answer". The error is
// ErrNotRunning.
func (o *Service) server(do string) (*Running, error) {
	if o.Running != nil {
		return o.Running, nil
	}
	return nil, Hint(ErrNotRunning, "only a running server can %s; 'pillarbox serve' starts it", do)
}

// ReloadResult is the result of a reload of the configuration.
type ReloadResult struct {
	Changed []string `json:"changed"` // keys that have another value now
	Restart []string `json:"restart"` // changed keys that a running server cannot take
	// Warnings are about settings that deserve a look, and mailboxes that they lock out.
	Warnings []string `json:"warnings,omitempty"`
	Error    string   `json:"error,omitempty"` // why nothing was changed
}

// Reload makes the running server apply the configuration file.
func (o *Service) Reload() (ReloadResult, error) {
	if o.Running == nil {
		return ReloadResult{}, Hint(ErrNotRunning,
			"no reload is needed: 'pillarbox serve' reads the file when it starts")
	}
	r := o.Running.Reload()
	if r.Error == "" {
		o.Record("configuration", nil, map[string]any{"changed": r.Changed})
	}
	return r, nil
}
