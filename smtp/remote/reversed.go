package remote

import (
	"bufio"
	"context"
	"net"
	"time"

	"pillarbox/smtp"
	"pillarbox/smtp/route"
)

// ReversedConn is a connection that another server opened to us and on which we are now the client,
// to deliver its mail (ATRN, RFC 2645 §5). It is used by one goroutine at a time.
type ReversedConn struct {
	conn    *conn
	greeted bool
}

// Reverse takes over a connection, as the client. Results use name for the other server, which has
// already logged in: there is no further TLS or login. The caller must call Close after use, which
// closes nc.
func (r *Remote) Reverse(nc net.Conn, name string) *ReversedConn {
	return &ReversedConn{conn: &conn{raw: nc, net: nc, in: bufio.NewReaderSize(nc, maxReplyLine),
		name: name, remote: r}}
}

// Deliver makes one attempt over the connection. The first one waits for the other server's
// greeting. Once the connection is unusable, the outcome is unreachable.
func (t *ReversedConn) Deliver(ctx context.Context, a smtp.Attempt) smtp.Outcome {
	d := t.conn.remote.begin(&a)
	if f := t.greet(ctx, d.route); f != nil {
		return smtp.Outcome{Results: a.SameForAll(f.result()).Results, Unreachable: true}
	}
	d.over = t.conn
	unreachable := d.try(ctx, viaSmartHost, d.pending())
	if unreachable {
		t.conn.abandon()
	}
	return smtp.Outcome{Results: d.results, Unreachable: unreachable || t.conn.gone}
}

// greet reads the greeting and sends EHLO, once.
func (t *ReversedConn) greet(ctx context.Context, rt *route.Route) *failure {
	if t.greeted {
		return nil
	}
	t.greeted = true
	c := t.conn
	// The other settings are for the route's own server.
	c.route = &route.Route{Name: rt.Name, EHLO: rt.EHLO, Idle: rt.Idle}
	done := c.begin(ctx, time.Now().Add(greetingTimeout+commandTimeout))
	defer done()
	f := c.greet(target{name: c.name, security: security{mode: route.TLSOff}}, nil)
	if f != nil {
		c.abandon()
	}
	return f
}

// Close closes the connection, after QUIT if mail was sent.
func (t *ReversedConn) Close() {
	if t.greeted && !t.conn.gone {
		t.conn.quit()
		t.conn.gone = true
	}
	t.conn.raw.Close()
}
