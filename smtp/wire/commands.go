package wire

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"pillarbox/mailstore/caught"
	"pillarbox/smtp"
)

// command answers a command line here, or hands it to the library in a clean
// form. The order of commands is kept here (RFC 5321 §4.1.4): the library never
// sees one out of sequence.
func (c *Conn) command(line string) error {
	cmd := parseCommand(line)
	c.verb = cmd.verb
	switch cmd.verb {
	case "HELO", "EHLO":
		return c.hello(cmd)
	case "MAIL":
		return c.mail(cmd.arg)
	case "RCPT":
		return c.rcpt(cmd.arg)
	case "DATA":
		return c.data(cmd.arg)
	case "AUTH":
		return c.auth(cmd.arg)
	case "STARTTLS":
		return c.startTLS(cmd.arg)
	case "RSET", "QUIT":
		return c.hand(cmd.verb)
	case "NOOP":
		return c.say(250, "2.0.0", "OK")
	case "HELP":
		return c.say(214, "2.0.0", "EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP AUTH STARTTLS QUIT; see RFC 5321")
	case "VRFY":
		return c.vrfy(cmd.arg)
	case "ETRN":
		return c.etrn(cmd.arg)
	case "ATRN":
		return c.atrn(cmd.arg)
	case "EXPN", "TURN", "BDAT", "SEND", "SOML", "SAML":
		return c.refuse(502, "5.5.1", "Command not implemented")
	case "GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "HOST:":
		// A web page can make a browser send a form to this port; what stands
		// in the form must not be taken for commands.
		c.say(421, "4.7.0", "This is a mail server, not a web server")
		return errTooMany
	case "":
		return c.refuse(500, "5.5.2", "Syntax error")
	}
	return c.refuse(500, "5.5.2", "Unrecognized command")
}

// hand gives the library a command line.
func (c *Conn) hand(line string) error {
	c.handed = append(c.handed[:0], line...)
	c.handed = append(c.handed, "\r\n"...)
	return nil
}

// say writes a reply of one line into the buffer.
func (c *Conn) say(code int, enhanced, text string) error {
	if enhanced != "" {
		text = enhanced + " " + text
	}
	_, err := fmt.Fprintf(c.out, "%d %s\r\n", code, text)
	return err
}

// refuse writes a reply and counts it as an error.
func (c *Conn) refuse(code int, enhanced, text string) error {
	if err := c.say(code, enhanced, text); err != nil {
		return err
	}
	return c.countError()
}

// countError ends the connection of a client that makes too many.
func (c *Conn) countError() error {
	c.errors++
	if c.cfg.MaxErrors > 0 && c.errors >= c.cfg.MaxErrors {
		c.say(421, "4.7.0", "Too many errors, closing connection")
		return errTooMany
	}
	return nil
}

func (c *Conn) hello(cmd command) error {
	name, _, _ := strings.Cut(cmd.arg, " ")
	if name == "" || len(name) > 255 {
		return c.refuse(501, "5.5.4", cmd.verb+" needs the name of your computer")
	}
	c.state.helo = printable(name)
	return c.hand(cmd.verb + " " + c.state.helo)
}

func (c *Conn) mail(arg string) error {
	switch {
	case c.cfg.ATRN != nil:
		return c.refuse(502, "5.5.1", "No mail is taken here, it is fetched with ATRN (RFC 2645)")
	case !c.state.greeted:
		return c.refuse(503, "5.5.1", "Say EHLO or HELO first")
	case c.state.mail:
		return c.refuse(503, "5.5.1", "A transaction is open already; RSET ends it")
	case c.cfg.MaxMessages > 0 && c.messages >= c.cfg.MaxMessages:
		return c.say(452, "4.5.3", "Too many messages on this connection; open another")
	case c.cfg.MaxSessionSize > 0 && c.received >= c.cfg.MaxSessionSize:
		return c.say(452, "4.3.4", "Too much mail on this connection; open another")
	}
	p, err := parsePath(arg, "FROM:", c.cfg.DefaultDomain, "SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH")
	if err != nil {
		return c.refusePath(err, "MAIL FROM:<address>")
	}
	if i := slices.IndexFunc(p.params, tooLarge); i >= 0 {
		if c.cfg.MaxMessageSize > 0 {
			return c.say(552, "5.3.4", fmt.Sprintf("Message size exceeds the limit of %d octets", c.cfg.MaxMessageSize))
		}
		p.params = slices.Delete(p.params, i, i+1)
	}
	c.state.path = p.address
	return c.hand(strings.Join(append([]string{"MAIL FROM:<" + p.address.String() + ">"}, p.params...), " "))
}

// tooLarge reports a SIZE parameter of more than 32 bits, which the library
// takes for a syntax error; RFC 1870 §4 allows 20 digits.
func tooLarge(param string) bool {
	name, digits, _ := strings.Cut(param, "=")
	if !strings.EqualFold(name, "SIZE") || digits == "" || len(digits) > 20 || strings.Trim(digits, "0123456789") != "" {
		return false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return err != nil || n > math.MaxUint32
}

func (c *Conn) rcpt(arg string) error {
	if !c.state.mail {
		return c.refuse(503, "5.5.1", "Need MAIL before RCPT")
	}
	p, err := parsePath(arg, "TO:", c.cfg.DefaultDomain, "NOTIFY", "ORCPT")
	if err == nil && p.address.IsZero() {
		err = errAddress
	}
	if err != nil {
		return c.refusePath(err, "RCPT TO:<address>")
	}
	if limit := c.cfg.MaxRecipients; limit > 0 && c.state.rcpts >= limit {
		return c.say(452, "4.5.3", "Too many recipients; send the message to the rest separately")
	}
	c.state.path = p.address
	return c.hand(strings.Join(append([]string{"RCPT TO:<" + p.address.String() + ">"}, p.params...), " "))
}

func (c *Conn) refusePath(err error, form string) error {
	switch {
	case errors.Is(err, errParam):
		return c.refuse(555, "5.5.4", "Parameter not recognized or not implemented")
	case errors.Is(err, errAddress) && strings.HasPrefix(form, "MAIL"):
		return c.refuse(501, "5.1.7", "Bad sender address syntax")
	case errors.Is(err, errAddress):
		return c.refuse(501, "5.1.3", "Bad recipient address syntax")
	}
	return c.refuse(501, "5.5.4", "Syntax: "+form)
}

func (c *Conn) data(arg string) error {
	switch {
	case arg != "":
		return c.refuse(501, "5.5.4", "DATA takes no argument")
	case !c.state.mail:
		return c.refuse(503, "5.5.1", "Need MAIL and RCPT before DATA")
	case c.state.rcpts == 0:
		return c.refuse(554, "5.5.1", "No valid recipients")
	}
	return c.hand("DATA")
}

func (c *Conn) auth(arg string) error {
	words := strings.Fields(arg)
	switch {
	case !c.state.greeted:
		return c.refuse(503, "5.5.1", "Say EHLO first")
	case c.state.authed:
		return c.refuse(503, "5.5.1", "Already authenticated")
	case c.state.mail:
		return c.refuse(503, "5.5.1", "AUTH is not permitted in a mail transaction")
	case len(words) == 0 || len(words) > 2:
		return c.refuse(501, "5.5.4", "Syntax: AUTH mechanism [initial-response]")
	case len(words) == 2 && words[1] != "=" && !isBase64([]byte(words[1])):
		return c.refuse(501, "5.5.2", "Cannot decode the response: not base64")
	}
	return c.hand("AUTH " + strings.Join(words, " "))
}

func isBase64(b []byte) bool {
	if string(b) == "*" {
		return true // cancels the exchange; the library knows it
	}
	_, err := base64.StdEncoding.DecodeString(string(b))
	return err == nil
}

func isAuth(line []byte) bool {
	return len(line) > 5 && strings.EqualFold(string(line[:5]), "AUTH ")
}

func (c *Conn) vrfy(arg string) error {
	if arg == "" {
		return c.refuse(501, "5.5.4", "Syntax: VRFY address")
	}
	return c.say(252, "2.1.5", "Cannot VRFY user, but will accept message and attempt delivery")
}

// etrn starts remote-triggered delivery (RFC 1985).
func (c *Conn) etrn(node string) error {
	switch {
	case c.cfg.ETRN == nil:
		return c.refuse(502, "5.5.1", "Command not implemented")
	case !c.state.greeted:
		return c.refuse(503, "5.5.1", "Say EHLO first")
	case c.state.mail:
		return c.refuse(503, "5.5.1", "ETRN is not permitted in a mail transaction")
	case node == "" || strings.ContainsAny(node, " \t"):
		return c.refuse(501, "5.5.4", "Syntax: ETRN domain, @domain or #queue")
	}
	return c.sayReply(c.cfg.ETRN(c, node))
}

// sayReply writes a reply, and counts it where it is an error.
func (c *Conn) sayReply(r *smtp.Reply) error {
	enhanced := fmt.Sprintf("%d.%d.%d", r.Enhanced[0], r.Enhanced[1], r.Enhanced[2])
	if r.Code < 400 {
		return c.say(r.Code, enhanced, r.Text)
	}
	return c.refuse(r.Code, enhanced, r.Text)
}

// startTLS (RFC 3207): what the client sent ahead in the clear is forgotten, it
// could come from somebody between (CVE-2011-0411); and it must greet again.
func (c *Conn) startTLS(arg string) error {
	switch {
	case arg != "":
		return c.refuse(501, "5.5.4", "STARTTLS takes no argument")
	case c.tlsState != nil:
		return c.refuse(503, "5.5.1", "TLS is on already")
	case c.cfg.TLS == nil:
		return c.refuse(502, "5.5.1", "TLS is not offered here")
	case !c.state.greeted:
		return c.refuse(503, "5.5.1", "Say EHLO first")
	case c.state.authed:
		return c.refuse(503, "5.5.1", "STARTTLS is not permitted after AUTH")
	}
	c.say(220, "2.0.0", "Ready to start TLS")
	if err := c.flush(); err != nil {
		return err
	}
	c.in.Discard(c.in.Buffered())
	c.state = state{}
	return c.handshake()
}

// Write takes what the library answers. Whole replies are rewritten in our own
// words and buffered. What it says to a connection that has failed is dropped:
// the last word is farewell's.
func (c *Conn) Write(p []byte) (int, error) {
	if c.implicit {
		c.implicit = false
		if err := c.contain(c.handshake); err != nil {
			c.fail(err)
		}
	}
	if c.err != nil {
		return len(p), nil
	}
	c.reply = append(c.reply, p...)
	if complete(c.reply) {
		r := parseReply(c.reply)
		c.reply = c.reply[:0]
		if err := c.contain(func() error { return c.answer(r) }); err != nil {
			c.fail(err)
		}
	}
	return len(p), nil
}

// reply is what the library wants to say.
type reply struct {
	code  int
	lines []string // without the code
}

// complete reports whether b ends in the last line of a reply: "250 text".
func complete(b []byte) bool {
	if !bytes.HasSuffix(b, crlf) {
		return false
	}
	last := b[bytes.LastIndexByte(b[:len(b)-2], '\n')+1:]
	return len(last) > 3 && last[3] == ' '
}

func parseReply(b []byte) reply {
	var r reply
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\r\n")
		fmt.Sscanf(line, "%d", &r.code)
		r.lines = append(r.lines, line[4:])
	}
	return r
}

// answer follows the session's state from a reply, and writes it.
func (c *Conn) answer(r reply) error {
	if !c.bannered {
		return c.greet()
	}
	if r.code != 334 && r.code != 354 {
		c.mode = modeCommand
	}
	verb := c.verb
	switch {
	case verb == "EHLO" || verb == "HELO":
		return c.answerHello(r)
	case verb == "MAIL" && r.code == 250:
		c.state.mail, c.state.rcpts = true, 0
		return c.say(250, "2.1.0", "<"+c.state.path.String()+"> Sender OK")
	case verb == "RCPT" && r.code == 250:
		c.state.rcpts++
		return c.say(250, "2.1.5", "<"+c.state.path.String()+"> Recipient OK")
	case verb == "DATA" && r.code == 354:
		c.mode, c.body = modeData, newBody(c)
		c.messages++
		return c.say(354, "", "Start mail input; end with <CRLF>.<CRLF>")
	case verb == "DATA", verb == "RSET":
		if verb == "DATA" && c.body != nil {
			c.progress = time.Now()
		}
		c.endTransaction()
		return c.pass(r)
	case verb == "AUTH":
		return c.answerAuth(r)
	case verb == "QUIT":
		return c.say(221, "2.0.0", c.cfg.Hostname+" closing connection")
	}
	return c.pass(r)
}

// greet says the greeting, or that the client is not wanted.
func (c *Conn) greet() error {
	c.bannered = true
	if c.cfg.Admit != nil {
		if r := c.cfg.Admit(c); r != nil {
			c.say(r.Code, fmt.Sprintf("%d.%d.%d", r.Enhanced[0], r.Enhanced[1], r.Enhanced[2]), r.Text)
			return errRefused
		}
	}
	return c.say(220, "", c.cfg.Hostname+" "+c.cfg.Greeting())
}

func (c *Conn) endTransaction() {
	c.state.mail, c.state.rcpts, c.body = false, 0, nil
}

// pass writes the library's reply as it is, and counts it where it is a
// protocol error.
func (c *Conn) pass(r reply) error {
	for i, line := range r.lines {
		sep := "-"
		if i == len(r.lines)-1 {
			sep = " "
		}
		fmt.Fprintf(c.out, "%d%s%s\r\n", r.code, sep, line)
	}
	if r.code >= 500 && r.code < 540 {
		return c.countError()
	}
	return nil
}

// answerHello writes the server's own greeting and keywords (RFC 5321
// §4.1.1.1): what the library offers less CHUNKING, which it gets wrong, plus
// what this package does.
func (c *Conn) answerHello(r reply) error {
	if r.code != 250 {
		return c.pass(r)
	}
	c.endTransaction()
	c.state.greeted, c.state.extended = true, c.verb == "EHLO"
	hello := c.cfg.Hostname + " Hello " + c.state.helo
	if !c.state.extended {
		return c.say(250, "", hello)
	}
	lines := []string{hello}
	for _, keyword := range r.lines[1:] {
		switch {
		case keyword == "CHUNKING", keyword == "DSN" && c.cfg.DSN != nil && !c.cfg.DSN(c), c.cfg.ATRN != nil && aboutMail(keyword):
		case keyword == "SIZE" && c.cfg.MaxMessageSize > 0:
			lines = append(lines, fmt.Sprintf("SIZE %d", c.cfg.MaxMessageSize))
		default:
			lines = append(lines, keyword)
		}
		if strings.HasPrefix(keyword, "AUTH ") && strings.Contains(keyword, " LOGIN") {
			lines = append(lines, "AUTH=LOGIN") // what Outlook Express 4 looks for
		}
	}
	if c.cfg.TLS != nil && c.tlsState == nil {
		lines = slices.Insert(lines, 1, "STARTTLS")
	}
	if c.cfg.ETRN != nil {
		lines = append(lines, "ETRN")
	}
	if c.cfg.ATRN != nil {
		lines = append(lines, "ATRN")
	}
	return c.pass(reply{250, append(lines, "VRFY", "HELP")})
}

func (c *Conn) answerAuth(r reply) error {
	switch {
	case r.code == 334:
		c.mode = modeAuth
		return c.pass(r)
	case r.code == 235:
		c.state.authed, c.progress = true, time.Now()
		return c.say(235, "2.7.0", "Authentication successful")
	case c.badAuth:
		c.badAuth = false
		return c.refuse(501, "5.5.2", "Cannot decode the response: not base64")
	case r.code == 501:
		return c.refuse(501, "5.7.0", "Authentication cancelled")
	}
	return c.pass(r)
}

// farewell tells the client, once, why its connection ends, where it can still
// be told.
func (c *Conn) farewell() {
	if c.parted {
		return
	}
	c.parted = true
	switch {
	case errors.Is(c.err, errShutdown):
		c.say(421, "4.3.2", c.cfg.Hostname+" is shutting down, try again later")
	case errors.Is(c.err, errTimeout):
		c.say(421, "4.4.2", c.cfg.Hostname+" timed out waiting for you")
	case caught.Is(c.err):
		c.say(421, "4.3.0", c.cfg.Hostname+" made a mistake, closing connection")
	case errors.Is(c.err, errStalled):
		c.say(421, "4.4.2", c.cfg.Hostname+" got no message in time, closing connection")
	case errors.Is(c.err, errFlood):
		c.say(421, "4.7.0", "Endless input, closing connection")
	}
	c.out.Flush()
}
