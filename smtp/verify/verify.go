// Package verify finds out whether a message comes from where it says: SPF (RFC
// 7208), DKIM (RFC 6376) and DMARC (RFC 7489). What cannot be found out because
// DNS does not answer is a temperror, and never a reason to refuse. It needs DNS
// and is not for mail within the house.
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

// Options are the settings of a Verifier; the zero value is ready for use.
type Options struct {
	Resolver Resolver      // nil: one that asks Servers
	Servers  []string      // "ip:port", the first preferred; empty: those of the system
	Timeout  time.Duration // of one Verify; 0: 10 s
	Queries  int           // questions to DNS in one Verify; 0: 100
	Log      *slog.Logger  // nil: nothing is logged
}

// Verifier verifies messages. It is safe for concurrent use. When DNS does
// not answer at all it is not asked for half a minute, so that a house
// without a line to the outside does not wait for each message.
type Verifier struct {
	resolver Resolver
	timeout  time.Duration
	queries  int
	log      *slog.Logger

	mu    sync.Mutex
	quiet time.Time // no questions until then; guarded by mu
}

const (
	quietTime = 30 * time.Second
	probeTime = time.Second
)

// New makes a Verifier.
func New(opts Options) *Verifier {
	v := &Verifier{resolver: opts.Resolver, timeout: cmp.Or(opts.Timeout, 10*time.Second), queries: cmp.Or(opts.Queries, 100), log: opts.Log}
	if v.log == nil {
		v.log = slog.New(slog.DiscardHandler)
	}
	if v.resolver == nil {
		v.resolver = dns.NewClient(opts.Servers)
	}
	return v
}

// Facts are what is known of a message from outside.
type Facts struct {
	IP         netip.Addr     // of the client
	Helo       string         // as it said
	From       addr.Address   // the reverse-path; may be null
	HeaderFrom []addr.Address // of all From fields
	// Message is read up to its end, with CRLF line ends, unless it has no signature. It is not closed. nil: DKIM is
	// left out.
	Message io.Reader
}

// Value is a result (RFC 8601 §2.7).
type Value string

// The values.
const (
	None      Value = "none"
	Pass      Value = "pass"
	Fail      Value = "fail"
	SoftFail  Value = "softfail"
	Neutral   Value = "neutral"
	Policy    Value = "policy" // what was sent is beyond what we look at
	TempError Value = "temperror"
	PermError Value = "permerror"
)

// Results are what was found out.
type Results struct {
	SPF   SPF // of the reverse-path, or of the HELO name when that is null
	Helo  SPF // of the HELO name
	DKIM  []DKIM
	DMARC DMARC
}

// SPF is the result for one name.
type SPF struct {
	Value    Value
	Identity string      // "mailfrom" or "helo"
	Address  string      // what was verified, for the Authentication-Results field
	Domain   addr.Domain // of it; "" when it is none
}

// DKIM is the result for one signature.
type DKIM struct {
	Value      Value
	Reason     string      // short, ASCII, ours; "" for pass
	Domain     addr.Domain // d=; "" when it is none
	Identifier string      // i=, as it stands, or what it defaults to
}

// DMARC is the result for the domain in From.
type DMARC struct {
	Value       Value
	Domain      addr.Domain // in From
	Policy      string      // what the domain asks for when it fails: "none", "quarantine", "reject"; "": no policy
	Disposition string      // what is to be done therefore: "none", "quarantine" or "reject"
	Reason      string      // short, ASCII, ours
}

// Verify verifies a message. It comes back within the time-out and a second,
// except that it waits for f.Message.
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
	work.Go(func() { known = v.contained("DMARC", f, func() { records = findPolicies(dns, f.HeaderFrom) }) })
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
		v.contained("DMARC", f, func() { r.DMARC = judge(records, r.SPF, r.DKIM) })
	}
	return r
}

// contained does a part of the verification. A panic leaves its result as it was
// before, which is no reason to refuse, and makes ok false.
func (v *Verifier) contained(part string, f Facts, do func()) (ok bool) {
	err := caught.Do(func() error { do(); return nil })
	caught.Log(v.log, err, "the program goes wrong when it verifies a message; the message is taken as unverified",
		"part", part, "remote", f.IP, "from", f.From.String())
	return err == nil
}
