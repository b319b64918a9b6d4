package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/smtp"
	"pillarbox/smtp/decisionlog"
	"pillarbox/smtp/dns"
	"pillarbox/smtp/policy"
	"pillarbox/smtp/server"
)

// Question describes a message: the client, the user, the sender and the recipient.
type Question struct {
	IP         netip.Addr
	Service    smtp.Service
	TLS        bool
	User       string // "" means not logged in
	From       string // MAIL FROM; "" means the user, a device's address, or a remote one; "<>" the null sender
	To         string
	Size       int64  // as MAIL declares it, in octets; 0 means not declared
	HeaderFrom string // the header's From; "" means the same as MAIL FROM

	// Trace is the code at the end of a refusal. The other fields do not count if it is set.
	Trace string
}

// Explanation is the answer of the server, with the reasons.
type Explanation struct {
	Verdict   policy.Verdict    `json:"verdict"`
	Facts     policy.Facts      `json:"facts"`
	Decisions []policy.Decision `json:"decisions"` // by stage, up to the first refusal
	// Assumed is the sender that the question did not name; zero if it named one.
	Assumed addr.Address `json:"assumed_sender,omitzero"`
	// Recorded is the refusal with the trace code of the question. Decisions are what the rules in
	// force say to the same facts, up to the stage of the refusal.
	Recorded *decisionlog.Record `json:"recorded,omitempty"`
}

// explainTime limits all DNS look-ups of one explanation together.
const explainTime = 30 * time.Second

// remoteSender is the sender of a client that has not logged in, if the question names none.
var remoteSender = addr.Address{Local: "somebody", Domain: "elsewhere.invalid"}

// Explain gathers the facts as a session does, and asks the same rules.
func (o *Service) Explain(ctx context.Context, q Question) (Explanation, error) {
	if q.Trace != "" {
		return o.explainTrace(q.Trace)
	}
	ctx, cancel := context.WithTimeout(ctx, explainTime)
	defer cancel()
	o.noteFile()
	cfg := o.Config()
	f := policy.Facts{Client: policy.Client{Service: q.Service, Remote: q.IP.Unmap().WithZone("")}}
	if q.TLS || q.Service == smtp.SMTPS {
		f.TLSVersion = tls.VersionTLS13
	}
	f.Size = q.Size
	g := o.gatherer(cfg)
	g.Client(ctx, &f)
	if err := o.explainSender(ctx, &g, &f, q); err != nil {
		return Explanation{}, err
	}
	to, err := o.ParseUser(q.To)
	if err != nil {
		return Explanation{}, err
	}
	if _, err := g.Recipient(ctx, &f, to); err != nil {
		return Explanation{}, err
	}
	e := explanation(&cfg.Policy, f)
	if q.From == "" {
		e.Assumed = f.From
	}
	return e, nil
}

// explainTrace finds a refusal by the code at its end.
func (o *Service) explainTrace(code string) (Explanation, error) {
	code = strings.ToUpper(strings.Trim(code, "[] "))
	records, err := decisionlog.Refusals(o.Root, journalLook)
	if err != nil {
		return Explanation{}, err
	}
	for _, r := range slices.Backward(records) {
		if r.Trace != code {
			continue
		}
		rules := &o.Config().Policy
		e := explanation(rules, recordedFacts(rules, r))
		for i, d := range e.Decisions {
			if d.Stage == r.Stage {
				e.Decisions = e.Decisions[:i+1]
				break
			}
		}
		e.Verdict, e.Recorded = e.Decisions[len(e.Decisions)-1].Verdict, &r
		return e, nil
	}
	return Explanation{}, Hint(fmt.Errorf("no recent refusal has the trace code %s", code),
		"older ones are in the server's log: 'journalctl -u pillarbox | grep %s'", code)
}

func explanation(rules *policy.Rules, f policy.Facts) Explanation {
	e := Explanation{Facts: f, Decisions: rules.Evaluate(&f)}
	e.Verdict = e.Decisions[len(e.Decisions)-1].Verdict
	return e
}

// gatherer returns the server's Gatherer, with a resolver of its own.
func (o *Service) gatherer(cfg *config.Config) server.Gatherer {
	return server.Gatherer{
		Dir: o.Dir, Devices: o.Devices, Resolver: dns.New(DNSOptions(cfg)), Rules: &cfg.Policy,
	}
}

// DNSOptions returns the resolver's part of the configuration.
func DNSOptions(cfg *config.Config) dns.Options {
	opts := dns.Options{Timeout: cfg.DNS.Timeout}
	for _, s := range cfg.DNS.Servers {
		opts.Servers = append(opts.Servers, s.String())
	}
	return opts
}

func (o *Service) explainSender(ctx context.Context, g *server.Gatherer, f *policy.Facts, q Question) error {
	from := remoteSender
	if d, ok := o.Devices.Lookup(f.Remote); ok {
		from = o.deviceSender(*d)
	}
	if q.User != "" {
		user, err := o.ParseUser(q.User)
		if err != nil {
			return err
		}
		if err := g.User(f, user); err != nil {
			box, lookup := o.Dir.Mailbox(user)
			if errors.Is(err, server.ErrNoMailbox) {
				err = Hint(err, "'pillarbox admin mailbox list' shows what there is")
			} else if errors.Is(err, server.ErrLocked) {
				err = Hint(err, "'pillarbox admin mailbox show %s' says whether the mailbox or its domain is locked", box.Address)
			} else if lookup == nil && !box.Account.Access.Permits(directory.ServiceSMTP) {
				err = Hint(err, "'pillarbox admin mailbox access %s both' allows it", box.Address)
			}
			return o.explain(err, user.Domain, "mailbox list")
		}
		from = f.User.Address
	}
	switch {
	case q.From == "<>":
		from = addr.Address{}
	case q.From != "":
		var err error
		if from, err = o.ParseUser(q.From); err != nil {
			return err
		}
	}
	if err := g.Sender(ctx, f, from); err != nil {
		return err
	}
	header := from
	if q.HeaderFrom != "" {
		var err error
		if header, err = o.ParseUser(q.HeaderFrom); err != nil {
			return err
		}
	}
	if header.IsZero() {
		return nil
	}
	return g.Header(f, "From", []addr.Address{header}, false)
}

// ParseService parses the name of a listener that takes mail.
func ParseService(name string) (service smtp.Service, err error) {
	if service.UnmarshalText([]byte(name)) != nil {
		err = Hint(fmt.Errorf("%q is not a listener that takes mail", name), "smtp, submission or smtps")
	}
	return service, err
}

// ParseClient parses a client's IP address.
func ParseClient(text string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return ip, Hint(fmt.Errorf("%q is not an IP address", text), "such as 192.168.1.20 or 2001:db8::1")
	}
	return ip, nil
}

// errNoJournal reports that there are no recorded decisions to replay.
var errNoJournal = errors.New("no decision has been recorded yet")
