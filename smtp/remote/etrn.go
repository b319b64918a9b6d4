package remote

import (
	"context"
	"errors"

	"pillarbox/smtp"
	"pillarbox/smtp/route"
)

// ErrNode is that what ETRN should ask for cannot be asked for.
var ErrNode = errors.New("ETRN asks for a domain, @domain or #queue")

// AskETRN asks a server to send what waits for a node: a domain, "@domain" with
// all below it, or "#queue" (RFC 1985). Of the route TLS, log-in, name and local
// address count. The reply is the server's, refusals included; an error says why
// there is none.
func (r *Remote) AskETRN(ctx context.Context, host route.Host, rt *route.Route, node string) (smtp.Reply, error) {
	if node == "" || len(node) > 255 {
		return smtp.Reply{}, ErrNode
	}
	for _, c := range []byte(node) {
		if c <= ' ' || c > '~' {
			return smtp.Reply{}, ErrNode
		}
	}
	own := *rt
	own.LMTP = false
	ctx, cancel := context.WithTimeout(ctx, maxAttempt(0))
	defer cancel()
	var found smtp.Reply
	failed := unreachable([3]int{4, 4, 1}, "no server could be tried in time")
	r.hostTargets(ctx, &own, host, func(t target, f *failure) bool {
		var c *conn
		if f == nil {
			c, f = r.open(ctx, &own, t, nil)
		}
		if f == nil {
			found, f = c.askETRN(ctx, node)
		}
		failed = f
		return f != nil && ctx.Err() == nil
	})
	if failed != nil {
		return smtp.Reply{}, failed
	}
	return found, nil
}

func (c *conn) askETRN(ctx context.Context, node string) (smtp.Reply, *failure) {
	defer c.quit()
	done := c.begin(ctx, c.until)
	defer done()
	if err := c.command(commandTimeout, "ETRN "+node, nil); err != nil {
		return smtp.Reply{}, c.lost("said ETRN", err)
	}
	return c.reply.words(), nil
}
