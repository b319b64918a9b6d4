package remote

import (
	"context"
	"errors"

	"pillarbox/smtp"
	"pillarbox/smtp/route"
)

// ErrNode means that the node is not a valid argument of ETRN.
var ErrNode = errors.New("the argument of ETRN must be a domain, @domain or #queue")

// AskETRN asks a server to send the mail that it holds for a node: a domain, "@domain" for the
// domain with its subdomains, or "#queue" (RFC 1985). It uses only the TLS mode, login, name and
// local address of the route. The reply is the server's, including refusals. An error says why
// there is no reply.
func (r *Remote) AskETRN(ctx context.Context, host route.Host, rt *route.Route,
	node string) (smtp.Reply, error) {
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
	failed := unreachable([3]int{4, 4, 1}, "there was no time to try a server")
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
		return smtp.Reply{}, c.connectionLost("sent ETRN", err)
	}
	return c.reply.words(), nil
}
