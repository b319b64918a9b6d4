package server

import (
	"bufio"
	"fmt"
	"net"
	"strings"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp/queue"
	"pillarbox/smtp/route"
)

// relay has held mail for ATRN. It sends a line for each command, and reads only the greeting and
// the answers.
type relay struct {
	waiting []string // "ROUTE DOMAIN NUMBER", or "busy" as the number; set before the first session
}

// claim is an ATRNClaimer.
func (r *relay) claim(match func(*route.Route, addr.Domain) bool) (ATRNSession, error) {
	var session ATRNSession
	var domains []string
	for _, line := range r.waiting {
		var name, domain, count string
		fmt.Sscan(line, &name, &domain, &count)
		if !match(&route.Route{Name: name}, addr.Domain(domain)) {
			continue
		}
		if count == "busy" {
			return ATRNSession{}, queue.ErrBusy
		}
		session.Messages++
		domains = append(domains, domain)
	}
	if session.Messages == 0 {
		return ATRNSession{}, queue.ErrNoMail
	}
	session.Send = func(c net.Conn, client string) {
		defer c.Close()
		in := bufio.NewReader(c)
		greeting, _ := in.ReadString('\n')
		fmt.Fprintf(c, "MAIL for %s at %s, who said %s", strings.Join(domains, " "), client, greeting)
		answer, _ := in.ReadString('\n')
		fmt.Fprintf(c, "QUIT after %s", answer)
	}
	return session, nil
}
