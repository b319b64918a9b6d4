// Package verify checks whether a message comes from the domains it names: SPF (RFC 7208), DKIM
// (RFC 6376) and DMARC (RFC 7489).
//
// Verifier.Verify returns Results. Decide turns them into a refusal or nil, and Results.Header into
// an Authentication-Results field. The SMTP server calls them for mail from other servers; local
// mail needs no DNS and must not pass through here. If DNS does not answer, the result is
// temperror, which is never a reason to refuse.
package verify

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/caught"
	"pillarbox/smtp/dns"
)

// Options configure a Verifier. The zero value is valid.
type Options struct {
	Resolver Resolver      // nil: one that queries Servers
	Servers  []string      // "ip:port", in order of preference; empty: those of the system
	Timeout  time.Duration // of one Verify; 0 means 10 s
	Queries  int           // maximum DNS queries in one Verify; 0 means 100
	Log      *slog.Logger  // nil: no logging
}

// Verifier verifies messages. It is safe for concurrent use. If DNS does not answer at all, it
// makes no queries for half a minute, so that a site without an internet connection does not wait
// for each message.
type Verifier struct {
	resolver Resolver
	timeout  time.Duration
	queries  int
	log      *slog.Logger

	mu    sync.Mutex
	quiet time.Time // no queries until then; guarded by mu
}

const (
	quietTime = 30 * time.Second
	probeTime = time.Second
)

// New returns a Verifier.
func New(opts Options) *Verifier {
	v := &Verifier{resolver: opts.Resolver, timeout: cmp.Or(opts.Timeout, 10*time.Second),
		queries: cmp.Or(opts.Queries, 100), log: opts.Log}
	if v.log == nil {
		v.log = slog.New(slog.DiscardHandler)
	}
	if v.resolver == nil {
		v.resolver = dns.NewClient(opts.Servers)
	}
	return v
}

// Facts describe a message from another server.
type Facts struct {
	IP         netip.Addr     // of the client
	Helo       string         // the name the client gave
	From       addr.Address   // the reverse-path; may be null
	HeaderFrom []addr.Address // of all From fields
	// Message is the message with CRLF line ends, or nil to skip DKIM. It is read to its end,
	// unless it has no signature. It is not closed.
	Message io.Reader
}

// Value is a result value (RFC 8601 §2.7).
type Value string

// The values.
const (
	None      Value = "none"
	Pass      Value = "pass"
	Fail      Value = "fail"
	SoftFail  Value = "softfail"
	Neutral   Value = "neutral"
	Policy    Value = "policy" // the message exceeds our limits
	TempError Value = "temperror"
	PermError Value = "permerror"
)

// Results are the results of one Verify.
type Results struct {
	SPF   SPF // of the reverse-path, or of the HELO name if that is null
	Helo  SPF // of the HELO name
	DKIM  []DKIM
	DMARC DMARC
}

// SPF is the result for one name.
type SPF struct {
	Value    Value
	Identity string      // "mailfrom" or "helo"
	Address  string      // the verified identity, for the Authentication-Results field
	Domain   addr.Domain // the domain of Address; "" if invalid
}

// DKIM is the result for one signature.
type DKIM struct {
	Value      Value
	Reason     string      // short ASCII text of ours; "" for pass
	Domain     addr.Domain // d=; "" if invalid
	Identifier string      // i= as given, or its default
}

// DMARC is the result for the domain in From.
type DMARC struct {
	Value       Value
	Domain      addr.Domain // the domain in From
	Policy      string      // for failures: "none", "quarantine", "reject"; "": no policy
	Disposition string      // what to do with this message: "none", "quarantine" or "reject"
	Reason      string      // short ASCII text of ours
}

// Verify verifies a message. It returns within the timeout plus one second, not counting reads of
// f.Message.
func (v *Verifier) Verify(ctx context.Context, f Facts) Results {
	ctx, cancel := context.WithTimeout(ctx, v.timeout)
	defer cancel()
	dns := v.begin(ctx)
	defer v.end(dns)
	var r Results
	var records []policy
	var work sync.WaitGroup
	work.Go(func() {
		r.Helo = SPF{Value: TempError, Identity: "helo"}
		v.contained("SPF", f, func() { r.Helo = checkHelo(dns, f) })
	})
	if !f.From.IsZero() {
		work.Go(func() {
			r.SPF = SPF{Value: TempError, Identity: "mailfrom"}
			v.contained("SPF", f, func() { r.SPF = checkFrom(dns, f) })
		})
	}
	known := false
	work.Go(func() {
		known = v.contained("DMARC", f, func() {
			records = findPolicies(dns, f.HeaderFrom)
		})
	})
	if f.Message != nil {
		r.DKIM = []DKIM{{Value: TempError, Reason: "not verified"}}
		v.contained("DKIM", f, func() { r.DKIM = checkSignatures(dns, f.Message) })
	}
	work.Wait()
	if f.From.IsZero() {
		r.SPF = r.Helo
	}
	r.DMARC = DMARC{Value: TempError, Disposition: "none", Reason: "not verified"}
	if known {
		v.contained("DMARC", f, func() { r.DMARC = evaluate(records, r.SPF, r.DKIM) })
	}
	return r
}

// contained runs one part of the verification. After a panic the result of that part stays as it
// was, which is no reason to refuse, and ok is false.
func (v *Verifier) contained(part string, f Facts, do func()) (ok bool) {
	err := caught.Do(func() error { do(); return nil })
	caught.Log(v.log, err,
		"panic while verifying a message; it counts as unverified",
		"part", part, "remote_ip", f.IP, "from", f.From.String())
	return err == nil
}
