// Package remote sends mail to other servers, as an SMTP or LMTP client.
//
// Sender is the queue's Deliverer. It takes the Return-Path off a stored message, signs the message
// with DKIM if it is ours to sign, and hands it to a Remote.
//
// Remote.Deliver makes one attempt: it finds the domain's mail exchangers or takes the route's smart
// host, connects, starts TLS, logs in and sends the message. Idle connections are kept for a few
// seconds for further messages to the same destination. Probe shows step by step how a message would
// travel, AskETRN asks a provider for waiting mail, and ReversedConn delivers over an ATRN
// connection.
//
// Replies of other servers are untrusted. They are limited in length and time, and no server may
// keep an attempt from ending. A password must never appear in a log, a reply or a report.
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
	"pillarbox/mailstore/auth/oauth"
	"pillarbox/smtp"
	"pillarbox/smtp/dns"
	"pillarbox/smtp/route"
)

// Options configure a Remote. Routes and Hostname must be set.
type Options struct {
	// Routes returns the current table. A later call may return another one, but a table itself
	// must not change: connections of a route end with its table.
	Routes   func() *route.Table
	Hostname string // our name in EHLO, also used to find ourselves in MX records

	Hosted func(addr.Domain) bool    // whether Route.Masquerade replaces a domain; nil: none
	Own    func(netip.AddrPort) bool // whether an address is ours (mail would loop); nil: none

	DNS      []string       // "ip:port" of resolvers; empty: those of the system
	TLSRoots *x509.CertPool // CAs for verified TLS; nil: those of the system
	Log      *slog.Logger   // nil: no logging

	// Dial makes all connections to mail servers; network is "tcp" or "unix". nil means a
	// net.Dialer, which also applies Route.Bind.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Tokens gets the access tokens of routes with OAuth; nil: Tokens of its own.
	Tokens *oauth.Tokens
	// HTTP fetches MTA-STS policies; nil: a client with the limits of RFC 8461.
	HTTP *http.Client

	KeepIdle time.Duration // how long an idle connection is kept; 0 means 5 s
	MaxIdle  int           // maximum number of idle connections; 0 means 200
}

// Remote sends mail to other servers. It is safe for concurrent use. The caller limits the number
// of concurrent attempts.
type Remote struct {
	opts     Options
	log      *slog.Logger
	resolver *net.Resolver
	idle     pool
	pumps    sync.Pool // *pump
	sessions tls.ClientSessionCache
	policies policies
	logins   loginMemory
	down     downRoutes
	tokens   *oauth.Tokens
}

// New returns a Remote. The caller must call Close after use.
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
	if r.tokens = opts.Tokens; r.tokens == nil {
		dialer := &net.Dialer{Resolver: r.resolver}
		r.tokens = oauth.NewTokens(dialer.DialContext, r.log)
	}
	r.pumps.New = func() any { return newPump() }
	r.idle.init(cmp.Or(opts.KeepIdle, 5*time.Second), cmp.Or(opts.MaxIdle, 200))
	r.policies.init(opts.HTTP, r.resolver)
	return r
}

// Close ends the idle connections with QUIT, within a few seconds. Attempts in progress continue,
// but keep no connection.
func (r *Remote) Close() { r.idle.close() }

// Deliver makes one attempt. The results are in the order of the recipients. When ctx ends, the
// attempt ends; recipients without a confirmation are deferred.
func (r *Remote) Deliver(ctx context.Context, a smtp.Attempt) smtp.Outcome {
	d := r.begin(&a)
	unreachable := false
	for _, rt := range r.down.order(r.opts.Routes().All(a.Domain), time.Now()) {
		d.use(rt)
		unreachable = d.tryRoute(ctx)
		if r.down.record(rt, unreachable, time.Now()); !unreachable || ctx.Err() != nil {
			break
		}
	}
	return smtp.Outcome{Results: d.results, Unreachable: unreachable}
}

// tryRoute tries the next hops of the current route for the recipients without a final result. It
// reports whether they are unreachable.
func (d *delivery) tryRoute(ctx context.Context) (unreachable bool) {
	for _, hop := range nextHops(d.route) {
		pending := d.pending()
		if len(pending) == 0 {
			break
		}
		if f := d.refusedByRoute(); f != nil {
			for _, i := range pending {
				d.results[i] = f.result()
			}
			return false
		}
		unreachable = d.try(ctx, hop, pending)
	}
	return unreachable
}

// refusedByRoute returns why the message must not go by the current route at all, or nil.
func (d *delivery) refusedByRoute() *failure {
	a := d.attempt
	if limit := d.route.MaxSize; limit > 0 && a.Size > limit {
		return permanent([3]int{5, 3, 4}, "the message has %d octets, and at most %d may go to %s",
			a.Size, limit, a.Domain)
	}
	hosted := d.remote.opts.Hosted
	if d.route.Unresolved && hosted != nil && hosted(a.Domain) &&
		passes(a.Open, d.remote.opts.Hostname) > maxPasses {
		return permanent([3]int{5, 4, 6}, "mail loop: the server of %s sends the message back",
			a.Domain)
	}
	return nil
}

func (r *Remote) begin(a *smtp.Attempt) *delivery {
	d := &delivery{
		remote:  r,
		attempt: a,
		from:    a.Envelope.From,
		results: make([]smtp.Result, len(a.Envelope.To)),
	}
	d.use(r.opts.Routes().For(a.Domain))
	return d
}

// use makes a route the current one.
func (d *delivery) use(rt *route.Route) {
	d.route, d.attempt.Envelope.From = rt, d.from
	d.setSender()
	d.masquerade()
}

// nextHop is one of the two kinds of next hop that a route may use.
type nextHop int

const (
	viaMX nextHop = iota
	viaSmartHost
)

func nextHops(rt *route.Route) []nextHop {
	switch {
	case len(rt.SmartHost) == 0:
		return []nextHop{viaMX}
	case rt.DirectFirst && !rt.LMTP:
		return []nextHop{viaMX, viaSmartHost}
	}
	return []nextHop{viaSmartHost}
}

// delivery is one attempt.
type delivery struct {
	remote  *Remote
	route   *route.Route
	attempt *smtp.Attempt
	from    addr.Address // of the message
	results []smtp.Result
	over    *conn // the only connection to use; nil: make connections

	inspected bool // shape is valid
	shape     shape
	scanned   bool // content is valid
	content   content
	texts     [2]*text // as it is, and in seven bits
}

// setSender replaces the sender of a forwarded message. It changes only this delivery's copy of the
// envelope.
func (d *delivery) setSender() {
	if sender := d.attempt.Envelope.Sender; !sender.IsZero() {
		d.attempt.Envelope.From = sender
	}
}

// masquerade changes only this delivery's copy of the envelope.
func (d *delivery) masquerade() {
	from := &d.attempt.Envelope.From
	if d.route.Masquerade != "" && !from.IsZero() && d.remote.opts.Hosted != nil &&
		d.remote.opts.Hosted(from.Domain) {
		from.Domain = d.route.Masquerade
	}
}

// pending returns the recipients without a final result.
func (d *delivery) pending() []int {
	all := make([]int, 0, len(d.results))
	for i, result := range d.results {
		if result.Status == smtp.Deferred {
			all = append(all, i)
		}
	}
	return all
}

// try sends to the recipients, in as many transactions as the route's limit requires. Recipients
// that the server found too many are tried once more. try reports whether the destination is
// unreachable.
func (d *delivery) try(ctx context.Context, hop nextHop, pending []int) (unreachable bool) {
	limit := cmp.Or(d.route.Recipients, 100)
	for len(pending) > 0 {
		some := pending[:min(len(pending), limit)]
		if f := d.send(ctx, hop, some); f != nil {
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

// tooMany returns the recipients that were refused only because the server accepts fewer at a time
// (RFC 5321 §4.5.3.1.10), provided that others were accepted.
func (d *delivery) tooMany(some []int) []int {
	var left []int
	delivered := false
	for _, i := range some {
		switch result := &d.results[i]; {
		case result.Status == smtp.Delivered:
			delivered = true
		case result.Status == smtp.Deferred && result.Reply.Code == 452 &&
			result.Reply.Enhanced == [3]int{4, 5, 3}:
			left = append(left, i)
		}
	}
	if !delivered {
		return nil
	}
	return left
}

// send makes one transaction, over an idle connection or a new one. A failure means that no server
// could be asked about any recipient.
func (d *delivery) send(ctx context.Context, hop nextHop, some []int) *failure {
	if d.over != nil {
		return d.over.transact(ctx, d, some)
	}
	r := d.remote
	key := poolKey{route: d.route}
	if hop == viaMX {
		key.domain = d.attempt.Domain
	}
	for c := r.idle.get(key); c != nil; c = r.idle.get(key) {
		f := c.transact(ctx, d, some)
		if f == nil {
			r.idle.put(key, c)
			return nil
		}
		c.abandon() // most likely the server closed the idle connection
		if ctx.Err() != nil {
			return f
		}
	}
	ctx, cancel := context.WithTimeout(ctx, maxAttempt(d.attempt.Size))
	defer cancel()
	var failures []*failure
	refused := "" // the smart host that refused the login; its other addresses are not tried
	for target, f := range r.targets(ctx, d.route, hop, d.attempt.Domain) {
		if f == nil && refused != "" && target.name == refused {
			continue
		}
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
		r.log.Debug("delivery attempt failed", "message_id", d.attempt.ID, "server", target.name,
			"reason", f)
		if f.loginRefused {
			refused = target.name
		}
		if failures = append(failures, f); f.final || ctx.Err() != nil {
			break
		}
	}
	return worst(failures, hop)
}

// worst returns the failure that represents all. Temporary failures outrank permanent ones, and
// server replies outrank our own. If all exchangers of a domain refuse all mail (5xx instead of a
// greeting), the failure is final. A smart host's refusal is never final, since an administrator
// may correct the settings.
func worst(failures []*failure, hop nextHop) *failure {
	if len(failures) == 0 {
		return unreachable([3]int{4, 4, 1}, "there was no time to try a server")
	}
	last := failures[len(failures)-1]
	if last.final {
		return last
	}
	f := slices.MaxFunc(failures, func(a, b *failure) int { return a.weight() - b.weight() })
	noMail := !slices.ContainsFunc(failures, func(f *failure) bool { return !f.noMail })
	if noMail && hop == viaMX {
		refusal := *f
		refusal.fate, refusal.unreachable = smtp.Failed, false
		return &refusal
	}
	return f
}
