// Package remote brings mail to other servers: it finds the mail exchangers of a
// domain or takes the route's smart host, connects, protects the connection,
// logs in, and hands messages over by SMTP or LMTP. Connections are kept for a
// few seconds for the next message to the same place. It also shows, step by
// step, how a message would go (Probe), and asks a provider for waiting mail
// (AskETRN).
//
// What other servers say is untrusted: replies are bounded in length and time,
// and no server can keep an attempt from ending.
package remote

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
	"pillarbox/smtp/dns"
	"pillarbox/smtp/route"
)

// Options are what a Remote needs to know; only Routes and Hostname must be set.
type Options struct {
	// Routes is the table in force. It may change from call to call, but one
	// table never changes: connections of a route end with its table.
	Routes   func() *route.Table
	Hostname string // what we call ourselves, and know ourselves by in MX records

	Hosted func(addr.Domain) bool    // whether Route.Masquerade replaces a domain; nil: none
	Own    func(netip.AddrPort) bool // whether an address is ours: mail to it would come back; nil: none is

	DNS      []string       // "ip:port" of resolvers; empty: those of the system
	TLSRoots *x509.CertPool // authorities for verified TLS; nil: those of the system
	Log      *slog.Logger   // nil: nothing is logged

	// Dial makes all connections to mail servers, network being "tcp" or "unix";
	// nil: a net.Dialer, which also minds Route.Bind.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// HTTP fetches MTA-STS policies; nil: a client with the limits of RFC 8461.
	HTTP *http.Client

	KeepIdle time.Duration // how long a connection waits for the next message; 0 means 5 s
	MaxIdle  int           // connections that wait so, in all; 0 means 200
}

// Remote sends mail to other servers. It is safe for concurrent use; how many
// attempts run at a time is the caller's to limit.
type Remote struct {
	opts     Options
	log      *slog.Logger
	resolver *net.Resolver
	idle     pool
	pumps    sync.Pool // *pump
	sessions tls.ClientSessionCache
	policies policies
}

// New makes a Remote. Close it after use.
func New(opts Options) *Remote {
	r := &Remote{
		opts:     opts,
		log:      opts.Log,
		resolver: dns.NewClient(opts.DNS),
		sessions: tls.NewLRUClientSessionCache(512),
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.pumps.New = func() any { return newPump() }
	r.idle.init(cmp.Or(opts.KeepIdle, 5*time.Second), cmp.Or(opts.MaxIdle, 200))
	r.policies.init(opts.HTTP, r.resolver)
	return r
}

// Close ends the connections that wait for messages, with QUIT, within a few
// seconds. Attempts under way go on, and keep no connection.
func (r *Remote) Close() { r.idle.close() }

// Deliver makes one attempt. The results are in the order of the recipients.
// An end of ctx ends the attempt; what was not confirmed is deferred then.
func (r *Remote) Deliver(ctx context.Context, a smtp.Attempt) smtp.Outcome {
	d := r.begin(&a)
	unreachable := false
	for _, way := range waysOf(d.route) {
		pending := d.pending()
		if len(pending) == 0 {
			break
		}
		unreachable = d.try(ctx, way, pending)
	}
	return smtp.Outcome{Results: d.results, Unreachable: unreachable}
}

func (r *Remote) begin(a *smtp.Attempt) *delivery {
	d := &delivery{
		remote:  r,
		route:   r.opts.Routes().For(a.Domain),
		attempt: a,
		results: make([]smtp.Result, len(a.Envelope.To)),
	}
	d.masquerade()
	return d
}

// way is one of the two ways that a route may have.
type way int

const (
	byMX way = iota
	bySmartHost
)

func waysOf(rt *route.Route) []way {
	switch {
	case len(rt.SmartHost) == 0:
		return []way{byMX}
	case rt.DirectFirst && !rt.LMTP:
		return []way{byMX, bySmartHost}
	}
	return []way{bySmartHost}
}

// delivery is an attempt under way.
type delivery struct {
	remote  *Remote
	route   *route.Route
	attempt *smtp.Attempt
	results []smtp.Result
	over    *conn // the only connection that there is; nil: connections are made

	scanned bool // content holds
	content content
}

// masquerade is done on the delivery's own copy of the envelope.
func (d *delivery) masquerade() {
	from := &d.attempt.Envelope.From
	if d.route.Masquerade != "" && !from.IsZero() && d.remote.opts.Hosted != nil && d.remote.opts.Hosted(from.Domain) {
		from.Domain = d.route.Masquerade
	}
}

// pending are the recipients without a final result.
func (d *delivery) pending() []int {
	all := make([]int, 0, len(d.results))
	for i, result := range d.results {
		if result.Status == smtp.Deferred {
			all = append(all, i)
		}
	}
	return all
}

// try sends to the recipients, in as many transactions as the route's limit
// makes, and those that a server found too many once more. It reports whether
// the destination was the trouble.
func (d *delivery) try(ctx context.Context, w way, pending []int) (unreachable bool) {
	limit := cmp.Or(d.route.Recipients, 100)
	for len(pending) > 0 {
		some := pending[:min(len(pending), limit)]
		if f := d.send(ctx, w, some); f != nil {
			for _, i := range pending {
				d.results[i] = f.result()
			}
			return f.unreachable
		}
		pending = pending[len(some):]
		if left := d.tooMany(some); left != nil {
			pending = append(left, pending...)
			limit = len(some) - len(left)
		}
	}
	return false
}

// tooMany are the recipients that were refused only because the server takes
// fewer at once (RFC 5321 §4.5.3.1.10), where others were taken.
func (d *delivery) tooMany(some []int) []int {
	var left []int
	delivered := false
	for _, i := range some {
		switch result := &d.results[i]; {
		case result.Status == smtp.Delivered:
			delivered = true
		case result.Status == smtp.Deferred && result.Reply.Code == 452 && result.Reply.Enhanced == [3]int{4, 5, 3}:
			left = append(left, i)
		}
	}
	if !delivered {
		return nil
	}
	return left
}

// send makes one transaction, over a connection that waits or a new one. A
// failure is about all recipients: no server was reached that would hear of them.
func (d *delivery) send(ctx context.Context, w way, some []int) *failure {
	if d.over != nil {
		return d.over.transact(ctx, d, some)
	}
	r := d.remote
	key := poolKey{route: d.route}
	if w == byMX {
		key.domain = d.attempt.Domain
	}
	for c := r.idle.get(key); c != nil; c = r.idle.get(key) {
		f := c.transact(ctx, d, some)
		if f == nil {
			r.idle.put(key, c)
			return nil
		}
		c.abandon() // most likely the server had enough of waiting
		if ctx.Err() != nil {
			return f
		}
	}
	ctx, cancel := context.WithTimeout(ctx, maxAttempt(d.attempt.Size))
	defer cancel()
	var failures []*failure
	for target, f := range r.targets(ctx, d.route, w, d.attempt.Domain) {
		var c *conn
		if f == nil {
			c, f = r.open(ctx, d.route, target, nil)
		}
		if f == nil {
			if f = c.transact(ctx, d, some); f == nil {
				r.idle.put(key, c)
				return nil
			}
			c.abandon()
		}
		r.log.Debug("no delivery", "id", d.attempt.ID, "server", target.name, "why", f)
		if failures = append(failures, f); f.final || ctx.Err() != nil {
			break
		}
	}
	return worst(failures, w)
}

// worst is the failure that stands for all: what time may mend before what it
// will not, the words of a server before ours. Servers that want no mail at all
// (5xx instead of a greeting) make it final where all of a domain's are so; a
// smart host's refusal is a matter of settings, and waits for somebody to correct
// them.
func worst(failures []*failure, w way) *failure {
	if len(failures) == 0 {
		return unreachable([3]int{4, 4, 1}, "no server could be tried in time")
	}
	last := failures[len(failures)-1]
	if last.final {
		return last
	}
	f := slices.MaxFunc(failures, func(a, b *failure) int { return a.weight() - b.weight() })
	turnedAway := !slices.ContainsFunc(failures, func(f *failure) bool { return !f.turnedAway })
	if turnedAway && w == byMX {
		refusal := *f
		refusal.fate, refusal.unreachable = smtp.Failed, false
		return &refusal
	}
	return f
}
