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

// Longest waits, RFC 5321 §4.5.3.2; a route's Idle shortens them.
const (
	dialTimeout     = 30 * time.Second
	greetingTimeout = 5 * time.Minute
	tlsTimeout      = time.Minute
	commandTimeout  = 5 * time.Minute
	blockTimeout    = 3 * time.Minute
	finalTimeout    = 10 * time.Minute
	quitTimeout     = 2 * time.Second
	graceTimeout    = 5 * time.Second // for the reply to a whole message, when we are told to stop
)

// slowest is what a server must at least take, in octets a second, beside half
// an hour for everything else.
const slowest = 4 << 10

// maxAttempt bounds an attempt at a message of the size, so that nobody can
// stretch it by many small waits.
func maxAttempt(size int64) time.Duration {
	return 30*time.Minute + time.Duration(size/slowest)*time.Second
}

// conn is one connection to a server. It belongs to one goroutine at a time.
type conn struct {
	raw    net.Conn // as connected; deadlines are set here
	net    net.Conn // where octets go: raw, or TLS over it
	in     *bufio.Reader
	out    []byte // commands not yet sent
	reply  reply
	name   string // of the server, for results
	remote *Remote
	route  *route.Route
	tls    *tls.ConnectionState // nil: plaintext

	password    string // of the route's user
	passwordErr error  // why there is none

	trust  string // what the certificate was verified by; "": nothing
	socket bool   // a unix socket

	extensions
	messages int  // transactions begun
	dirty    bool // the last transaction was left open: RSET first
	gone     bool // closed, or of no more use

	ctx   context.Context // of the attempt under way
	sent  atomic.Bool     // the whole message is out, only the reply to it is missing
	until time.Time       // the attempt's end; zero: none
	timer *time.Timer     // ends the wait for a next message
}

var longAgo = time.Unix(1, 0)

// begin gives the connection to an attempt, until the result is called.
func (c *conn) begin(ctx context.Context, until time.Time) (done func() bool) {
	c.ctx, c.until = ctx, until
	return context.AfterFunc(ctx, c.interrupt)
}

// interrupt ends the attempt under way: at once, or, where that could make a
// message come twice, after a short wait for the reply.
func (c *conn) interrupt() {
	if c.sent.Load() {
		c.raw.SetDeadline(time.Now().Add(graceTimeout))
	} else {
		c.raw.SetDeadline(longAgo)
	}
}

// deadline bounds all that follows, whatever pieces it comes in.
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

// flush sends the commands that were put together, in one piece.
func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.net.Write(c.out)
	c.out = c.out[:0]
	return err
}

// command sends one command and reads the answer to it.
func (c *conn) command(wait time.Duration, line string, each func([]byte)) error {
	c.deadline(wait)
	c.out = append(append(c.out, line...), "\r\n"...)
	if err := c.flush(); err != nil {
		return err
	}
	return c.reply.read(c.in, each)
}

// abandon ends the connection without a word.
func (c *conn) abandon() {
	c.gone = true
	c.raw.Close()
}

// quit ends the connection politely, without patience.
func (c *conn) quit() {
	c.raw.SetDeadline(time.Now().Add(quitTimeout))
	if _, err := c.net.Write([]byte("QUIT\r\n")); err == nil {
		c.reply.read(c.in, nil)
	}
	c.raw.Close()
}
