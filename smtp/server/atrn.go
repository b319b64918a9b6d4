package server

import (
	"errors"
	"net"
	"slices"
	"strings"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
	"pillarbox/smtp/queue"
	"pillarbox/smtp/route"
)

// ATRNSession is kept mail that was claimed to be sent to the client, who serves on its connection from then on.
type ATRNSession struct {
	Messages int
	// Send sends it and closes the connection; client is what the client called itself. It must be called, whatever has
	// become of the connection.
	Send func(c net.Conn, client string)
}

// ATRNClaimer claims what is kept for the domains that match (RFC 2645). Errors: queue.ErrNothingKept, queue.ErrBusy.
type ATRNClaimer func(match func(r *route.Route, domain addr.Domain) bool) (ATRNSession, error)

// atrn answers ATRN (RFC 2645 §5.2.1) for a list of domains; without one all are meant that are kept for the user. With
// the reply that it begins comes what is to be done then.
func (s *session) atrn(list string) (*smtp.Reply, func(net.Conn)) {
	if s.user.Dir == "" {
		return smtp.NewReply(530, [3]int{5, 7, 0}, "Authentication required"), nil
	}
	if r := s.gatherUser(s.current()); r != nil {
		return r, nil
	}
	domains, err := parseDomains(list)
	if err != nil {
		return smtp.NewReply(501, [3]int{5, 5, 4}, "Syntax: ATRN [domain[,domain...]]"), nil
	}
	match := s.keptFor(domains)
	if match == nil {
		s.log.Warn("ATRN refused", "domains", list, "user", s.user.Address.String())
		return smtp.NewReply(450, [3]int{4, 7, 1}, "ATRN request refused: nothing is kept for you here under these names"), nil
	}
	turn, err := s.claim(match)
	switch {
	case errors.Is(err, queue.ErrNothingKept):
		return smtp.NewReply(453, [3]int{4, 2, 0}, "You have no mail"), nil
	case err != nil:
		return smtp.NewReply(451, [3]int{4, 3, 2}, "Unable to process ATRN request now: that mail is being sent, try again later"), nil
	}
	s.log.Info("ATRN", "domains", list, "user", s.user.Address.String(), "messages", turn.Messages)
	client, _ := s.conn.Helo()
	return smtp.NewReply(250, [3]int{2, 0, 0}, "OK now reversing the connection"), func(c net.Conn) { turn.Send(c, client) }
}

func (s *session) claim(match func(*route.Route, addr.Domain) bool) (ATRNSession, error) {
	if s.srv.ClaimATRN == nil {
		return ATRNSession{}, queue.ErrBusy
	}
	return s.srv.ClaimATRN(match)
}

func parseDomains(list string) (domains []addr.Domain, err error) {
	if list == "" {
		return nil, nil
	}
	for name := range strings.SplitSeq(list, ",") {
		domain, err := addr.ParseDomain(name)
		if err != nil {
			return nil, err
		}
		domains = append(domains, domain)
	}
	return domains, nil
}

// keptFor matches what is kept for the user: of some domains, or of all that are his. It is nil where one is not his, or
// none is. A domain belongs to the route that it goes by, whatever other patterns fit it too.
func (s *session) keptFor(domains []addr.Domain) func(r *route.Route, domain addr.Domain) bool {
	var table route.Table
	his := make(map[string]bool)
	for _, t := range s.cfg.Triggers {
		table.Routes = append(table.Routes, route.Route{Name: t.Route, Domains: t.Domains})
		if slices.Contains(t.Accounts, s.user.Address.Fold()) {
			his[t.Route] = true
		}
	}
	foreign := func(d addr.Domain) bool { return !his[table.For(d).Name] }
	if len(his) == 0 || slices.ContainsFunc(domains, foreign) {
		return nil
	}
	return func(r *route.Route, domain addr.Domain) bool {
		return his[r.Name] && (len(domains) == 0 || slices.Contains(domains, domain))
	}
}
