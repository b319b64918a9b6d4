package remote

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"time"

	"pillarbox/smtp/route"
)

// Maximum waits (RFC 5321 §4.5.3.2). Route.Idle shortens them.
const (
	dialTimeout     = 30 * time.Second
	greetingTimeout = 5 * time.Minute
	tlsTimeout      = time.Minute
	commandTimeout  = 5 * time.Minute
	blockTimeout    = 3 * time.Minute
	finalTimeout    = 10 * time.Minute
	quitTimeout     = 2 * time.Second
	graceTimeout    = 5 * time.Second // for the reply to a complete message, when ctx ends
)

// minRate is the minimum rate of a server, in octets a second. Half an hour is added for everything
// else.
const minRate = 4 << 10

// maxAttempt limits an attempt at a message of this size, so that a server cannot prolong it with
// many short waits.
func maxAttempt(size int64) time.Duration {
	return 30*time.Minute + time.Duration(size/minRate)*time.Second
}

// conn is one connection to a server. It is used by one goroutine at a time.
type conn struct {
	raw    net.Conn // as connected; deadlines are set here
	net    net.Conn // raw, or TLS over it
	in     *bufio.Reader
	out    []byte // commands not yet sent
	reply  reply
	name   string // the server's name in results
	remote *Remote
	route  *route.Route
	tls    *tls.ConnectionState // nil: plaintext

	password    string // of the route's user, or the access token
	tokenCached bool   // the access token is not new
	port        int    // for OAUTHBEARER
	passwordErr error  // why there is no password
	refused     []refusedLogin

	tokenRefusal string // what the server said about the access token

	trust  string // what verified the certificate; "": not verified
	socket bool   // over a unix socket

	extensions
	messages int  // number of transactions
	dirty    bool // the last transaction is still open: send RSET first
	gone     bool // closed or unusable

	ctx   context.Context // of the current attempt
	sent  atomic.Bool     // the whole message is sent, only its reply is missing
	until time.Time       // end of the attempt; zero: none
	timer *time.Timer     // ends the wait for another message
}

var past = time.Unix(1, 0)

// begin assigns the connection to an attempt, until done is called.
func (c *conn) begin(ctx context.Context, until time.Time) (done func() bool) {
	c.ctx, c.until = ctx, until
	return context.AfterFunc(ctx, c.interrupt)
}

// interrupt ends the current attempt at once. If the message is already sent, it waits a short time
// for the reply, so that the message does not arrive twice.
func (c *conn) interrupt() {
	if c.sent.Load() {
		c.raw.SetDeadline(time.Now().Add(graceTimeout))
	} else {
		c.raw.SetDeadline(past)
	}
}

// deadline limits all I/O until the next call, however it is split.
func (c *conn) deadline(wait time.Duration) {
	t := time.Now().Add(min(wait, cmp.Or(c.route.Idle, 10*time.Minute)))
	if !c.until.IsZero() && t.After(c.until) {
		t = c.until
	}
	c.raw.SetDeadline(t)
	if c.ctx.Err() != nil {
		c.interrupt()
	}
}

// flush sends the collected commands in one write.
func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.net.Write(c.out)
	c.out = c.out[:0]
	return err
}

// command sends one command and reads its reply.
func (c *conn) command(wait time.Duration, line string, each func([]byte)) error {
	c.deadline(wait)
	c.out = append(append(c.out, line...), "\r\n"...)
	if err := c.flush(); err != nil {
		return err
	}
	return c.reply.read(c.in, each)
}

// abandon closes the connection without QUIT.
func (c *conn) abandon() {
	c.gone = true
	c.raw.Close()
}

// quit sends QUIT and closes the connection after a short wait.
func (c *conn) quit() {
	c.raw.SetDeadline(time.Now().Add(quitTimeout))
	if _, err := c.net.Write([]byte("QUIT\r\n")); err == nil {
		c.reply.read(c.in, nil)
	}
	c.raw.Close()
}
