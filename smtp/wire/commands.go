package wire

import (
	"encoding/base64"
	"errors"
	"math"
	"strconv"
	"strings"
)

// command answers a command line, or forwards it to the library in a normal form. It keeps the
// order of commands (RFC 5321 §4.1.4): the library never gets one out of sequence.
func (c *Conn) command(line string) error {
	cmd := parseCommand(line)
	c.verb = cmd.verb
	if c.last && cmd.verb != "QUIT" {
		c.reply(421, "4.7.0 The last message did not end with CRLF.CRLF; open another connection")
		return errTooMany
	}
	switch cmd.verb {
	case "HELO", "EHLO":
		return c.hello(cmd)
	case "MAIL":
		return c.mail(cmd.arg)
	case "RCPT":
		return c.rcpt(cmd.arg)
	case "DATA":
		return c.data(cmd.arg)
	case "BDAT":
		return c.bdat(cmd.arg)
	case "AUTH":
		return c.auth(cmd.arg)
	case "STARTTLS":
		return c.startTLS(cmd.arg)
	case "RSET", "QUIT":
		return c.forward(cmd.verb)
	case "NOOP":
		return c.reply(250, "2.0.0 OK")
	case "HELP":
		return c.reply(214, "2.0.0 EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP AUTH STARTTLS QUIT; see RFC 5321")
	case "VRFY":
		return c.vrfy(cmd.arg)
	case "ETRN":
		return c.etrn(cmd.arg)
	case "ATRN":
		return c.atrn(cmd.arg)
	case "TURN":
		return c.refuse(502, "5.5.1 TURN is not offered: it would give your mail to any client that "+
			"uses your name (RFC 5321 F.1); use ETRN, or ATRN (RFC 2645)")
	case "EXPN", "SEND", "SOML", "SAML":
		return c.refuse(502, "5.5.1 Command not implemented")
	case "GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "HOST:":
		// A web page can make a browser send a form to this port. The fields of the form must
		// not be taken for commands.
		c.reply(421, "4.7.0 This is a mail server, not a web server")
		return errTooMany
	case "":
		return c.refuse(500, "5.5.2 Syntax error")
	}
	return c.refuse(500, "5.5.2 Unrecognized command")
}

// forward gives the library a command line.
func (c *Conn) forward(words ...string) error {
	c.input = append(append(c.input[:0], strings.Join(words, " ")...), "\r\n"...)
	return nil
}

func (c *Conn) hello(cmd command) error {
	name, _, _ := strings.Cut(cmd.arg, " ")
	if name == "" || len(name) > 255 {
		return c.refuse(501, "5.5.4 "+cmd.verb+" needs the name of your computer")
	}
	c.state.helo = printable(name)
	c.live.SetHelo(c.state.helo)
	c.said.SetName(c.state.helo)
	return c.forward(cmd.verb, c.state.helo)
}

func (c *Conn) mail(arg string) error {
	switch {
	case c.cfg.ATRN:
		return c.refuse(502, "5.5.1 No mail is taken here, it is fetched with ATRN (RFC 2645)")
	case !c.state.greeted:
		return c.refuse(503, "5.5.1 Say EHLO or HELO first")
	case c.state.mail:
		return c.refuse(503, "5.5.1 A transaction is open already; RSET ends it")
	case c.cfg.MaxMessages > 0 && c.messages >= c.cfg.MaxMessages:
		return c.reply(452, "4.5.3 Too many messages on this connection; open another")
	case c.cfg.MaxSessionSize > 0 && c.received >= c.cfg.MaxSessionSize:
		return c.reply(452, "4.3.4 Too much mail on this connection; open another")
	}
	p, err := c.cfg.parsePath(arg, "FROM:", "SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH")
	if err != nil {
		return c.refusePath(err, "MAIL FROM:<address>")
	}
	c.logOdd(p, arg)
	c.state.path, c.state.dropping = p.address, false
	c.state.size, p.params = cutSize(p.params)
	// The library gets a placeholder, because the adapter passes state.path to the session.
	return c.forward(append([]string{"MAIL FROM:<>"}, p.params...)...)
}

// maxSize is the largest declared size that counts. It leaves room to add to it.
const maxSize = math.MaxInt64 / 2

// cutSize takes SIZE off the parameters of MAIL. It may have 20 digits (RFC 1870 §4), and the
// library reads 32 bits. A malformed SIZE stays: the library refuses it.
func cutSize(params []string) (size int64, rest []string) {
	for _, param := range params {
		name, digits, _ := strings.Cut(param, "=")
		n, err := strconv.ParseUint(digits, 10, 64)
		if !strings.EqualFold(name, "SIZE") || len(digits) > 20 || err != nil && !errors.Is(err, strconv.ErrRange) {
			rest = append(rest, param)
			continue
		}
		size = int64(min(n, maxSize))
	}
	return size, rest
}

func (c *Conn) rcpt(arg string) error {
	if !c.state.mail {
		return c.refuse(503, "5.5.1 Need MAIL before RCPT")
	}
	p, err := c.cfg.parsePath(arg, "TO:", "NOTIFY", "ORCPT")
	if err == nil && p.address.IsZero() {
		err = errAddress
	}
	if err != nil {
		return c.refusePath(err, "RCPT TO:<address>")
	}
	c.logOdd(p, arg)
	if limit := c.cfg.MaxRecipients; limit > 0 && c.state.rcpts >= limit {
		return c.reply(452, "4.5.3 Too many recipients; send the message to the rest separately")
	}
	c.state.path = p.address
	return c.forward(append([]string{"RCPT TO:<path@wire>"}, p.params...)...) // as in mail
}

// logOdd logs a path that a strict server would refuse.
func (c *Conn) logOdd(p path, arg string) {
	if p.odd {
		c.cfg.Log.Debug("address accepted although it is not written as RFC 5321 requires",
			"remote_ip", c.Remote().Addr(), "path", arg, "address", p.address.String())
	}
}

func (c *Conn) refusePath(err error, form string) error {
	switch {
	case errors.Is(err, errParam):
		return c.refuse(555, "5.5.4 Parameter not recognized or not implemented")
	case errors.Is(err, errAddress) && strings.HasPrefix(form, "MAIL"):
		return c.refuse(501, "5.1.7 Bad sender address syntax")
	case errors.Is(err, errAddress):
		return c.refuse(501, "5.1.3 Bad recipient address syntax")
	}
	return c.refuse(501, "5.5.4 Syntax: "+form)
}

func (c *Conn) data(arg string) error {
	switch {
	case arg != "":
		return c.refuse(501, "5.5.4 DATA takes no argument")
	case !c.state.mail:
		return c.refuse(503, "5.5.1 Need MAIL and RCPT before DATA")
	case c.state.rcpts == 0:
		return c.refuse(554, "5.5.1 No valid recipients")
	}
	return c.forward("DATA")
}

func (c *Conn) auth(arg string) error {
	words := strings.Fields(arg)
	switch {
	case !c.state.greeted:
		return c.refuse(503, "5.5.1 Say EHLO first")
	case c.state.authed:
		return c.refuse(503, "5.5.1 Already authenticated")
	case c.state.mail:
		return c.refuse(503, "5.5.1 AUTH is not permitted in a mail transaction")
	case len(words) == 0 || len(words) > 2:
		return c.refuse(501, "5.5.4 Syntax: AUTH mechanism [initial-response]")
	case len(words) == 2 && words[1] != "=" && !isBase64([]byte(words[1])):
		return c.refuse(501, "5.5.2 Cannot decode the response: not base64")
	}
	return c.forward(append([]string{"AUTH"}, words...)...)
}

func isBase64(b []byte) bool {
	if string(b) == "*" {
		return true // cancels the exchange (RFC 4954 §4); the library handles it
	}
	_, err := base64.StdEncoding.DecodeString(string(b))
	return err == nil
}

func isAuth(line []byte) bool {
	return len(line) > 5 && strings.EqualFold(string(line[:5]), "AUTH ")
}

func (c *Conn) vrfy(arg string) error {
	if arg == "" {
		return c.refuse(501, "5.5.4 Syntax: VRFY address")
	}
	return c.reply(252, "2.1.5 Cannot VRFY user, but will accept message and attempt delivery")
}

// etrn starts remote-triggered delivery (RFC 1985).
func (c *Conn) etrn(node string) error {
	switch {
	case !c.cfg.ETRN:
		return c.refuse(502, "5.5.1 Command not implemented")
	case !c.state.greeted:
		return c.refuse(503, "5.5.1 Say EHLO first")
	case c.state.mail:
		return c.refuse(503, "5.5.1 ETRN is not permitted in a mail transaction")
	case node == "" || strings.ContainsAny(node, " \t"):
		return c.refuse(501, "5.5.4 Syntax: ETRN domain, @domain or #queue")
	}
	return c.replyOrRefuse(c.session.ETRN(node))
}

// startTLS turns on TLS (RFC 3207). It forgets what the client sent ahead unencrypted, which an
// attacker on the way could have inserted (CVE-2011-0411). The client must greet again.
func (c *Conn) startTLS(arg string) error {
	switch {
	case arg != "":
		return c.refuse(501, "5.5.4 STARTTLS takes no argument")
	case c.tlsState != nil:
		return c.refuse(503, "5.5.1 TLS is on already")
	case c.cfg.TLS == nil:
		return c.refuse(502, "5.5.1 TLS is not offered here")
	case !c.state.greeted:
		return c.refuse(503, "5.5.1 Say EHLO first")
	case c.state.authed:
		return c.refuse(503, "5.5.1 STARTTLS is not permitted after AUTH")
	}
	c.reply(220, "2.0.0 Ready to start TLS")
	if err := c.flush(); err != nil {
		return err
	}
	c.in.Discard(c.in.Buffered())
	c.state = state{}
	if err := c.handshake(); err != nil {
		return err
	}
	c.session.Secured()
	return nil
}
