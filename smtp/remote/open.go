package remote

import (
	"bufio"
	"cmp"
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"pillarbox/smtp/route"
)

// target is one address of one server, and what a connection to it must be.
type target struct {
	name     string         // for results, SNI and certificates
	addr     netip.AddrPort // where to
	socket   string         // instead of addr: a unix socket
	implicit bool           // TLS from the first octet
	security security
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

// extensions are what a server offered (RFC 5321 §4.1.1.1).
type extensions struct {
	pipelining, eightBit, smtpUTF8, dsn, startTLS, etrn bool
	maxSize                                             int64 // 0: no limit is known
	sizes                                               bool  // SIZE is taken
	auth                                                []string
}

// add notes one line of an answer to EHLO.
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
		if mechanism, ok := strings.CutPrefix(keyword, "AUTH="); ok { // of Outlook Express's day
			e.auth = append(append(e.auth, mechanism), strings.Fields(strings.ToUpper(rest))...)
		}
	}
}

// open brings a connection to where it takes mail. Where TLS is wished but need
// not be, trouble with it leads to a second connection without.
func (r *Remote) open(ctx context.Context, rt *route.Route, t target, tell teller) (*conn, *failure) {
	c, f := r.openOnce(ctx, rt, t, tell)
	if f != nil && f.tls && t.security.mode == route.TLSOpportunistic && !t.implicit {
		tell.step("tls", false, "TLS does not work ("+f.reply.Text+"); connecting again without", "")
		t.security.mode = route.TLSOff
		r.log.Info("no TLS, though it was offered", "server", t.name, "reply", f.reply.Error())
		c, f = r.openOnce(ctx, rt, t, tell)
	}
	return c, f
}

func (r *Remote) openOnce(ctx context.Context, rt *route.Route, t target, tell teller) (*conn, *failure) {
	c, f := r.dial(ctx, rt, t)
	if f != nil {
		tell.failed("connect", f)
		return nil, f
	}
	tell.step("connect", true, "connected to "+t.String()+" from "+c.net.LocalAddr().String(), "")
	deadline, _ := ctx.Deadline()
	done := c.begin(ctx, deadline)
	defer done()
	f = c.greet(t, tell)
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
		f := unreachable([3]int{4, 4, 1}, "%s %s", &t, plainly(err))
		f.hint = "see whether a firewall, or the provider, blocks port " + strconv.Itoa(int(t.addr.Port()))
		if t.socket != "" {
			f.hint = "see whether the other server runs and whether its socket may be written to"
		}
		return nil, f
	}
	c := &conn{
		raw: nc, net: nc, in: bufio.NewReaderSize(nc, maxReplyLine),
		name: t.name, remote: r, route: rt, socket: t.socket != "",
	}
	if rt.User != "" || rt.PasswordFile != "" {
		// The server may know the password from another connection, and say it before, or
		// without, a login on this one.
		c.password, c.passwordErr = ReadPassword(rt.PasswordFile)
		c.reply.mask.Add(c.password)
	}
	return c, nil
}

func (r *Remote) dialer(rt *route.Route) func(ctx context.Context, network, address string) (net.Conn, error) {
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

// greet does all that comes before the first message.
func (c *conn) greet(t target, tell teller) *failure {
	if t.implicit {
		if f := c.shakeHands(t, tell); f != nil {
			return tell.failed("tls", f)
		}
	}
	c.deadline(greetingTimeout)
	if err := c.reply.read(c.in, nil); err != nil {
		return tell.failed("greeting", c.lost("waited for its greeting", err))
	}
	if !c.reply.positive() {
		f := c.refusal()
		f.turnedAway = c.reply.code/100 == 5
		return tell.failed("greeting", f)
	}
	tell.reply("greeting", &c.reply, "")
	if f := c.hello(tell); f != nil {
		return f
	}
	if t.security.mode != route.TLSOff && !t.implicit && t.socket == "" {
		if f := c.startTLS(t, tell); f != nil {
			return tell.failed("tls", f)
		}
	}
	if c.route.User != "" && t.security.login {
		return tell.failed("auth", c.logIn(tell))
	}
	return nil
}

// hello says EHLO, or LHLO or HELO, and notes what is offered.
func (c *conn) hello(tell teller) *failure {
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
		return tell.failed("ehlo", c.lost("said "+strings.TrimSpace(verb), err))
	}
	if c.reply.code/100 == 5 && verb == "EHLO " {
		tell.reply("ehlo", &c.reply, "trying HELO")
		verb, c.extensions = "HELO ", extensions{}
		if err := c.command(commandTimeout, verb+name, note); err != nil {
			return tell.failed("helo", c.lost("said HELO", err))
		}
	}
	if !c.reply.positive() {
		f := c.refusal()
		f.turnedAway = c.reply.code/100 == 5
		f.hint = "the server does not like the name " + name
		return tell.failed("ehlo", f)
	}
	tell.step(strings.ToLower(strings.TrimSpace(verb)), true, strconv.Itoa(c.reply.code)+" "+c.reply.line(), "")
	return nil
}
