package daemon

import (
	"net"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp/route"
	"pillarbox/smtp/server"
)

// claimATRN claims the ETRN-held mail of a server that asks for it by ATRN. Send delivers it over
// that server's own connection.
func (d *Daemon) claimATRN(
	match func(r *route.Route, domain addr.Domain) bool,
) (server.ATRNSession, error) {
	claimed, err := d.queue.Claim(match)
	if err != nil {
		return server.ATRNSession{}, err
	}
	return server.ATRNSession{Messages: claimed.Messages(), Send: func(c net.Conn, client string) {
		sender := d.sender.Reverse(c, client)
		defer sender.Close()
		claimed.Run(sender)
	}}, nil
}
