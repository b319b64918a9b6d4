package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp/remote"
	"pillarbox/smtp/route"
)

// RouteTest is what became of a test of the way to an address.
type RouteTest struct {
	To      addr.Address  `json:"to"`
	From    addr.Address  `json:"from,omitzero"`
	OK      bool          `json:"ok"` // the server there would take mail
	Steps   []remote.Step `json:"steps"`
	Verdict string        `json:"verdict"`
	Hint    string        `json:"hint,omitempty"`
}

// Add notes a step.
func (t *RouteTest) Add(s remote.Step) { t.Steps = append(t.Steps, s) }

// Judge makes the verdict, when all steps are there. Of failures the last counts: the ones before were got over, or
// another server was tried.
func (t *RouteTest) Judge() {
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
	if err := o.RequireAll(false); err != nil {
		return recipient, sender, err
	}
	if recipient, err = o.ParseUser(to); err != nil {
		return recipient, sender, err
	}
	if hosted, err := o.Dir.Hosts(recipient.Domain); err != nil {
		return recipient, sender, o.explain(err, recipient.Domain, "domain list")
	} else if hosted {
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

// TestRoute tries the way to an address from this process, by the configuration. step hears of each step.
func (o *Service) TestRoute(ctx context.Context, to, from addr.Address, step func(remote.Step)) {
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
func (t *RouteTest) Err(said string) error {
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
	Hold        bool          `json:"hold"`
	Retries     []string      `json:"retries"`
	DelayNotice string        `json:"delay_notice,omitempty"`
	Expire      string        `json:"expire"`
	Hours       string        `json:"hours"`
}

// ListRoutes lists the routes of the configuration, the default one last.
func (o *Service) ListRoutes() []RouteSummary {
	if o.RequireAll(false) != nil {
		return []RouteSummary{}
	}
	table := &o.Config().Routes
	var all []RouteSummary
	for i := range table.Routes {
		all = append(all, routeSummary(&table.Routes[i]))
	}
	last := routeSummary(&table.Default)
	last.Domains = []string{}
	return append(all, last)
}

func routeSummary(r *route.Route) RouteSummary {
	s := RouteSummary{
		Name: r.Name, Domains: orEmpty(r.Domains), SmartHost: orEmpty(r.SmartHost), DirectFirst: r.DirectFirst, LMTP: r.LMTP, TLS: r.TLS,
		User: r.User, Hold: r.Hold, Retries: []string{}, Hours: r.Windows.String(),
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
