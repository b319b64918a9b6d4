package wire

import (
	"bytes"
	"io"
	"net"
	"strings"
)

// atrn turns the connection round (RFC 2645).
func (c *Conn) atrn(domains string) error {
	switch {
	case c.cfg.ATRN == nil:
		return c.refuse(502, "5.5.1", "Command not implemented")
	case !c.state.greeted:
		return c.refuse(503, "5.5.1", "Say EHLO first")
	}
	r, turn := c.cfg.ATRN(c, domains)
	err := c.sayReply(r)
	if turn == nil {
		return err
	}
	return c.turn(turn)
}

// turn makes us the client. Neither this package nor the library reads or writes on the connection any more.
func (c *Conn) turn(turn func(net.Conn)) error {
	if err := c.flush(); err != nil {
		c.Conn.Close() // and turn finds it so
	}
	ahead, _ := c.in.Peek(c.in.Buffered())
	turn(&turned{c.rw, io.MultiReader(bytes.NewReader(ahead), c.rw)})
	return errTurned
}

// turned is the connection with what the other side has sent ahead.
type turned struct {
	net.Conn
	in io.Reader
}

func (t *turned) Read(p []byte) (int, error) { return t.in.Read(p) }

// aboutMail reports whether a keyword of EHLO is about messages that are taken.
func aboutMail(keyword string) bool {
	word, _, _ := strings.Cut(keyword, " ")
	switch word {
	case "SIZE", "8BITMIME", "BINARYMIME", "SMTPUTF8", "DSN", "CHUNKING":
		return true
	}
	return false
}
