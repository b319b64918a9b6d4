package server

import (
	"slices"
	"strings"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
	"pillarbox/smtp/policy"
	"pillarbox/smtp/route"
)

// Trigger sets which clients may ask for the ETRN-held mail of a route.
type Trigger struct {
	Route    string   // the name of the route
	Domains  []string // patterns, as in route.Route
	Hosts    policy.HostList
	Accounts []addr.Address // folded
}

// allows reports whether the client may ask.
func (t *Trigger) allows(f *policy.Facts) bool {
	if _, ok := t.Hosts.Match(f.Remote, f.Name); ok {
		return true
	}
	return !f.User.IsZero() && slices.Contains(t.Accounts, f.User.Address.Fold())
}

// covers reports whether the route has the domain.
func (t *Trigger) covers(domain addr.Domain) bool {
	table := route.Table{Routes: []route.Route{{Domains: t.Domains}}}
	return table.For(domain) != &table.Default
}

// ETRN starts the delivery of ETRN-held mail (RFC 1985): of a domain, of "@domain" with its
// subdomains, or of "#route".
func (s *session) ETRN(node string) *smtp.Reply {
	match, triggers := s.parseNode(node)
	if match == nil {
		return smtp.NewReply(501, [3]int{5, 5, 4}, "Syntax: ETRN domain, @domain or #queue")
	}
	f := s.current()
	triggers = slices.DeleteFunc(triggers, func(t Trigger) bool { return !t.allows(f) })
	if len(triggers) == 0 {
		s.log.Warn("ETRN refused", "node", node, "user", s.user.Address.String())
		return smtp.NewReply(459, [3]int{4, 7, 1}, "Node %s not allowed: nothing is kept for you here under that name", node)
	}
	if s.srv.Queue == nil {
		return smtp.NewReply(458, [3]int{4, 3, 2}, "Unable to queue messages for node %s", node)
	}
	count := s.srv.Queue.FlushETRN(func(d addr.Domain) bool {
		return match(d) && slices.ContainsFunc(triggers, func(t Trigger) bool { return t.covers(d) })
	})
	s.log.Info("ETRN accepted", "node", node, "user", s.user.Address.String(), "messages", count)
	if count == 0 {
		return smtp.NewReply(251, [3]int{2, 0, 0}, "OK, no messages waiting for node %s", node)
	}
	return smtp.NewReply(253, [3]int{2, 0, 0}, "OK, %d pending messages for node %s started", count, node)
}

// parseNode returns the domains that a node of ETRN stands for, and the triggers of the routes that
// have any of them. match is nil if the node is malformed.
func (s *session) parseNode(node string) (match func(addr.Domain) bool, triggers []Trigger) {
	if name, ok := strings.CutPrefix(node, "#"); ok {
		for _, t := range s.cfg.Triggers {
			if strings.EqualFold(t.Route, name) {
				triggers = append(triggers, t)
			}
		}
		return func(addr.Domain) bool { return true }, triggers
	}
	name, subdomains := strings.CutPrefix(node, "@")
	domain, err := addr.ParseDomain(name)
	if err != nil || domain.IsLiteral() {
		return nil, nil
	}
	match = func(d addr.Domain) bool {
		return d == domain || subdomains && strings.HasSuffix(string(d), "."+string(domain))
	}
	for _, t := range s.cfg.Triggers {
		hasPattern := func(pattern string) bool { return match(addr.Domain(strings.TrimPrefix(pattern, "*."))) }
		if t.covers(domain) || subdomains && slices.ContainsFunc(t.Domains, hasPattern) {
			triggers = append(triggers, t)
		}
	}
	return match, triggers
}
