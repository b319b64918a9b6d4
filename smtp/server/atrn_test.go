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

// relay has mail to hand back. It says what it has in a word each, and hears no
// more than the greeting and the answers.
type relay struct {
	waiting []string // "ROUTE DOMAIN NUMBER", or busy for the number; set before the first session
}

// claim implements ATRNClaimer.
func (r *relay) claim(match func(*route.Route, addr.Domain) bool) (ATRNSession, error) {
	var turn ATRNSession
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
		turn.Messages++
		domains = append(domains, domain)
	}
	if turn.Messages == 0 {
		return ATRNSession{}, queue.ErrNothingKept
	}
	turn.Send = func(c net.Conn, client string) {
		defer c.Close()
		in := bufio.NewReader(c)
		greeting, _ := in.ReadString('\n')
		fmt.Fprintf(c, "MAIL for %s at %s, who said %s", strings.Join(domains, " "), client, greeting)
		answer, _ := in.ReadString('\n')
		fmt.Fprintf(c, "QUIT after %s", answer)
	}
	return turn, nil
}
