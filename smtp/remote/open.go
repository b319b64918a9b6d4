package remote

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pillarbox/smtp/route"
)

// target is one address of one server, with the required security.
type target struct {
	name     string         // for results, SNI and certificates
	addr     netip.AddrPort // where to connect
	socket   string         // a unix socket, instead of addr
	implicit bool           // TLS from the first octet
	security security

	refused []refusedLogin // mechanisms that it refused on another connection
}

func (t *target) dialAddress() (network, address string) {
	if t.socket != "" {
		return "unix", t.socket
	}
	return "tcp", t.addr.String()
}

func (t *target) String() string {
	if t.socket != "" {
		return t.socket
	}
	return t.name + " (" + t.addr.String() + ")"
}

// extensions are the extensions that a server offered (RFC 5321 §4.1.1.1).
type extensions struct {
	pipelining, eightBit, smtpUTF8, dsn, startTLS, etrn bool
	maxSize                                             int64 // 0: no known limit
	sizes                                               bool  // SIZE is supported
	auth                                                []string
}

// add parses one line of an EHLO reply.
func (e *extensions) add(line string) {
	keyword, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	switch keyword = strings.ToUpper(keyword); keyword {
	case "PIPELINING":
		e.pipelining = true
	case "8BITMIME":
		e.eightBit = true
	case "SMTPUTF8":
		e.smtpUTF8 = true
	case "DSN":
		e.dsn = true
	case "STARTTLS":
		e.startTLS = true
	case "ETRN":
		e.etrn = true
	case "SIZE":
		e.sizes = true
		e.maxSize, _ = strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
		e.maxSize = max(e.maxSize, 0)
	case "AUTH":
		e.auth = append(e.auth, strings.Fields(strings.ToUpper(rest))...)
	default:
		// AUTH= is an old form, from the time of Outlook Express.
		if mechanism, ok := strings.CutPrefix(keyword, "AUTH="); ok {
			e.auth = append(append(e.auth, mechanism), strings.Fields(strings.ToUpper(rest))...)
		}
	}
}

// open returns a connection that is ready for mail. If TLS is optional and fails, it makes a second
// connection without TLS. If the server closes the connection after it refused a login mechanism,
// it makes another one for the next mechanism.
func (r *Remote) open(ctx context.Context, rt *route.Route, t target, report reporter) (
	*conn, *failure,
) {
	c, f := r.openOnce(ctx, rt, t, report)
	if f != nil && f.tls && t.security.mode == route.TLSOpportunistic && !t.implicit {
		report.step("tls", false, "TLS failed ("+f.reply.Text+"); connecting again without TLS", "")
		t.security.mode = route.TLSOff
		r.log.Info("offered TLS failed, using plaintext", "server", t.name,
			"reply", f.reply.Error())
		c, f = r.openOnce(ctx, rt, t, report)
	}
	for f != nil && len(f.refused) > len(t.refused) {
		report.step("connect", true, "connecting again, for the next mechanism", "")
		t.refused = f.refused
		c, f = r.openOnce(ctx, rt, t, report)
	}
	return c, f
}

func (r *Remote) openOnce(ctx context.Context, rt *route.Route, t target, report reporter) (
	*conn, *failure,
) {
	token, f := r.accessToken(ctx, rt, t, report)
	if f != nil {
		return nil, f
	}
	c, f := r.dial(ctx, rt, t)
	if f != nil {
		report.failed("connect", f)
		return nil, f
	}
	c.useToken(token)
	report.step("connect", true, "connected to "+t.String()+" from "+c.net.LocalAddr().String(), "")
	deadline, _ := ctx.Deadline()
	done := c.begin(ctx, deadline)
	defer done()
	f = c.greet(t, report)
	if f != nil {
		c.abandon()
		return nil, f
	}
	return c, nil
}

func (r *Remote) dial(ctx context.Context, rt *route.Route, t target) (*conn, *failure) {
	ctx, cancel := context.WithTimeout(ctx, min(dialTimeout, cmp.Or(rt.Idle, dialTimeout)))
	defer cancel()
	network, address := t.dialAddress()
	nc, err := r.dialer(rt)(ctx, network, address)
	if err != nil {
		f := unreachable([3]int{4, 4, 1}, "%s %s", &t, describeError(err))
		f.hint = "see whether a firewall, or the provider, blocks port " + strconv.Itoa(int(t.addr.Port()))
		switch {
		case errors.Is(err, syscall.ECONNREFUSED) && t.addr.Addr().IsLoopback():
			f.hint = "no program listens there: start it, or correct the port"
		case t.socket != "":
			f.hint = "check whether the other server runs and its socket is writable"
		}
		return nil, f
	}
	c := &conn{
		raw: nc, net: nc, in: bufio.NewReaderSize(nc, maxReplyLine),
		name: t.name, remote: r, route: rt, socket: t.socket != "", refused: t.refused,
		port: int(t.addr.Port()),
	}
	if rt.OAuth.Enabled() {
		return c, nil
	}
	if rt.User != "" || rt.PasswordFile != "" {
		// The server may know the password from another connection. It could send it back before a
		// login on this connection, or without one.
		c.password, c.passwordErr = ReadPassword(rt.PasswordFile)
		c.reply.mask.Add(c.password)
	}
	return c, nil
}

func (r *Remote) dialer(rt *route.Route) func(
	ctx context.Context, network, address string,
) (net.Conn, error) {
	if r.opts.Dial != nil {
		return r.opts.Dial
	}
	d := &net.Dialer{KeepAlive: time.Minute}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if rt.Bind.IsValid() && network == "tcp" {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(rt.Bind, 0))
		}
		return d.DialContext(ctx, network, address)
	}
}

// greet does everything that comes before the first message.
func (c *conn) greet(t target, report reporter) *failure {
	if t.implicit {
		if f := c.handshake(t, report); f != nil {
			return report.failed("tls", f)
		}
	}
	c.deadline(greetingTimeout)
	if err := c.reply.read(c.in, nil); err != nil {
		return report.failed("greeting", c.connectionLost("waited for its greeting", err))
	}
	if !c.reply.positive() {
		f := c.refusal()
		f.noMail = c.reply.code/100 == 5
		return report.failed("greeting", f)
	}
	report.reply("greeting", &c.reply, "")
	if f := c.hello(report); f != nil {
		return f
	}
	if t.security.mode != route.TLSOff && !t.implicit && t.socket == "" {
		if f := c.startTLS(t, report); f != nil {
			return report.failed("tls", f)
		}
	}
	if c.route.User != "" && t.security.login {
		return c.logIn(report)
	}
	return nil
}

// hello sends EHLO, LHLO or HELO and records the offered extensions.
func (c *conn) hello(report reporter) *failure {
	verb := "EHLO "
	switch {
	case c.route.LMTP:
		verb = "LHLO "
	case c.route.Helo:
		verb = "HELO "
	}
	name := cmp.Or(c.route.EHLO, c.remote.opts.Hostname, "localhost")
	c.extensions = extensions{}
	lines := 0
	note := func(line []byte) {
		if lines++; lines > 1 && verb != "HELO " {
			c.extensions.add(string(line))
		}
	}
	if err := c.command(commandTimeout, verb+name, note); err != nil {
		return report.failed("ehlo", c.connectionLost("sent "+strings.TrimSpace(verb), err))
	}
	if c.reply.code/100 == 5 && verb == "EHLO " {
		report.reply("ehlo", &c.reply, "trying HELO")
		verb, c.extensions = "HELO ", extensions{}
		if err := c.command(commandTimeout, verb+name, note); err != nil {
			return report.failed("helo", c.connectionLost("sent HELO", err))
		}
	}
	if !c.reply.positive() {
		f := c.refusal()
		f.noMail = c.reply.code/100 == 5
		f.hint = "the server refuses the name " + name
		return report.failed("ehlo", f)
	}
	report.step(strings.ToLower(strings.TrimSpace(verb)), true,
		strconv.Itoa(c.reply.code)+" "+c.reply.line(), "")
	return nil
}
