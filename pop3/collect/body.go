package collect

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// body reads the message that follows a RETR. It removes the dot-stuffing (RFC 1939 §3) and ends
// every line with CRLF. A message without its final dot ends with an error other than io.EOF.
type body struct {
	c     *conn
	out   []byte // not yet returned by Read
	lf    bool   // the line in out ended with a bare LF: CRLF must follow it
	start bool   // the next octet begins a line
	cr    bool   // the last octet was a CR
	err   error  // io.EOF after the whole message
}

func (c *conn) body() *body {
	c.pace.stream()
	return &body{c: c, start: true}
}

// ended reports whether the whole message has been read.
func (b *body) ended() bool { return errors.Is(b.err, io.EOF) && len(b.out) == 0 }

// broken returns the error after which the connection is unusable, or nil.
func (b *body) broken() error {
	if b.err != nil && !errors.Is(b.err, io.EOF) {
		return b.err
	}
	return nil
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	for len(b.out) == 0 {
		if b.err != nil {
			return 0, b.err
		}
		b.fill()
	}
	n := copy(p, b.out)
	b.out = b.out[n:]
	return n, nil
}

// fill reads the next line, or part of a long one, from the connection.
func (b *body) fill() {
	if b.lf {
		b.out, b.lf = []byte("\r\n"), false
		return
	}
	part, err := b.c.in.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		b.err = b.c.connError(err)
		return
	}
	if b.start && b.isEnd(part) {
		b.err = io.EOF
		return
	}
	if b.start && part[0] == '.' {
		part = part[1:]
	}
	text, whole := bytes.CutSuffix(part, []byte("\n"))
	crlf := whole && (bytes.HasSuffix(text, []byte("\r")) || len(text) == 0 && b.cr)
	b.cr = bytes.HasSuffix(part, []byte("\r"))
	b.start = crlf || whole && b.c.lfOnly
	b.out = part
	if whole && !crlf {
		b.out, b.lf = text, true
	}
}

// isEnd reports whether a line is the final dot. If the server ends lines with CRLF, a dot between
// bare LFs belongs to the message.
func (b *body) isEnd(line []byte) bool {
	return string(line) == ".\r\n" || b.c.lfOnly && string(line) == ".\n"
}
