package remote

import (
	"bufio"
	"context"
	"net"
	"time"

	"pillarbox/smtp"
	"pillarbox/smtp/route"
)

// ReversedConn is a connection that another server has made to us and on which it serves now, to be given its mail (ATRN, RFC
// 2645 §5). It belongs to one goroutine at a time.
type ReversedConn struct {
	conn    *conn
	greeted bool
}

// Reverse takes a connection over, as the client. name is what results call the other side, which has shown already who it
// is: neither TLS nor a log-in come again. Close the result after use, which closes the connection.
func (r *Remote) Reverse(nc net.Conn, name string) *ReversedConn {
	return &ReversedConn{conn: &conn{raw: nc, net: nc, in: bufio.NewReaderSize(nc, maxReplyLine), name: name, remote: r}}
}

// Deliver makes one attempt over the connection, the first after the other side's greeting. Once the connection is of no
// more use, the outcome is unreachable.
func (t *ReversedConn) Deliver(ctx context.Context, a smtp.Attempt) smtp.Outcome {
	d := t.conn.remote.begin(&a)
	if f := t.greet(ctx, d.route); f != nil {
		return smtp.Outcome{Results: a.SameForAll(f.result()).Results, Unreachable: true}
	}
	d.over = t.conn
	unreachable := d.try(ctx, bySmartHost, d.pending())
	if unreachable {
		t.conn.abandon()
	}
	return smtp.Outcome{Results: d.results, Unreachable: unreachable || t.conn.gone}
}

// greet waits for the greeting and says EHLO, once.
func (t *ReversedConn) greet(ctx context.Context, rt *route.Route) *failure {
	if t.greeted {
		return nil
	}
	t.greeted = true
	c := t.conn
	c.route = &route.Route{Name: rt.Name, EHLO: rt.EHLO, Idle: rt.Idle} // what else it says is about its own server
	done := c.begin(ctx, time.Now().Add(greetingTimeout+commandTimeout))
	defer done()
	f := c.greet(target{name: c.name, security: security{mode: route.TLSOff}}, nil)
	if f != nil {
		c.abandon()
	}
	return f
}

// Close ends the connection, with QUIT where there was mail.
func (t *ReversedConn) Close() {
	if t.greeted && !t.conn.gone {
		t.conn.quit()
		t.conn.gone = true
	}
	t.conn.raw.Close()
}
