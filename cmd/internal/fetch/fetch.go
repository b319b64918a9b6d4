// Package fetch collects our mail from other servers, by the [[fetch]] entries of the
// configuration: it asks for waiting mail by ETRN, and empties POP3 mailboxes.
//
// Start with [New] and [Scheduler.Run]. The Scheduler decides when each entry is due and starts it
// (due.go), an entry asks its server (entry.go), and each collected message is delivered as if a
// server had sent it (message.go). Package pop3/collect speaks POP3.
//
// Each entry runs in a goroutine of its own: an entry that fails or hangs delays no other entry.
// An entry that keeps failing is tried less and less often.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth/oauth"
	"pillarbox/mailstore/durable"
	"pillarbox/pop3/collect"
	"pillarbox/smtp"
	"pillarbox/smtp/badmail"
	"pillarbox/smtp/dns"
	"pillarbox/smtp/queue"
	"pillarbox/smtp/route"
)

const (
	checkInterval = time.Minute      // between checks of the clock, which may be set meanwhile
	nowTimeout    = 50 * time.Second // for Now to wait for results
)

// Config is what a reload can change.
type Config struct {
	Entries  []config.Fetch
	Hostname string   // ours
	MaxSize  int64    // of a message, in octets; 0 means no limit
	MaxHops  int      // Received fields of a message; 0 means no limit
	DNS      []string // "ip:port" of resolvers; empty: those of the system
}

// Parts are the parts of the server that a Scheduler works with. All must be set.
type Parts struct {
	Files durable.FS // remembers what was collected from each mailbox

	// Inject delivers a message. It returns nil once the message is durable.
	Inject func(env *smtp.Envelope, source queue.Source, from string, message io.Reader) (
		id string, err error)
	// Resolve reports whether mail to an address has a destination.
	Resolve func(to addr.Address) (exists bool, err error)
	// Keep puts a message that loops into badmail.
	Keep func(id string, m badmail.Message) error
	// AskETRN asks a server to send the mail that waits for node (RFC 1985).
	AskETRN func(ctx context.Context, host route.Host, rt *route.Route, node string) (
		smtp.Reply, error)
	// Tokens gets the access tokens of entries with OAuth.
	Tokens *oauth.Tokens
	// Own reports whether an address is a POP3 port of this server.
	Own func(netip.AddrPort) bool
	// Sent receives a value after mail was sent to another server.
	Sent <-chan struct{}
	Log  *slog.Logger
}

// Result is the result of asking one entry.
type Result struct {
	Name    string    `json:"name"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"` // zero: still running
	ETRN    []string  `json:"etrn,omitempty"` // the server's replies, one for each domain
	collect.Result
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`
}

// Status describes an entry and its last run.
type Status struct {
	Name      string       `json:"name"`
	ETRN      string       `json:"etrn_server,omitempty"`
	POP3      string       `json:"pop3,omitempty"`
	DeliverTo addr.Address `json:"deliver_to,omitzero"`
	Running   bool         `json:"running"`
	Next      time.Time    `json:"next,omitzero"` // zero: only after the next delivery
	Failures  int          `json:"failures"`      // in a row
	Last      *Result      `json:"last,omitempty"`
}

// Scheduler asks each entry when it is due. It is safe for concurrent use.
type Scheduler struct {
	Parts
	config  atomic.Pointer[Config]
	collect func(ctx context.Context, o collect.Options) (collect.Result, error)

	wake    chan struct{}
	mu      sync.Mutex
	entries map[string]*entry // by name; guarded by mu
}

// New returns a Scheduler. It asks no server before Run.
func New(cfg Config, parts Parts) *Scheduler {
	s := &Scheduler{
		Parts:   parts,
		collect: collect.Collect,
		wake:    make(chan struct{}, 1),
		entries: map[string]*entry{},
	}
	s.config.Store(&cfg)
	return s
}

// SetConfig replaces the configuration. Entries that are running finish with the old one.
func (s *Scheduler) SetConfig(cfg Config) {
	s.config.Store(&cfg)
	s.wakeUp()
}

func (s *Scheduler) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run asks the entries until ctx ends. It returns after the last entry has ended.
func (s *Scheduler) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	for sent := false; ctx.Err() == nil; {
		wait := time.NewTimer(s.startDue(ctx, &running, sent))
		sent = false
		select {
		case <-wait.C:
		case <-s.wake:
		case <-s.Sent:
			sent = true
		case <-ctx.Done():
		}
		wait.Stop()
	}
}

// List returns the status of every entry, in the order of the configuration.
func (s *Scheduler) List() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	all := []Status{}
	for _, cfg := range s.config.Load().Entries {
		e := s.entryLocked(cfg.Name, now)
		all = append(all, Status{
			Name: cfg.Name, ETRN: hostText(cfg.ETRNServer), POP3: hostText(cfg.POP3),
			DeliverTo: cfg.DeliverTo, Running: e.running, Next: e.due(&cfg, now),
			Failures: e.failures, Last: e.last,
		})
	}
	return all
}

func hostText(h route.Host) string {
	if h == (route.Host{}) {
		return ""
	}
	return h.String()
}

// ErrUnknown means that no entry has the name.
var ErrUnknown = errors.New("there is no such [[fetch]]")

// Now asks one entry at once, or every entry for "", and returns the results. It waits less than a
// minute; a result without Ended belongs to an entry that is still running.
func (s *Scheduler) Now(ctx context.Context, name string) ([]Result, error) {
	ctx, cancel := context.WithTimeout(ctx, nowTimeout)
	defer cancel()
	names := []string{}
	for _, cfg := range s.config.Load().Entries {
		if name == "" || cfg.Name == name {
			names = append(names, cfg.Name)
		}
	}
	if len(names) == 0 && name != "" {
		return nil, fmt.Errorf("%w: %q", ErrUnknown, name)
	}
	begun := time.Now()
	s.mu.Lock()
	for _, name := range names {
		s.entryLocked(name, begun).demanded = true
	}
	s.mu.Unlock()
	s.wakeUp()
	results := []Result{}
	for _, name := range names {
		results = append(results, s.await(ctx, name, begun))
	}
	return results, nil
}

// await waits for a result that is not older than begun.
func (s *Scheduler) await(ctx context.Context, name string, begun time.Time) Result {
	ticks := time.NewTicker(100 * time.Millisecond)
	defer ticks.Stop()
	for {
		s.mu.Lock()
		last := s.entryLocked(name, begun).last
		s.mu.Unlock()
		if last != nil && !last.Started.Before(begun) {
			return *last
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return Result{Name: name, Started: begun}
		}
	}
}

// dial connects to other servers only. Mail collected from this server would be delivered here
// again, without end.
func (s *Scheduler) dial(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{Resolver: dns.NewClient(s.config.Load().DNS)}
	c, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	to, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err == nil && s.Own(to) {
		c.Close()
		return nil, &collect.Error{
			Class: collect.ErrUnreachable,
			Text:  "the server is this server itself: its mail would loop",
			Hint:  "name the provider's server in pop3",
		}
	}
	return c, nil
}
