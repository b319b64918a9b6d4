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
	"pillarbox/mailstore/dialogue"
	"pillarbox/mailstore/sessions"
	"pillarbox/mailstore/track"
)

const (
	// maxCommand is the longest command line in octets, without CRLF. RFC 2449 §4 demands 255;
	// passwords need more.
	maxCommand = 512
	// maxLine is the longest line for AUTH and its responses, in octets.
	maxLine = 8192
	// maxDiscard is the length up to which a longer line is read and discarded, to reply
	// with an error. After that the connection is closed.
	maxDiscard = 64 << 10
	// inputSize is the size of the buffer that a connection keeps all the time. It holds an
	// ordinary command line; longer ones are assembled from several reads.
	inputSize = 1 << 10
)

var (
	errLongLine    = errors.New("line too long")
	errEndlessLine = errors.New("endless line")
	errShutdown    = errors.New("shutdown")
	errOvertaken   = errors.New("overtaken by another login")
	errKilled      = errors.New("closed by an administrator")
)

// A session is one connection. It belongs to its goroutine, except raw, which Shutdown closes.
type session struct {
	server   *Server
	config   *Config
	live     *sessions.Session
	said     *dialogue.Session // nil: no log wants the dialogue
	raw      net.Conn
	conn     net.Conn // raw, or the TLS connection on it
	in       *bufio.Reader
	out      output
	remote   netip.Addr
	tls      *tls.ConnectionState // nil without TLS
	implicit bool                 // TLS from the first octet on
	errors   int                  // protocol errors and failed logins
	sentCAPA bool                 // the client has sent CAPA
	stamp    string               // the time stamp in the greeting, for APOP; "" if there was none

	loginDeadline time.Time // for the login to succeed
	progress      time.Time // of the login, or of the last RETR, TOP or DELE

	username  string // given with USER, waits for PASS
	principal auth.Principal
	drop      *mailstore.Maildrop // nil before the login
	freed     chan struct{}       // closed when drop is; owner: server.mu
	overtaken bool                // another login has ended the session; owner: server.mu
	deleted   marks

	retrieved, removed int // numbers of messages
	fetched            fetched
	admission          bool   // the client was greeted
	refused            bool   // the latest reply was -ERR
	endReason          string // for the log; "" while the session goes on
}

func newSession(s *Server, conn net.Conn, implicitTLS bool) *session {
	config := s.config.Load()
	c := &session{
		server:        s,
		config:        config,
		raw:           conn,
		conn:          conn,
		out:           output{conn: conn, timeout: config.WriteTimeout, pool: &s.writers},
		loginDeadline: time.Now().Add(config.LoginTimeout),
		implicit:      implicitTLS,
	}
	c.in = bufio.NewReaderSize(c, inputSize)
	var port uint16
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		c.remote, port = a.AddrPort().Addr().Unmap().WithZone(""), a.AddrPort().Port()
	}
	c.live = config.Sessions.Begin(c.service(), netip.AddrPortFrom(c.remote, port),
		func() { s.kill(c) })
	c.out.live = c.live
	c.listen(port)
	return c
}

// serve runs the session to its end. The maildrop is unlocked in any case, and a panic ends only
// this session.
func (c *session) serve() {
	defer c.end()
	defer func() {
		if v := recover(); v != nil {
			c.endReason = "panic"
			c.server.log.Error("pop3: panic in a session",
				"remote_ip", c.remote, "panic", v, "stack", string(debug.Stack()))
		}
	}()
	if !c.admitted() || c.implicit && !c.startTLS() {
		c.out.flush()
		return
	}
	c.admission = true
	c.config.Track.Add(c.event(track.Connected))
	if c.implicit {
		c.trackTLS()
	}
	c.greet()
	for c.endReason == "" {
		line, err := c.readLine()
		switch {
		case c.live.Killed():
			c.endKilled()
		case err == nil:
			c.confirmFetched()
			c.sayCommand(line)
			c.execute(line)
			c.sayDone()
		case errors.Is(err, errLongLine):
			c.said.Command(dialogue.Shown{Note: "[line too long, hidden]"}, 0)
			c.protocolError("line too long")
			c.sayDone()
		case errors.Is(err, os.ErrDeadlineExceeded) && c.stalled():
			c.endReason = "no progress"
			c.err("[SYS/TEMP] no message was asked for in " + c.progressTimeout().String() +
				"; good-bye")
		default:
			c.endReason = endReason(err)
		}
	}
	c.out.flush()
}

// endKilled ends the session for an administrator.
func (c *session) endKilled() {
	c.endReason = errKilled.Error()
	c.err("[SYS/TEMP] this session was closed by the administrator")
}

// progressTimeout is how long a client may hold a maildrop without RETR, TOP or DELE. Other
// commands, such as NOOP, do not extend it.
func (c *session) progressTimeout() time.Duration { return 3 * c.config.IdleTimeout }

func (c *session) stalled() bool {
	return c.drop != nil && !time.Now().Before(c.progress.Add(c.progressTimeout()))
}

// admitted reports whether the client may connect. A client that may not gets one line, or none
// where TLS comes first.
func (c *session) admitted() bool {
	if c.config.Admit == nil || c.config.Admit(c.server.ctx, c.remote) {
		return true
	}
	c.endReason = "not admitted"
	if !c.implicit {
		c.err("[SYS/PERM] connections from " + c.remote.String() + " are not accepted here")
	}
	return false
}

// greet sends the greeting, with a time stamp if APOP is offered.
func (c *session) greet() {
	text := c.config.Greeting()
	if c.offered(auth.APOP) {
		c.stamp = c.server.auth.Stamp()
		text += " " + c.stamp
	}
	c.ok(text)
}

// end frees everything that the session holds, and logs it.
func (c *session) end() {
	c.closeMaildrop()
	c.conn.Close()
	c.said.End()
	c.live.End()
	level := slog.LevelInfo
	if c.principal.Dir == "" {
		level = slog.LevelDebug
	}
	c.server.log.Log(context.Background(), level, "pop3 session ended",
		"user", c.principal.Address.String(), "remote_ip", c.remote, "tls", c.tls != nil,
		"reason", c.endReason, "retrieved", c.retrieved, "deleted", c.removed, "bytes", c.out.sent)
	if c.admission {
		e := c.event(track.Disconnected)
		e.Count, e.Size, e.Text = int64(c.retrieved), c.out.sent, c.endReason
		c.config.Track.Add(e)
	}
}

// event returns an event of the session.
func (c *session) event(kind track.Kind) track.Event {
	e := track.Event{
		Kind: kind, Service: c.service(), Remote: c.remote, Session: c.live.ID(),
	}
	if c.principal.Dir != "" {
		e.User = c.principal.Address.String()
		e.To = e.User
	}
	return e
}

// trackTLS adds the event that TLS has begun.
func (c *session) trackTLS() {
	e := c.event(track.Secured)
	e.Text = sessions.TLSName(c.tls)
	c.config.Track.Add(e)
}

// service is the key under [listen] that the client connected to.
func (c *session) service() string {
	if c.implicit {
		return "pop3s"
	}
	return "pop3"
}

// messageEvent returns an event of message i.
func (c *session) messageEvent(kind track.Kind, i int) track.Event {
	e, m := c.event(kind), c.drop.Messages()[i]
	e.ID, e.Size = m.UID, m.Size
	if c.tls != nil {
		e.Text = tls.VersionName(c.tls.Version)
	}
	return e
}

// closeMaildrop unlocks the maildrop, if one is open.
func (c *session) closeMaildrop() {
	if c.drop != nil {
		c.recordFetched(c.drop)
		c.drop.Close()
		c.drop = nil
		c.server.release(c.principal.Dir, c)
	}
}

// endReason names the error that ended a connection, for the log.
func endReason(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.Is(err, errOvertaken), errors.Is(err, errKilled):
		return err.Error()
	case errors.Is(err, errShutdown), errors.Is(err, net.ErrClosed):
		return errShutdown.Error()
	case errors.Is(err, errEndlessLine):
		return err.Error()
	}
	return "dropped"
}

// Read waits for the client; c.in reads through it. Apart from the TLS handshake it is the only
// place where a session waits. So it flushes the replies first, whether commands were pipelined or
// not, and it is where Shutdown stops a session.
func (c *session) Read(p []byte) (int, error) {
	if err := c.out.flush(); err != nil {
		return 0, err
	}
	if err := c.server.setWaiting(c, true); err != nil {
		return 0, err
	}
	c.live.SetState(c.waitState())
	n, err := c.conn.Read(p)
	c.live.AddIn(n)
	c.live.SetState(sessions.Answering)
	if end := c.server.setWaiting(c, false); end != nil && err != nil {
		err = end
	}
	return n, err
}

// waitState is the state of a session that waits for its client.
func (c *session) waitState() sessions.State {
	if c.drop == nil {
		return sessions.LoggingIn
	}
	return sessions.Idle
}

// readLine returns the next line without its end, CRLF or LF. The deadline is for the whole line,
// so that a client cannot extend it by sending single octets.
func (c *session) readLine() (string, error) {
	deadline := c.loginDeadline
	if c.drop != nil {
		deadline = time.Now().Add(c.config.IdleTimeout)
		if end := c.progress.Add(c.progressTimeout()); end.Before(deadline) {
			deadline = end
		}
	}
	c.conn.SetReadDeadline(deadline)
	var line []byte
	for size := 0; size < maxDiscard; {
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
	return "", errEndlessLine
}

// startTLS does the handshake. It discards everything that arrived in plain text before, unread,
// since an attacker may have injected it. It discards the user name too (RFC 2595 §4).
func (c *session) startTLS() bool {
	c.in.Reset(c)
	c.username = ""
	conn := tls.Server(c.raw, c.config.TLS)
	conn.SetDeadline(c.loginDeadline)
	c.live.SetState(sessions.Securing)
	if err := c.server.setWaiting(c, true); err != nil {
		c.endReason = err.Error()
		return false
	}
	err := conn.HandshakeContext(c.server.ctx)
	_ = c.server.setWaiting(c, false) // err says the same
	if err != nil {
		c.endReason = "no TLS"
		if c.config.HandshakeFailed != nil {
			c.config.HandshakeFailed(c.remote, err)
		} else {
			c.server.log.Info("pop3: TLS handshake failed", "remote_ip", c.remote, "error", err)
		}
		return false
	}
	state := conn.ConnectionState()
	c.conn, c.out.conn, c.tls = conn, conn, &state
	c.live.SetTLS(&state)
	c.said.Note(tls.VersionName(state.Version) + " begins")
	return true
}

// ok sends a one-line reply of success.
func (c *session) ok(text string) {
	c.refused = false
	c.line("+OK ", text)
}

// okf is ok with a format.
func (c *session) okf(format string, args ...any) { c.ok(fmt.Sprintf(format, args...)) }

// err sends a one-line reply of failure. The text must not come from an internal error.
func (c *session) err(text string) {
	c.refused = true
	c.line("-ERR ", text)
}

// protocolError answers a command that no working mail program sends, or a failed login. Too many
// of them end the session.
func (c *session) protocolError(text string) {
	if c.errors++; c.errors >= c.config.MaxErrors {
		c.endReason = "too many errors"
		text += "; too many errors, good-bye"
	}
	c.err(text)
}

// line sends one line of a reply, made of the parts.
func (c *session) line(parts ...string) {
	if c.said != nil {
		c.said.Reply(strings.Join(parts, ""))
	}
	c.write(parts...)
}

// challenge sends a line of a login, which no log shows.
func (c *session) challenge(parts ...string) {
	c.said.Challenge("+ ")
	c.write(parts...)
}

func (c *session) write(parts ...string) {
	w := c.out.buffer()
	for _, part := range parts {
		w.WriteString(part)
	}
	w.WriteString("\r\n")
}
