package pop3

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/auth"
)

const (
	// maxCommand is the longest command line, without its end. RFC 2449 §4 asks
	// for 255 octets; passwords need more.
	maxCommand = 512
	// maxLine is the longest line of all, which AUTH and its responses may have.
	maxLine = 8192
	// maxRubbish is how much of a longer line is read on, to answer it.
	maxRubbish = 64 << 10
	// inputSize is the buffer that each connection has all the time. It holds a
	// command line; longer ones are put together from several.
	inputSize = 1 << 10
)

var (
	errLongLine = errors.New("line too long")
	errRubbish  = errors.New("endless line")
	errShutdown = errors.New("shutdown")
)

// A session is one connection. It belongs to its goroutine, except raw, which
// Shutdown closes.
type session struct {
	server   *Server
	config   *Config
	raw      net.Conn
	conn     net.Conn // raw, or the TLS on it
	in       *bufio.Reader
	out      output
	remote   netip.Addr
	secure   bool                 // TLS is on
	implicit bool                 // TLS was from the first octet on
	login    time.Time            // when the client has to be logged in
	progress time.Time            // of the log-in, or of the last message that was asked for or deleted
	tls      *tls.ConnectionState // nil: it is not
	errors   int                  // senseless commands and failed logins
	asked    bool                 // CAPA was: the client is of this century
	stamp    string               // in the greeting, for APOP; "": none was

	user      string // given with USER, waits for PASS
	principal auth.Principal
	drop      *mailstore.Maildrop // nil before the login
	deleted   marks

	retrieved, removed int // messages
	fetched            fetched
	over               string // why the session is over; "" while it is not
}

func newSession(s *Server, conn net.Conn) *session {
	config := s.config.Load()
	c := &session{
		server: s,
		config: config,
		raw:    conn,
		conn:   conn,
		out:    output{conn: conn, timeout: config.WriteTimeout, pool: &s.writers},
		login:  time.Now().Add(config.LoginTimeout),
	}
	c.in = bufio.NewReaderSize(c, inputSize)
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		c.remote = a.AddrPort().Addr().Unmap().WithZone("")
	}
	return c
}

// serve runs the session to its end. The maildrop is unlocked whatever happens,
// and a panic ends this session only.
func (c *session) serve(implicitTLS bool) {
	defer c.end()
	defer func() {
		if v := recover(); v != nil {
			c.over = "panic"
			c.server.log.Error("pop3: panic in a session", "remote", c.remote, "panic", v, "stack", string(debug.Stack()))
		}
	}()
	if c.implicit = implicitTLS; implicitTLS && !c.startTLS() {
		return
	}
	c.greet()
	for c.over == "" {
		line, err := c.readLine()
		switch {
		case err == nil:
			c.confirm()
			c.execute(line)
		case errors.Is(err, errLongLine):
			c.senseless("line too long")
		case errors.Is(err, os.ErrDeadlineExceeded) && c.stalled():
			c.over = "no progress"
			c.err("[SYS/TEMP] no message was asked for in " + c.patience().String() + "; good-bye")
		default:
			c.over = cause(err)
		}
	}
	c.out.flush()
}

// patience is how long a client may have a maildrop to itself without asking for a
// message, whatever else it says.
func (c *session) patience() time.Duration { return 3 * c.config.IdleTimeout }

func (c *session) stalled() bool {
	return c.drop != nil && !time.Now().Before(c.progress.Add(c.patience()))
}

// greet sends the greeting, with a time stamp where APOP may be used.
func (c *session) greet() {
	text := c.config.Greeting()
	if c.offered(auth.APOP) {
		c.stamp = c.server.auth.Stamp()
		text += " " + c.stamp
	}
	c.ok(text)
}

// end leaves nothing behind but a line in the log.
func (c *session) end() {
	c.release()
	c.conn.Close()
	level := slog.LevelInfo
	if c.principal.Dir == "" {
		level = slog.LevelDebug
	}
	c.server.log.Log(context.Background(), level, "pop3 session ended",
		"user", c.principal.Address.String(), "remote", c.remote, "tls", c.secure, "reason", c.over,
		"retrieved", c.retrieved, "deleted", c.removed, "bytes", c.out.sent)
}

// release unlocks the maildrop.
func (c *session) release() {
	if c.drop != nil {
		c.noteFetched(c.drop)
		c.drop.Close()
		c.drop = nil
	}
}

// cause puts the end of a connection into words, for the log.
func cause(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.Is(err, errShutdown), errors.Is(err, net.ErrClosed):
		return errShutdown.Error()
	case errors.Is(err, errRubbish):
		return err.Error()
	}
	return "dropped"
}

// Read waits for the client, for c.in. It is the one place where a session
// waits, so it is here that replies are flushed, pipelined commands or not, and
// that Shutdown may interfere.
func (c *session) Read(p []byte) (int, error) {
	if err := c.out.flush(); err != nil {
		return 0, err
	}
	if !c.server.setWaiting(c, true) {
		return 0, errShutdown
	}
	n, err := c.conn.Read(p)
	c.server.setWaiting(c, false)
	return n, err
}

// readLine returns the next line without its end, CRLF or LF. There is one
// deadline for the whole line, not one for each octet that trickles in.
func (c *session) readLine() (string, error) {
	deadline := c.login
	if c.drop != nil {
		deadline = time.Now().Add(c.config.IdleTimeout)
		if end := c.progress.Add(c.patience()); end.Before(deadline) {
			deadline = end
		}
	}
	c.conn.SetReadDeadline(deadline)
	var line []byte
	for size := 0; size < maxRubbish; {
		part, err := c.in.ReadSlice('\n')
		if size += len(part); size <= maxLine {
			line = append(line, part...)
		}
		switch {
		case err == nil && size > maxLine:
			return "", errLongLine
		case err == nil:
			text := strings.TrimSuffix(string(line), "\n")
			return strings.TrimSuffix(text, "\r"), nil
		case err != bufio.ErrBufferFull:
			return "", err
		}
	}
	return "", errRubbish
}

// startTLS does the handshake. What the client sent in plain text before it is
// thrown away unread, and with it what somebody else may have put there; so is
// the user name (RFC 2595 §4).
func (c *session) startTLS() bool {
	c.in.Reset(c)
	c.user = ""
	conn := tls.Server(c.raw, c.config.TLS)
	conn.SetDeadline(c.login)
	if !c.server.setWaiting(c, true) {
		c.over = errShutdown.Error()
		return false
	}
	err := conn.HandshakeContext(c.server.ctx)
	c.server.setWaiting(c, false)
	if err != nil {
		c.over = "no TLS"
		c.server.log.Info("pop3: TLS handshake failed", "remote", c.remote, "error", err)
		return false
	}
	state := conn.ConnectionState()
	c.conn, c.out.conn, c.secure, c.tls = conn, conn, true, &state
	return true
}

// ok, and err below, send a one-line reply. The text is never that of an error.
func (c *session) ok(text string) { c.line("+OK ", text) }

func (c *session) okf(format string, args ...any) { c.ok(fmt.Sprintf(format, args...)) }

func (c *session) err(text string) { c.line("-ERR ", text) }

// senseless answers what no working mail program sends, and loses patience.
func (c *session) senseless(text string) {
	if c.errors++; c.errors >= c.config.MaxErrors {
		c.over = "too many errors"
		text += "; too many errors, good-bye"
	}
	c.err(text)
}

func (c *session) line(parts ...string) {
	w := c.out.buffer()
	for _, part := range parts {
		w.WriteString(part)
	}
	w.WriteString("\r\n")
}
