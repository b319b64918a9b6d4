package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
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
	From       string // MAIL FROM; "" means the user, or a remote address; "<>" the null sender
	To         string
	Size       int64  // as MAIL declares it, in octets; 0 means not declared
	HeaderFrom string // the header's From; "" means the same as MAIL FROM
}

// Explanation is the answer of the server, with the reasons.
type Explanation struct {
	Verdict   policy.Verdict    `json:"verdict"`
	Facts     policy.Facts      `json:"facts"`
	Decisions []policy.Decision `json:"decisions"` // by stage, up to the first refusal
}

// explainTime limits all DNS look-ups of one explanation together.
const explainTime = 30 * time.Second

// remoteSender is the sender of a client that has not logged in, if the question names none.
var remoteSender = addr.Address{Local: "somebody", Domain: "elsewhere.invalid"}

// Explain gathers the facts as a session does, and asks the same rules.
func (o *Service) Explain(ctx context.Context, q Question) (Explanation, error) {
	ctx, cancel := context.WithTimeout(ctx, explainTime)
	defer cancel()
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
	return explanation(&cfg.Policy, f), nil
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
	if q.User != "" {
		user, err := o.ParseUser(q.User)
		if err != nil {
			return err
		}
		if err := g.User(f, user); err != nil {
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
