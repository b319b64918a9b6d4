package wire

import (
	"bytes"
	"io"
	"net"
	"strings"

	"pillarbox/mailstore/sessions"
)

// atrn reverses the connection (RFC 2645).
func (c *Conn) atrn(domains string) error {
	switch {
	case !c.cfg.ATRN:
		return c.refuse(502, "5.5.1 Command not implemented")
	case !c.state.greeted:
		return c.refuse(503, "5.5.1 Say EHLO first")
	}
	r, deliver := c.session.ATRN(domains)
	err := c.replyOrRefuse(r)
	if deliver == nil {
		return err
	}
	return c.reverse(deliver)
}

// reverse makes this server the client. Neither this package nor the library uses the connection
// after that.
func (c *Conn) reverse(deliver func(net.Conn)) error {
	if err := c.flush(); err != nil {
		c.Conn.Close() // so that deliver fails at once
	}
	c.live.SetState(sessions.Sending)
	ahead, _ := c.in.Peek(c.in.Buffered())
	deliver(&reversed{c.rw, io.MultiReader(bytes.NewReader(ahead), c.rw)})
	return errReversed
}

// reversed is the connection, preceded by the octets that the other side has already sent.
type reversed struct {
	net.Conn
	in io.Reader
}

func (r *reversed) Read(p []byte) (int, error) { return r.in.Read(p) }

// isMailKeyword reports whether a keyword of EHLO concerns mail that the server takes.
func isMailKeyword(keyword string) bool {
	word, _, _ := strings.Cut(keyword, " ")
	switch word {
	case "SIZE", "8BITMIME", "BINARYMIME", "SMTPUTF8", "DSN", "CHUNKING":
		return true
	}
	return false
}
