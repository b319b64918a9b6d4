package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp/policy"
	"pillarbox/smtp/remote"
	"pillarbox/smtp/route"
)

// RouteReport is what became of a test of the way to an address.
type RouteReport struct {
	To      addr.Address  `json:"to"`
	From    addr.Address  `json:"from,omitzero"`
	OK      bool          `json:"ok"` // the server there would take mail
	Steps   []remote.Step `json:"steps"`
	Verdict string        `json:"verdict"`
	Hint    string        `json:"hint,omitempty"`
}

// Add notes a step.
func (t *RouteReport) Add(s remote.Step) { t.Steps = append(t.Steps, s) }

// Judge makes the verdict, when all steps are there. Of failures the last counts: the ones before were got over, or
// another server was tried.
func (t *RouteReport) Judge() {
	for _, s := range t.Steps {
		switch {
		case !s.OK:
			t.Verdict, t.Hint = verdictOn(t.To, s)
		case s.Name == "rcpt":
			t.OK, t.Verdict, t.Hint = true, fmt.Sprintf("mail to %s would be taken", t.To), ""
		}
	}
	if t.Verdict == "" {
		t.Verdict, t.Hint = fmt.Sprintf("the test of the way to %s has not come to its end", t.To), "try again"
	}
}

// verdictOn is what a failed step says of mail to an address.
func verdictOn(to addr.Address, s remote.Step) (verdict, hint string) {
	atEnd := s.Name == "mail" || s.Name == "rcpt"
	switch {
	case atEnd && strings.HasPrefix(s.Text, "4"):
		return fmt.Sprintf("mail to %s would wait, and be tried again: %s", to, s.Text),
			cmp.Or(s.Hint, "many servers turn a stranger away at first (greylisting): test again some minutes later")
	case atEnd && strings.HasPrefix(s.Text, "5"):
		return fmt.Sprintf("mail to %s would go back to its sender: %s", to, s.Text),
			cmp.Or(s.Hint, "the other server says why; ask its people, or test with another --from")
	}
	return fmt.Sprintf("mail to %s does not get through: %s", to, s.Text), s.Hint
}

// RouteAddresses reads the two addresses of a test of the way. Without a sender it is postmaster, of the default domain.
func (o *Service) RouteAddresses(to, from string) (recipient, sender addr.Address, err error) {
	if recipient, err = o.ParseUser(to); err != nil {
		return recipient, sender, err
	}
	if hosted, err := o.Dir.Hosts(recipient.Domain); err != nil {
		return recipient, sender, o.explain(err, recipient.Domain, "domain list")
	} else if hosted && !o.isElsewhere(recipient) {
		return recipient, sender, Hint(fmt.Errorf("%s is hosted here: its mail goes to no other server", recipient.Domain),
			"'pillarbox admin explain --ip ADDRESS --to %s' says what becomes of it", recipient)
	}
	switch domain := o.Dir.DefaultDomain(); {
	case from == "<>":
	case from != "":
		if sender, err = o.ParseUser(from); err != nil {
			err = Hint(fmt.Errorf("sender: %w", err), "write it as name@domain, or <> for none")
		}
	case domain != "":
		sender = addr.Address{Local: "postmaster", Domain: domain}
	}
	return recipient, sender, err
}

// isElsewhere reports whether an address of a domain here is on another server of that domain.
func (o *Service) isElsewhere(a addr.Address) bool {
	res, err := o.Dir.Resolve(a)
	return err == nil && slices.Contains(res.Forward, a)
}

// RouteQuestion asks how mail from one address to another would go. From is a default sender for
// "", and the null sender for "<>".
type RouteQuestion struct{ To, From string }

// testRoute tries the route to an address and tells each step. The running server does it, as it
// would send mail now; without one this process does, by the configuration.
func (o *Service) testRoute(ctx context.Context, q RouteQuestion) (t RouteReport, err error) {
	if t.To, t.From, err = o.RouteAddresses(q.To, q.From); err != nil {
		return t, err
	}
	o.noteFile()
	o.noteRefused()
	probe := o.probe
	if o.Running != nil {
		probe = o.Running.Probe
	} else {
		o.note("the server is not running: this command tests the route itself, with the configuration")
	}
	probe(ctx, t.To, t.From, func(s remote.Step) {
		t.Add(s)
		if o.tell != nil {
			o.tell(Part{Step: &s})
		}
	})
	t.Judge()
	return t, ctx.Err()
}

// noteFile tells that the configuration file differs from what the running server has loaded, and
// what the verb therefore looks at.
func (o *Service) noteFile() {
	if o.Running == nil || o.Running.FileChanges == nil {
		return
	}
	switch changed, err := o.Running.FileChanges(); {
	case err != nil:
		o.note("the configuration file cannot be loaded now, so this is by the configuration that the " +
			"server has loaded before; 'pillarbox config check' shows the mistakes")
	case len(changed) > 0:
		o.note("the configuration file has changed since the server loaded it (%s); "+
			"'pillarbox admin reload' applies it", strings.Join(changed, ", "))
	}
}

// noteRefused tells that no mail leaves at all.
func (o *Service) noteRefused() {
	if !o.Config().Outbound.Enabled {
		o.note("mail to other servers is refused: enabled in [outbound] of the configuration is false")
	}
}

// probe tries the route from this process.
func (o *Service) probe(ctx context.Context, to, from addr.Address, step func(remote.Step)) {
	cfg := o.Config()
	r := remote.New(remote.Options{
		Routes:   func() *route.Table { return &cfg.Routes },
		Hostname: string(cfg.Hostname),
		Hosted:   func(d addr.Domain) bool { hosted, err := o.Dir.Hosts(d); return hosted && err == nil },
		DNS:      DNSOptions(cfg).Servers,
	})
	defer r.Close()
	r.Probe(ctx, to, from, step)
}

// Err is the failure of the test, or nil. A hint that was said already is not given again.
func (t *RouteReport) Err(said string) error {
	switch {
	case t.OK:
		return nil
	case t.Hint == "" || t.Hint == said:
		return errors.New(t.Verdict)
	}
	return Hint(errors.New(t.Verdict), "%s", t.Hint)
}

// RouteSummary is a route as a list shows it. Times are as they are written in the configuration.
type RouteSummary struct {
	Name        string        `json:"name"`
	Domains     []string      `json:"domains"` // empty: all others
	SmartHost   []route.Host  `json:"smart_host"`
	DirectFirst bool          `json:"direct_first"`
	LMTP        bool          `json:"lmtp"`
	TLS         route.TLSMode `json:"tls"`
	User        string        `json:"user,omitempty"`
	Mechanisms  []string      `json:"mechanisms"` // in the order to try them; empty: all
	Hold        bool          `json:"hold"`
	Retries     []string      `json:"retries"`
	DelayNotice string        `json:"delay_notice,omitempty"`
	Expire      string        `json:"expire"`
	Hours       string        `json:"hours"`
	Unresolved  bool          `json:"unresolved"` // takes the mail for addresses of hosted domains that do not exist here
	Cost        int           `json:"cost"`
	MaxSize     int64         `json:"max_size,omitempty"` // octets; 0 means no limit
	AcceptFrom  []string      `json:"accept_from"`
	RejectFrom  []string      `json:"reject_from"`
}

// ListRoutes lists the routes of the configuration, the default one last.
func (o *Service) ListRoutes() ([]RouteSummary, error) {
	o.noteFile()
	o.noteRefused()
	table := &o.Config().Routes
	var all []RouteSummary
	for i := range table.Routes {
		s := routeSummary(&table.Routes[i])
		if limits := o.Config().Policy.Routes.Limit; i < len(limits) {
			s.AcceptFrom, s.RejectFrom = lineTexts(&limits[i].AcceptFrom), lineTexts(&limits[i].RejectFrom)
		}
		all = append(all, s)
	}
	last := routeSummary(&table.Default)
	last.Domains = []string{}
	return append(all, last), nil
}

// lineTexts returns the entries of a list.
func lineTexts(l *policy.AddressList) []string {
	texts := []string{}
	for _, line := range l.Lines() {
		texts = append(texts, line.Text)
	}
	return texts
}

func routeSummary(r *route.Route) RouteSummary {
	s := RouteSummary{
		Name: r.Name, Domains: orEmpty(r.Domains), SmartHost: orEmpty(r.SmartHost), DirectFirst: r.DirectFirst, LMTP: r.LMTP, TLS: r.TLS,
		User: r.User, Mechanisms: orEmpty(r.Mechanisms), Hold: r.Hold, Retries: []string{}, Hours: r.Windows.String(),
		Unresolved: r.Unresolved, Cost: r.Cost, MaxSize: r.MaxSize, AcceptFrom: []string{}, RejectFrom: []string{},
	}
	schedule := route.DefaultSchedule()
	retries := schedule.Retries
	if len(r.Schedule.Retries) > 0 {
		retries = r.Schedule.Retries
	}
	for _, wait := range retries {
		s.Retries = append(s.Retries, shortDuration(wait))
	}
	if r.Schedule.DelayNotice > 0 {
		s.DelayNotice = shortDuration(r.Schedule.DelayNotice)
	}
	s.Expire = shortDuration(cmp.Or(r.Schedule.Expire, schedule.Expire))
	return s
}

// shortDuration writes "2h" for what is "2h0m0s".
func shortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
