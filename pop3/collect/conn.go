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

// Times and limits of what a server may do.
const (
	dialTime    = 30 * time.Second
	commandTime = time.Minute     // for a command and its whole reply
	idleTime    = time.Minute     // between two parts of a listing or a message
	graceTime   = 2 * time.Minute // for those, before their rate counts
	minRate     = 2 << 10         // octets a second that a message must come at: slower than any modem
	maxLine     = 4 << 10         // octets of a line of a reply
	maxListing  = 32 << 20        // octets of a listing
	maxMessages = 100_000         // messages that are looked at in one session
	maxText     = 200             // octets of a reply that are passed on
)

// conn is a connection to a server.
type conn struct {
	opts     *Options
	net      net.Conn
	pace     *paced
	in       *bufio.Reader
	secure   bool
	lfOnly   bool // the server ends its lines with LF alone
	greeting string
	mask     foreign.Mask // what we told the server in confidence
	stop     func() bool  // watching the context
}

// paced is a connection on which every reading ends in time, however slowly the server drips.
type paced struct {
	net.Conn
	until   time.Time // without rate: the end
	rate    bool      // the end moves on with what comes
	started time.Time
	got     int64
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

// within sets the end of what is done next.
func (p *paced) within(d time.Duration) {
	p.until, p.rate = time.Now().Add(d), false
	p.SetWriteDeadline(p.until)
}

// stream lets what is read next take as long as it comes at a decent rate.
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
		return nil, &Error{ErrUnreachable, "cannot connect to " + o.address(), unreachableHint(err), err}
	}
	c := &conn{opts: o, pace: &paced{Conn: raw}, mask: foreign.NewMask(o.Password)}
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
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "see whether the server's name is right and DNS works"
	}
	return "see whether name and port are right and this machine is online"
}

func (c *conn) setNet(n net.Conn) { c.net, c.in = n, bufio.NewReaderSize(n, maxLine) }

func (c *conn) close() {
	c.stop()
	c.pace.Close()
}

func (c *conn) readGreeting() error {
	c.pace.within(commandTime)
	text, err := c.reply()
	if refused, ok := errors.AsType[*refusal](err); ok {
		return &Error{Class: ErrBusy, Text: "the server turns us away: " + refused.text}
	}
	c.greeting = text
	return err
}

// refusal is a -ERR.
type refusal struct {
	code string // RFC 2449 §8, as "IN-USE"; "" without
	text string
}

func (r *refusal) Error() string { return "the server says: " + r.text }

// command says a line and returns what is behind +OK. A *refusal is -ERR; after every other error the connection is of no
// use any more.
func (c *conn) command(line string) (string, error) {
	c.pace.within(commandTime)
	if _, err := io.WriteString(c.net, line+"\r\n"); err != nil {
		return "", c.lost(err)
	}
	return c.reply()
}

func (c *conn) reply() (string, error) {
	line, err := c.line()
	if err != nil {
		return "", err
	}
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
	return "", &Error{Class: ErrProtocol, Text: fmt.Sprintf("neither +OK nor -ERR but %q", c.printable(line)), Hint: "see whether the port is that of POP3"}
}

// line reads one line of a reply, without its end.
func (c *conn) line() (string, error) {
	line, err := c.in.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", &Error{Class: ErrProtocol, Text: fmt.Sprintf("a line of more than %d octets", maxLine)}
	case err != nil:
		return "", c.lost(err)
	}
	text, crlf := bytes.CutSuffix(line, []byte("\r\n"))
	c.lfOnly = !crlf
	return string(bytes.TrimSuffix(text, []byte("\n"))), nil
}

// lines reads the lines of a reply up to the dot.
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
			return &Error{Class: ErrProtocol, Text: fmt.Sprintf("a listing of more than %d MiB", maxListing>>20)}
		}
		do(strings.TrimPrefix(line, "."))
	}
}

// lost says that the connection broke, or that the server took too long.
func (c *conn) lost(err error) error {
	e := &Error{Class: ErrUnreachable, Text: "the connection to " + c.opts.Host + " broke", Err: err}
	if n, ok := errors.AsType[net.Error](err); ok && n.Timeout() {
		e.Text, e.Err = c.opts.Host+" did not answer in time", nil
	} else if errors.Is(err, io.EOF) {
		e.Text, e.Err = c.opts.Host+" ended the connection", nil
	}
	return e
}

// printable is what a server said, fit for a log; not even a server that repeats it gets the password there.
func (c *conn) printable(text string) string { return c.mask.Printable(text, maxText) }
