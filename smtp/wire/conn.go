package wire

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/caught"
)

// mode is what the next octets from the client are.
type mode int

const (
	modeCommand mode = iota
	modeAuth         // a SASL response (RFC 4954 §4)
	modeData         // the body of DATA
)

// Conn is one client's connection as the library sees it. All methods but
// interrupt and abort belong to the one goroutine that serves the connection.
type Conn struct {
	net.Conn // as accepted, below TLS; its addresses are the client's

	// Guest is whatever Config.Admit leaves for the session.
	Guest any

	cfg     *Config
	onClose func()

	rw  net.Conn // where octets go: Conn, or TLS over it
	in  *bufio.Reader
	out *bufio.Writer
	err error // sticky: once set, every Read fails with it

	line    []byte // command line being put together
	handed  []byte // what the library has not taken yet
	reply   []byte // what the library has written of a reply
	mode    mode
	verb    string // the command that the library is answering
	body    *Body
	errors  int
	badAuth bool // the SASL response was not base64

	bannered bool // the greeting has been said
	parted   bool // the farewell has been said

	progress time.Time // of the connection, the log-in, or the last whole body

	messages int   // bodies begun
	received int64 // octets of all bodies

	state    state
	tlsState *tls.ConnectionState
	implicit bool // TLS from the first byte, not yet shaken hands

	mu       sync.Mutex
	idle     bool // waiting for a command; owner: mu
	stopping bool // owner: mu
	closed   bool // owner: mu
}

// state is how far the session has come, by the replies given.
type state struct {
	greeted  bool // EHLO or HELO was accepted
	extended bool // by EHLO
	helo     string
	authed   bool
	mail     bool // MAIL was accepted
	rcpts    int
	path     addr.Address // of the MAIL or RCPT under way
}

func newConn(c net.Conn, cfg *Config, implicitTLS bool, onClose func()) *Conn {
	w := &Conn{Conn: c, cfg: cfg, rw: c, implicit: implicitTLS, onClose: onClose, progress: time.Now()}
	w.in = bufio.NewReader((*source)(w))
	w.out = bufio.NewWriterSize((*sink)(w), 1024)
	return w
}

// Path is the address of the MAIL or RCPT command under way, parsed; zero for
// MAIL FROM:<>.
func (c *Conn) Path() addr.Address { return c.state.path }

// TLS is the state of the TLS session, or nil.
func (c *Conn) TLS() *tls.ConnectionState { return c.tlsState }

// Helo is what the client called itself, and whether by EHLO.
func (c *Conn) Helo() (name string, extended bool) { return c.state.helo, c.state.extended }

// Read gives the library the next thing that it must see: a command line, a
// SASL response, or the lone dot behind a body. However the connection ends, the
// library sees a plain end of file.
func (c *Conn) Read(p []byte) (int, error) {
	for len(c.handed) == 0 {
		if c.err != nil {
			c.farewell()
			return 0, io.EOF
		}
		if err := c.contain(c.next); err != nil {
			c.fail(err)
		}
	}
	n := copy(p, c.handed)
	c.handed = c.handed[n:]
	return n, nil
}

// contain does a part of the session that the library does not know of. A panic ends
// this session and no other.
func (c *Conn) contain(do func() error) error {
	err := caught.Do(do)
	caught.Log(c.cfg.Log, err, "a session is ended: the program goes wrong with what the client said", "remote", c.RemoteAddr())
	return err
}

// next reads from the client until there is something to hand on.
func (c *Conn) next() error {
	switch c.mode {
	case modeData:
		// What the session has not read, after a refusal say, must not be taken
		// for commands.
		if err := c.body.drain(); err != nil {
			return err
		}
		c.handed = []byte(".\r\n")
		return nil
	case modeAuth:
		line, err := c.readLine(maxAuthLine)
		if string(line) == "=" {
			line = nil // some clients write an empty response as an empty initial one (RFC 4954 §4)
		}
		if errors.Is(err, errLineTooLong) || err == nil && !isBase64(line) {
			c.badAuth, line = true, []byte("*")
		} else if err != nil {
			return err
		}
		c.handed = append(line, "\r\n"...)
		return nil
	}
	line, err := c.readLine(maxAuthLine)
	if errors.Is(err, errLineTooLong) || len(line) > c.commandLine() && !isAuth(line) {
		return c.refuse(500, "5.5.2", "Line too long")
	} else if err != nil {
		return err
	}
	return c.command(string(line))
}

// commandLine is the longest command line.
func (c *Conn) commandLine() int {
	if c.cfg.MaxCommandLine > 0 {
		return c.cfg.MaxCommandLine
	}
	return commandLine
}

var errLineTooLong = errors.New("line too long")

// readLine reads one line without its ending, CRLF or LF, into c.line. The
// deadline is for the whole line, so that a client that sends an octet a minute
// gains nothing.
func (c *Conn) readLine(limit int) ([]byte, error) {
	if err := c.wait(true, c.cfg.CommandTimeout); err != nil {
		return nil, err
	}
	defer c.wait(false, 0)
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

// wait notes that the client is being waited for, and until when; a shutdown
// interrupts only such waits. With idle false it notes the end of the wait.
func (c *Conn) wait(idle bool, timeout time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle = idle; !idle {
		return nil
	}
	if c.stopping {
		return errShutdown
	}
	end := deadline(timeout)
	if c.cfg.Patience > 0 {
		if last := c.progress.Add(c.cfg.Patience); end.IsZero() || last.Before(end) {
			end = last
		}
	}
	return c.Conn.SetReadDeadline(end)
}

// stalled reports whether the client has used up the time that it has for a log-in or
// a message. What it says meanwhile, such as NOOP, is no progress.
func (c *Conn) stalled() bool {
	return c.cfg.Patience > 0 && c.mode != modeData && !time.Now().Before(c.progress.Add(c.cfg.Patience))
}

func deadline(d time.Duration) time.Time {
	if d <= 0 {
		return time.Time{}
	}
	return time.Now().Add(d)
}

// interrupt ends the connection where it waits for a command; in the middle of
// one, at its end. Called by the listener.
func (c *Conn) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = true
	if c.idle {
		c.Conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// abort cuts the connection off. Called by the listener.
func (c *Conn) abort() { c.Conn.Close() }

// source is where the buffered reader reads: it flushes the replies before it
// waits for the client, so that a pipeline is answered in few packets and
// nobody waits for a reply that lies in a buffer.
type source Conn

func (s *source) Read(p []byte) (int, error) {
	c := (*Conn)(s)
	if err := c.flush(); err != nil {
		return 0, err
	}
	n, err := c.rw.Read(p)
	if n > 0 || err == nil {
		return n, nil
	}
	return 0, c.reason(err)
}

// reason tells a shutdown and a time-out from other ends.
func (c *Conn) reason(err error) error {
	c.mu.Lock()
	stopping := c.stopping
	c.mu.Unlock()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && stopping:
		return errShutdown
	case errors.Is(err, os.ErrDeadlineExceeded) && c.stalled():
		c.cfg.Log.Info("session cut: no progress", "remote", c.RemoteAddr(), "after", c.cfg.Patience)
		return errStalled
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errTimeout
	}
	return err
}

// sink is where the buffered writer writes.
type sink Conn

func (s *sink) Write(p []byte) (int, error) {
	s.Conn.SetWriteDeadline(deadline(s.cfg.WriteTimeout))
	return s.rw.Write(p)
}

// flush sends the replies that are ready. A client that takes none loses its
// connection: its commands are not executed.
func (c *Conn) flush() error {
	if err := c.out.Flush(); err != nil {
		c.fail(err)
		return err
	}
	return nil
}

// fail makes an error sticky. The first one counts.
func (c *Conn) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// handshake does TLS on the connection as it stands.
func (c *Conn) handshake() error {
	if c.cfg.TLS == nil {
		return errors.New("no TLS configured")
	}
	t := tls.Server(c.Conn, c.cfg.TLS)
	ctx, cancel := context.WithTimeout(context.Background(), c.cfg.CommandTimeout)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		c.cfg.Log.Info("TLS handshake failed", "remote", c.RemoteAddr(), "error", err)
		return err
	}
	state := t.ConnectionState()
	c.rw, c.tlsState = t, &state
	c.in.Reset((*source)(c))
	c.out.Reset((*sink)(c))
	return nil
}

// Close sends what is left and ends the connection. Safe to call twice.
func (c *Conn) Close() error {
	c.mu.Lock()
	closed := c.closed
	c.closed = true
	c.mu.Unlock()
	if closed {
		return nil
	}
	defer c.onClose()
	c.fail(io.EOF)
	c.out.Flush()
	return c.rw.Close()
}
