package wire

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"pillarbox/mailstore/caught"
	"pillarbox/mailstore/sessions"
	"pillarbox/smtp"
)

// reply buffers a reply. Every reply is written here.
func (c *Conn) reply(code int, lines ...string) error {
	for i, line := range lines {
		separator := '-'
		if i == len(lines)-1 {
			separator = ' '
		}
		if _, err := fmt.Fprintf(c.out, "%d%c%s\r\n", code, separator, line); err != nil {
			return err
		}
		c.sayReply(code, separator, line)
	}
	if code != 334 && code != 354 { // after these the client goes on with the same command
		c.said.Done(code)
	}
	return nil
}

// refuse buffers a reply and counts it as an error of the client. Too many errors end the
// connection.
func (c *Conn) refuse(code int, lines ...string) error {
	if err := c.reply(code, lines...); err != nil {
		return err
	}
	c.errors++
	if c.cfg.MaxErrors > 0 && c.errors >= c.cfg.MaxErrors {
		c.reply(421, "4.7.0 Too many errors, closing connection")
		return errTooMany
	}
	return nil
}

// replyOrRefuse buffers a reply, and counts it if it is an error.
func (c *Conn) replyOrRefuse(r *smtp.Reply) error {
	if r.Code < 400 {
		return c.reply(r.Code, statusText(r))
	}
	return c.refuse(r.Code, statusText(r))
}

// statusText is a reply without its code: "5.7.1 Text".
func statusText(r *smtp.Reply) string {
	return fmt.Sprintf("%d.%d.%d %s", r.Enhanced[0], r.Enhanced[1], r.Enhanced[2], r.Text)
}

// Write takes the replies of the library. Each whole reply is answered in our words. Replies to a
// connection that has failed are dropped: sendClosing has the last word.
func (c *Conn) Write(p []byte) (int, error) {
	if c.implicit {
		c.implicit = false
		if err := c.safely(c.handshake); err != nil {
			c.fail(err)
		}
	}
	if c.err != nil {
		return len(p), nil
	}
	c.output = append(c.output, p...)
	if code, lines, ok := parseReply(c.output); ok {
		c.output = c.output[:0]
		if err := c.safely(func() error { return c.answer(code, lines) }); err != nil {
			c.fail(err)
		}
	}
	return len(p), nil
}

// parseReply reads a reply of the library. ok is false until its last line, "250 text", is there.
func parseReply(b []byte) (code int, lines []string, ok bool) {
	if !bytes.HasSuffix(b, lineEnd) {
		return 0, nil, false
	}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\r\n")
		if len(line) < 4 {
			return 0, nil, false
		}
		code, _ = strconv.Atoi(line[:3])
		lines, ok = append(lines, line[4:]), line[3] == ' '
	}
	return code, lines, ok
}

// answer follows the state of the session from a reply of the library, and replies to the client.
func (c *Conn) answer(code int, lines []string) error {
	if !c.greetingSent {
		return c.greet()
	}
	if code != 334 && code != 354 {
		c.mode = modeCommand
	}
	verb := c.verb
	switch {
	case verb == "EHLO" && code == 250, verb == "HELO" && code == 250:
		return c.answerHello(lines[1:])
	case verb == "MAIL" && code == 250:
		c.state.mail, c.state.rcpts = true, 0
		return c.reply(250, "2.1.0 <"+c.state.path.String()+"> Sender OK")
	case verb == "RCPT" && code == 250:
		c.state.rcpts++
		return c.reply(250, "2.1.5 <"+c.state.path.String()+"> Recipient OK")
	case verb == "DATA" && code == 354:
		c.mode, c.body = modeData, newBody(c, c.session.BareEndings())
		c.messages++
		c.live.SetState(sessions.Receiving)
		return c.reply(354, "Start mail input; end with <CRLF>.<CRLF>")
	case verb == "BDAT" && code == 354: // the client is sending already
		c.mode, c.body, c.chunked = modeData, c.chunked, nil
		c.messages++
		c.live.SetState(sessions.Receiving)
		return nil
	case verb == "DATA", verb == "BDAT", verb == "RSET":
		c.sayBody()
		if c.body != nil {
			c.progress = time.Now()
		}
		c.endTransaction()
		c.state.dropping = verb == "BDAT" && code >= 400
		if c.pending != "" {
			return nil // the reply to that command follows instead
		}
	case verb == "AUTH":
		return c.answerAuth(code, lines)
	case verb == "QUIT":
		return c.reply(221, "2.0.0 "+c.cfg.Hostname+" closing connection")
	}
	return c.pass(code, lines)
}

// pass replies as the library does. It counts protocol and login errors.
func (c *Conn) pass(code int, lines []string) error {
	if code >= 500 && code < 540 {
		return c.refuse(code, lines...)
	}
	return c.reply(code, lines...)
}

// greet sends the greeting, or refuses the client.
func (c *Conn) greet() error {
	c.greetingSent = true
	c.live.SetState(sessions.Greeting)
	var refusal *smtp.Reply
	if c.session, refusal = c.cfg.Admit(c); refusal != nil {
		c.reply(refusal.Code, statusText(refusal))
		return errRefused
	}
	return c.reply(220, c.cfg.Hostname+" "+c.cfg.Greeting())
}

func (c *Conn) endTransaction() {
	c.state.mail, c.state.rcpts, c.body = false, 0, nil
}

// answerHello writes our own greeting and the keywords (RFC 5321 §4.1.1.1). These are the
// library's, where they apply, and those of this package.
func (c *Conn) answerHello(keywords []string) error {
	c.endTransaction()
	c.state.greeted, c.state.extended = true, c.verb == "EHLO"
	hello := c.cfg.Hostname + " Hello " + c.state.helo
	if !c.state.extended {
		return c.reply(250, hello)
	}
	lines := []string{hello}
	for _, keyword := range keywords {
		switch {
		case keyword == "DSN" && !c.session.OffersDSN(), c.cfg.ATRN && isMailKeyword(keyword):
		case keyword == "SIZE" && c.cfg.MaxMessageSize > 0:
			lines = append(lines, fmt.Sprintf("SIZE %d", c.cfg.MaxMessageSize))
		default:
			lines = append(lines, keyword)
		}
		if strings.HasPrefix(keyword, "AUTH ") && strings.Contains(keyword, " LOGIN") {
			lines = append(lines, "AUTH=LOGIN") // Outlook Express 4 looks for this form
		}
	}
	if c.cfg.TLS != nil && c.tlsState == nil {
		lines = slices.Insert(lines, 1, "STARTTLS")
	}
	if c.cfg.ETRN {
		lines = append(lines, "ETRN")
	}
	if c.cfg.ATRN {
		lines = append(lines, "ATRN")
	}
	return c.reply(250, append(lines, "VRFY", "HELP")...)
}

func (c *Conn) answerAuth(code int, lines []string) error {
	switch {
	case code == 334:
		c.mode = modeAuth
	case code == 235:
		c.state.authed, c.progress = true, time.Now()
		return c.reply(235, "2.7.0 Authentication successful")
	case c.badAuth:
		c.badAuth = false
		return c.refuse(501, "5.5.2 Cannot decode the response: not base64")
	case code == 501:
		return c.refuse(501, "5.7.0 Authentication cancelled")
	}
	return c.pass(code, lines)
}

// sendClosing tells the client, once, why its connection ends, if it can still be told.
func (c *Conn) sendClosing() {
	if c.closingSent {
		return
	}
	c.closingSent = true
	switch {
	case errors.Is(c.err, ErrKilled):
		c.reply(421, "4.3.2 "+c.cfg.Hostname+" this session was closed by the administrator")
	case errors.Is(c.err, errShutdown):
		c.reply(421, "4.3.2 "+c.cfg.Hostname+" is shutting down, try again later")
	case errors.Is(c.err, errTimeout):
		c.reply(421, "4.4.2 "+c.cfg.Hostname+" timed out waiting for you")
	case caught.Is(c.err):
		c.reply(421, "4.3.0 "+c.cfg.Hostname+" made a mistake, closing connection")
	case errors.Is(c.err, errStalled):
		c.reply(421, "4.4.2 "+c.cfg.Hostname+" got no message in time, closing connection")
	case errors.Is(c.err, errFlood):
		c.reply(421, "4.7.0 Endless input, closing connection")
	}
	c.out.Flush()
}
