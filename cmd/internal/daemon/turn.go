package daemon

import (
	"context"
	"net"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
	"pillarbox/smtp/remote"
	"pillarbox/smtp/route"
	"pillarbox/smtp/server"
)

// turn claims kept mail for a server that asks for it by ATRN, and sends it over that server's own connection.
func (d *Daemon) turn(match func(r *route.Route, domain addr.Domain) bool) (server.ATRNSession, error) {
	claimed, err := d.queue.Claim(match)
	if err != nil {
		return server.ATRNSession{}, err
	}
	return server.ATRNSession{Messages: claimed.Messages(), Send: func(c net.Conn, client string) {
		turned := d.sender.remote.Load().Reverse(c, client)
		defer turned.Close()
		claimed.Run(&turnedSender{d.sender, turned})
	}}, nil
}

// turnedSender sends what a sender does, over one connection.
type turnedSender struct {
	*sender
	turned *remote.ReversedConn
}

// Deliver implements queue.Deliverer.
func (s *turnedSender) Deliver(ctx context.Context, a smtp.Attempt) smtp.Outcome {
	return s.deliver(ctx, a, s.turned)
}
