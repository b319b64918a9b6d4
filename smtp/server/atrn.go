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

// ATRNSession is held mail that was claimed for a client. The client becomes the server on its
// connection.
type ATRNSession struct {
	Messages int
	// Send delivers the mail over c and closes c. client is the name that the client gave in EHLO.
	// Send must be called even if the connection is broken: it gives back what it cannot deliver.
	Send func(c net.Conn, client string)
}

// ATRNClaimer claims the held mail of the domains that match (RFC 2645). Its errors are
// queue.ErrNoMail and queue.ErrBusy.
type ATRNClaimer func(match func(r *route.Route, domain addr.Domain) bool) (ATRNSession, error)

// ATRN answers the command (RFC 2645 §5.2.1) for a list of domains, or for all domains of the user
// if the list is empty. If there is mail, it also returns the function that delivers it.
func (s *session) ATRN(list string) (*smtp.Reply, func(net.Conn)) {
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
	match := s.heldFor(domains)
	if match == nil {
		s.log.Warn("ATRN refused", "domains", list, "user", s.user.Address.String())
		return smtp.NewReply(450, [3]int{4, 7, 1}, "ATRN request refused: nothing is kept for you here under these names"), nil
	}
	atrn, err := s.claim(match)
	switch {
	case errors.Is(err, queue.ErrNoMail):
		return smtp.NewReply(453, [3]int{4, 2, 0}, "You have no mail"), nil
	case err != nil:
		return smtp.NewReply(451, [3]int{4, 3, 2}, "Unable to process ATRN request now: that mail is being sent, try again later"), nil
	}
	s.log.Info("ATRN accepted", "domains", list, "user", s.user.Address.String(), "messages", atrn.Messages)
	client, _ := s.conn.Helo()
	return smtp.NewReply(250, [3]int{2, 0, 0}, "OK now reversing the connection"), func(c net.Conn) { atrn.Send(c, client) }
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

// heldFor returns a match for the held mail of the domains, or of all domains of the user if
// domains is empty. It returns nil if one of them is not the user's, or if the user has none. A domain
// belongs to the route that its mail takes, even if patterns of other routes match it too.
func (s *session) heldFor(domains []addr.Domain) func(r *route.Route, domain addr.Domain) bool {
	var table route.Table
	own := make(map[string]bool)
	for _, t := range s.cfg.Triggers {
		table.Routes = append(table.Routes, route.Route{Name: t.Route, Domains: t.Domains})
		if slices.Contains(t.Accounts, s.user.Address.Fold()) {
			own[t.Route] = true
		}
	}
	foreign := func(d addr.Domain) bool { return !own[table.For(d).Name] }
	if len(own) == 0 || slices.ContainsFunc(domains, foreign) {
		return nil
	}
	return func(r *route.Route, domain addr.Domain) bool {
		return own[r.Name] && (len(domains) == 0 || slices.Contains(domains, domain))
	}
}
