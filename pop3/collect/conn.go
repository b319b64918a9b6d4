package collect

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"pillarbox/mailstore/foreign"
)

// Limits on the server's behaviour.
const (
	dialTime    = 30 * time.Second
	commandTime = time.Minute     // for a command and its whole reply
	idleTime    = time.Minute     // between two parts of a listing or a message
	graceTime   = 2 * time.Minute // from the start of a listing or a message until minRate applies
	minRate     = 2 << 10         // octets a second, for a listing or a message; below any modem
	maxLine     = 4 << 10         // octets of one line of a reply
	maxListing  = 32 << 20        // octets of a listing
	maxMessages = 100_000         // messages handled in one session; the rest is ignored
	maxText     = 200             // octets of a reply that are quoted in an error
)

// conn is a connection to a server.
type conn struct {
	opts     *Options
	net      net.Conn
	pace     *paced
	in       *bufio.Reader
	secure   bool
	lfOnly   bool // the server ends its lines with a bare LF
	greeting string
	mask     foreign.Mask // the secrets sent to the server, which must not get into a log
	stop     func() bool  // stops watching the context
}

// paced is a connection whose reads end in bounded time, however slowly the server sends.
type paced struct {
	net.Conn
	until   time.Time // the deadline, unless rate is set
	rate    bool      // the deadline depends on the octets received since started
	started time.Time
	got     int64 // octets since started
}

func (p *paced) Read(b []byte) (int, error) {
	end := p.until
	if p.rate {
		end = p.started.Add(graceTime + time.Duration(p.got/minRate)*time.Second)
		if idle := time.Now().Add(idleTime); idle.Before(end) {
			end = idle
		}
	}
	if err := p.SetReadDeadline(end); err != nil {
		return 0, err
	}
	n, err := p.Conn.Read(b)
	p.got += int64(n)
	return n, err
}

// setDeadline gives the next reads and writes together the time d.
func (p *paced) setDeadline(d time.Duration) {
	p.until, p.rate = time.Now().Add(d), false
	p.SetWriteDeadline(p.until)
}

// stream lets the next reads take any time, provided that the octets keep coming at minRate.
func (p *paced) stream() { p.started, p.got, p.rate = time.Now(), 0, true }

// dial connects and reads the greeting.
func dial(ctx context.Context, o *Options) (*conn, error) {
	dialing, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	connect := o.Dial
	if connect == nil {
		connect = new(net.Dialer).DialContext
	}
	raw, err := connect(dialing, "tcp", o.address())
	if err != nil {
		text := "cannot connect to " + o.address()
		return nil, &Error{ErrUnreachable, text, unreachableHint(err), err}
	}
	c := &conn{opts: o, pace: &paced{Conn: raw}, mask: foreign.NewMask(o.Password, o.Token)}
	c.setNet(c.pace)
	c.stop = context.AfterFunc(ctx, func() { raw.Close() })
	if o.ImplicitTLS {
		err = c.startTLS(ctx)
	}
	if err == nil {
		err = c.readGreeting()
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func unreachableHint(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Hint
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "check the server's name, and that DNS works"
	}
	return "check name and port, and that this machine is online"
}

func (c *conn) setNet(n net.Conn) { c.net, c.in = n, bufio.NewReaderSize(n, maxLine) }

func (c *conn) close() {
	c.stop()
	c.pace.Close()
}

func (c *conn) readGreeting() error {
	c.pace.setDeadline(commandTime)
	text, err := c.reply()
	if refused, ok := errors.AsType[*refusal](err); ok {
		return &Error{Class: ErrBusy, Text: "the server refuses the connection: " + refused.text}
	}
	c.greeting = text
	return err
}

// refusal is a reply of -ERR.
type refusal struct {
	code string // the response code (RFC 2449 §8), such as "IN-USE", or ""
	text string
}

func (r *refusal) Error() string { return "the server says: " + r.text }

// command sends a line and returns the text after +OK. The reply -ERR is a *refusal. After any
// other error the connection is unusable.
func (c *conn) command(line string) (string, error) {
	c.pace.setDeadline(commandTime)
	if _, err := io.WriteString(c.net, line+"\r\n"); err != nil {
		return "", c.connError(err)
	}
	return c.reply()
}

func (c *conn) reply() (string, error) {
	line, err := c.line()
	if err != nil {
		return "", err
	}
	return c.parseReply(line)
}

func (c *conn) parseReply(line string) (string, error) {
	status, text, _ := strings.Cut(line, " ")
	switch strings.ToUpper(status) {
	case "+OK":
		return text, nil
	case "-ERR":
		r := &refusal{text: c.printable(text)}
		if code, _, ok := strings.Cut(text, "]"); ok && strings.HasPrefix(code, "[") {
			r.code = strings.ToUpper(code[1:])
		}
		return "", r
	}
	return "", &Error{
		Class: ErrProtocol,
		Text:  fmt.Sprintf("the server's reply is neither +OK nor -ERR: %q", c.printable(line)),
		Hint:  "check that the port is a POP3 port",
	}
}

// line reads one line of a reply and returns it without its end.
func (c *conn) line() (string, error) {
	line, err := c.in.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		text := fmt.Sprintf("the server sent a line of more than %d octets", maxLine)
		return "", &Error{Class: ErrProtocol, Text: text}
	case err != nil:
		return "", c.connError(err)
	}
	text, crlf := bytes.CutSuffix(line, []byte("\r\n"))
	c.lfOnly = !crlf
	return string(bytes.TrimSuffix(text, []byte("\n"))), nil
}

// lines reads the lines of a multi-line reply up to the final dot.
func (c *conn) lines(do func(line string)) error {
	c.pace.stream()
	for octets := 0; ; {
		line, err := c.line()
		switch {
		case err != nil:
			return err
		case line == ".":
			return nil
		}
		if octets += len(line); octets > maxListing {
			text := fmt.Sprintf("the server sent a listing of more than %d MiB", maxListing>>20)
			return &Error{Class: ErrProtocol, Text: text}
		}
		do(strings.TrimPrefix(line, "."))
	}
}

// connError describes a lost connection or a timeout.
func (c *conn) connError(err error) error {
	e := &Error{
		Class: ErrUnreachable, Text: "the connection to " + c.opts.Host + " was lost", Err: err,
	}
	if n, ok := errors.AsType[net.Error](err); ok && n.Timeout() {
		e.Text, e.Err = c.opts.Host+" did not answer in time", nil
	} else if errors.Is(err, io.EOF) {
		e.Text, e.Err = c.opts.Host+" closed the connection", nil
	}
	return e
}

// printable makes a text of the server fit for a log. It masks the password too, in case the server
// repeats it.
func (c *conn) printable(text string) string { return c.mask.Printable(text, maxText) }
