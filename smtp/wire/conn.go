package wire

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/caught"
	"pillarbox/mailstore/dialogue"
	"pillarbox/mailstore/sessions"
)

// mode tells what the next octets from the client are.
type mode int

const (
	modeCommand mode = iota
	modeAuth         // a SASL response (RFC 4954 §4)
	modeData         // the body of DATA
)

// Conn is the connection of one client, as the library reads and writes it. All methods except
// interrupt and abort belong to the goroutine that serves the connection.
type Conn struct {
	net.Conn // as accepted, below TLS; its addresses are the client's

	cfg     *Config
	live    *sessions.Session
	said    *dialogue.Session // nil: no log wants the dialogue
	session Session           // nil before the greeting
	onClose func()

	rw  net.Conn // Conn, or TLS over it
	in  *bufio.Reader
	out *bufio.Writer
	err error // the reason why the connection ends; every Read fails once it is set

	line    []byte // the command line so far
	input   []byte // what the library has not read yet
	output  []byte // what the library has written of a reply
	mode    mode
	verb    string // the command that the library is answering
	body    *Body  // of the DATA or BDAT command in progress
	chunked *Body  // of the BDAT command that the library has not begun yet
	pending string // a command that ended a message between its chunks; "": none
	last    bool   // no command but QUIT is taken: text of a message may follow
	errors  int
	badAuth bool // the SASL response was not base64

	greetingSent bool
	closingSent  bool

	progress time.Time // when the client connected, logged in, or completed a body

	messages int   // bodies begun
	received int64 // octets of all bodies

	state    state
	tlsState *tls.ConnectionState
	implicit bool // TLS from the first octet; the handshake is due

	mu       sync.Mutex
	idle     bool // waiting for a command; owner: mu
	stopping bool // owner: mu
	closed   bool // owner: mu
}

// state is the state of the session. It follows the replies.
type state struct {
	greeted  bool // EHLO or HELO was accepted
	extended bool // by EHLO
	helo     string
	authed   bool
	mail     bool // MAIL was accepted
	rcpts    int
	path     addr.Address // of the MAIL or RCPT in progress
	size     int64        // declared by the latest MAIL; 0 means not declared
	dropping bool         // a chunk was refused; the client may have sent the next ones already
}

func newConn(c net.Conn, cfg *Config, implicitTLS bool, onClose func()) *Conn {
	w := &Conn{Conn: c, cfg: cfg, rw: c, implicit: implicitTLS, onClose: onClose, progress: time.Now()}
	w.in = bufio.NewReader((*source)(w))
	w.out = bufio.NewWriterSize((*sink)(w), 1024)
	w.live = cfg.Sessions.Begin(cfg.Service, w.Remote(), w.kill)
	w.listen()
	return w
}

// Live returns the entry of the connection in the table of sessions.
func (c *Conn) Live() *sessions.Session { return c.live }

// TLS returns the state of the TLS session, or nil.
func (c *Conn) TLS() *tls.ConnectionState { return c.tlsState }

// Helo returns the name that the client gave in EHLO or HELO, and whether it used EHLO.
func (c *Conn) Helo() (name string, extended bool) { return c.state.helo, c.state.extended }

// Read gives the library its next input: a command line, a SASL response, or the lone dot after a
// body. If the connection ends for any reason, the library reads an end of file.
func (c *Conn) Read(p []byte) (int, error) {
	for len(c.input) == 0 {
		if c.err != nil {
			c.sendClosing()
			return 0, io.EOF
		}
		if err := c.safely(c.next); err != nil {
			c.fail(err)
		}
	}
	n := copy(p, c.input)
	c.input = c.input[n:]
	return n, nil
}

// Remote returns the client's address, without a zone and never as IPv4 in IPv6.
func (c *Conn) Remote() netip.AddrPort {
	a, _ := netip.ParseAddrPort(c.RemoteAddr().String()) // the zero value for other networks
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// safely runs code that is outside the library's own recovery. A panic ends this session only.
func (c *Conn) safely(do func() error) error {
	err := caught.Do(do)
	if caught.Is(err) {
		caught.Log(c.cfg.Log, err, "session ended by a mistake of the program",
			"remote_ip", c.Remote().Addr())
	}
	return err
}

// next reads from the client until there is input for the library, or answers the client itself.
func (c *Conn) next() error {
	switch c.mode {
	case modeData:
		// What the session has left unread, such as after a refusal, must not be taken for
		// commands.
		if err := c.body.drain(); err != nil {
			return err
		}
		c.input = []byte(".\r\n")
		return nil
	case modeAuth:
		line, err := c.readLine(maxAuthLine)
		line = bytes.TrimRight(line, " ") // some programs send a blank after it
		if string(line) == "=" {
			line = nil // some clients send the "=" for an empty initial response here too
		}
		if errors.Is(err, errLineTooLong) || err == nil && !isBase64(line) {
			c.badAuth, line = true, []byte("*")
		} else if err != nil {
			return err
		}
		c.said.Continue()
		c.input = append(line, "\r\n"...)
		return nil
	}
	if line := c.pending; line != "" {
		c.pending = ""
		return c.command(line)
	}
	line, err := c.readCommand()
	if line == nil || err != nil {
		return err
	}
	return c.command(string(line))
}

// readCommand reads a command line. nil means that the line was refused.
func (c *Conn) readCommand() ([]byte, error) {
	line, err := c.readLine(maxAuthLine)
	switch {
	case errors.Is(err, errLineTooLong), len(line) > c.commandLine() && !isAuth(line):
		c.said.Command(dialogue.Shown{Note: "[line too long, hidden]"}, 0)
		return nil, c.refuse(500, "5.5.2 Line too long")
	case err == nil && c.cfg.StrictLines && !bytes.HasSuffix(c.line, lineEnd):
		c.sayCommand(line, len(c.line))
		return nil, c.refuse(500, "5.5.2 The line does not end with CRLF")
	case err == nil:
		c.sayCommand(line, len(c.line))
	}
	return line, err
}

// commandLine returns the longest command line, in octets.
func (c *Conn) commandLine() int {
	if c.cfg.MaxCommandLine > 0 {
		return c.cfg.MaxCommandLine
	}
	return commandLine
}

var errLineTooLong = errors.New("line too long")

// readLine reads one line without its ending, CRLF or LF, into c.line. The deadline is for the
// whole line: a client must not hold the connection with an octet a minute.
func (c *Conn) readLine(limit int) ([]byte, error) {
	if err := c.beginWait(); err != nil {
		return nil, err
	}
	defer c.endWait()
	c.line = c.line[:0]
	total := 0
	for {
		piece, err := c.in.ReadSlice('\n')
		if total += len(piece); total <= limit+2 {
			c.line = append(c.line, piece...)
		}
		switch {
		case err == nil && total > limit+2:
			return nil, errLineTooLong
		case err == nil:
			return trimEnding(c.line), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case total > maxDiscard:
			return nil, errFlood
		}
	}
}

func trimEnding(line []byte) []byte {
	line = line[:len(line)-1]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line
}

// beginWait begins to wait for a command, and sets the deadline. A shutdown interrupts only such
// waits.
func (c *Conn) beginWait() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = true
	switch {
	case c.live.Killed():
		return ErrKilled
	case c.stopping:
		return errShutdown
	}
	c.live.SetState(c.waitState())
	end := deadline(c.cfg.CommandTimeout)
	if c.cfg.ProgressTimeout > 0 {
		if last := c.progress.Add(c.cfg.ProgressTimeout); end.IsZero() || last.Before(end) {
			end = last
		}
	}
	return c.Conn.SetReadDeadline(end)
}

func (c *Conn) endWait() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = false
	c.live.SetState(sessions.Answering)
}

// waitState is the state of a session that waits for a line.
func (c *Conn) waitState() sessions.State {
	if c.mode == modeAuth {
		return sessions.LoggingIn
	}
	return sessions.Idle
}

// stalled reports whether the time for a login or a message is over. Other commands, such as NOOP,
// are no progress.
func (c *Conn) stalled() bool {
	return c.cfg.ProgressTimeout > 0 && c.mode != modeData && !time.Now().Before(c.progress.Add(c.cfg.ProgressTimeout))
}

func deadline(d time.Duration) time.Time {
	if d <= 0 {
		return time.Time{}
	}
	return time.Now().Add(d)
}

// interrupt ends the connection: at once if it waits for a command, otherwise after the command.
// The listener calls it.
func (c *Conn) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = true
	if c.idle {
		c.Conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// kill ends the connection for an administrator: at once if it waits for the client, otherwise
// after the command. A message that is being received is not accepted. A client that takes no
// reply is cut off after a while.
func (c *Conn) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Conn.SetReadDeadline(time.Unix(1, 0))
	time.AfterFunc(killTimeout, c.abort)
}

// killTimeout is the time that a command may take after the session was killed.
const killTimeout = 30 * time.Second

// setReadDeadline sets the deadline of a read from the client, unless the session was killed.
func (c *Conn) setReadDeadline(end time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live.Killed() {
		return ErrKilled
	}
	return c.Conn.SetReadDeadline(end)
}

// abort closes the connection at once. The listener calls it.
func (c *Conn) abort() { c.Conn.Close() }

// source is the input of the buffered reader. It flushes the replies before it waits for the
// client: a pipeline is answered in few packets, and no client waits for a buffered reply.
type source Conn

func (s *source) Read(p []byte) (int, error) {
	c := (*Conn)(s)
	if err := c.flush(); err != nil {
		return 0, err
	}
	n, err := c.rw.Read(p)
	c.live.AddIn(n)
	if n > 0 || err == nil {
		return n, nil
	}
	return 0, c.reason(err)
}

// reason tells a kill, a shutdown, a lack of progress and a timeout from other read errors.
func (c *Conn) reason(err error) error {
	c.mu.Lock()
	stopping := c.stopping
	c.mu.Unlock()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && c.live.Killed():
		return ErrKilled
	case errors.Is(err, os.ErrDeadlineExceeded) && stopping:
		return errShutdown
	case errors.Is(err, os.ErrDeadlineExceeded) && c.stalled():
		c.cfg.Log.Info("session ended: no progress",
			"remote_ip", c.Remote().Addr(), "after", c.cfg.ProgressTimeout)
		return errStalled
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errTimeout
	}
	return err
}

// sink is the output of the buffered writer.
type sink Conn

func (s *sink) Write(p []byte) (int, error) {
	s.Conn.SetWriteDeadline(deadline(s.cfg.WriteTimeout))
	n, err := s.rw.Write(p)
	s.live.AddOut(int64(n))
	return n, err
}

// flush sends the buffered replies. If the client does not take them, its connection ends and its
// further commands are not executed.
func (c *Conn) flush() error {
	if err := c.out.Flush(); err != nil {
		c.fail(err)
		return err
	}
	return nil
}

// fail sets the reason why the connection ends. The first one counts.
func (c *Conn) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// handshake turns on TLS.
func (c *Conn) handshake() error {
	if c.cfg.TLS == nil {
		return errors.New("no TLS configured")
	}
	c.live.SetState(sessions.Securing)
	t := tls.Server(c.Conn, c.cfg.TLS)
	ctx, cancel := context.WithTimeout(context.Background(), c.cfg.CommandTimeout)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		if remote := c.Remote().Addr(); c.cfg.HandshakeFailed != nil {
			c.cfg.HandshakeFailed(remote, err)
		} else {
			c.cfg.Log.Info("TLS handshake failed", "remote_ip", remote, "error", err)
		}
		return err
	}
	state := t.ConnectionState()
	c.rw, c.tlsState = t, &state
	c.live.SetTLS(&state)
	c.said.Note(tls.VersionName(state.Version) + " begins")
	c.in.Reset((*source)(c))
	c.out.Reset((*sink)(c))
	return nil
}

// Close sends the buffered replies and closes the connection. It may be called twice.
func (c *Conn) Close() error {
	c.mu.Lock()
	closed := c.closed
	c.closed = true
	c.mu.Unlock()
	if closed {
		return nil
	}
	defer c.onClose()
	defer c.live.End()
	defer c.said.End()
	c.fail(io.EOF)
	c.out.Flush()
	return c.rw.Close()
}
