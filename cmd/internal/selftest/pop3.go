package selftest

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/textproto"
	"strings"
)

// popClient is a minimal POP3 client (RFC 1939).
type popClient struct {
	conn net.Conn
	text *textproto.Conn
}

func newPOP3(c net.Conn) (*popClient, error) {
	p := &popClient{c, textproto.NewConn(c)}
	_, err := p.ok()
	return p, err
}

// ok reads one reply line. Any reply but +OK is an error.
func (p *popClient) ok() (string, error) {
	line, err := p.text.ReadLine()
	if err == nil && !strings.HasPrefix(line, "+OK") {
		err = fmt.Errorf("the server says %q", line)
	}
	return line, err
}

func (p *popClient) command(format string, args ...any) (string, error) {
	if err := p.text.PrintfLine(format, args...); err != nil {
		return "", err
	}
	return p.ok()
}

func (p *popClient) startTLS(cfg *tls.Config) error {
	if _, err := p.command("STLS"); err != nil {
		return err
	}
	t := tls.Client(p.conn, cfg)
	p.conn, p.text = t, textproto.NewConn(t)
	return t.Handshake()
}

// retrieveAll returns the text of all messages in one string, with LF.
func (p *popClient) retrieveAll() (string, error) {
	line, err := p.command("STAT")
	if err != nil {
		return "", err
	}
	var n, size int
	if _, err := fmt.Sscanf(line, "+OK %d %d", &n, &size); err != nil {
		return "", fmt.Errorf("STAT: %q: %w", line, err)
	}
	var all strings.Builder
	for i := range n {
		if _, err := p.command("RETR %d", i+1); err != nil {
			return "", err
		}
		text, err := p.text.ReadDotBytes()
		if err != nil {
			return "", err
		}
		all.Write(text)
	}
	return all.String(), nil
}

func (p *popClient) quit() error {
	_, err := p.command("QUIT")
	return err
}
