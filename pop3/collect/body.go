package collect

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// body is the message that follows a RETR: without dot-stuffing (RFC 1939 §3), every line with CRLF. A message without its
// last dot ends with an error that is not io.EOF.
type body struct {
	c     *conn
	out   []byte // to be read
	lf    bool   // what was read ended with a LF alone: CRLF is to follow
	start bool   // of a line
	cr    bool   // the last octet was a CR
	err   error
}

func (c *conn) body() *body {
	c.pace.stream()
	return &body{c: c, start: true}
}

// ended reports whether the whole message has been read.
func (b *body) ended() bool { return errors.Is(b.err, io.EOF) && len(b.out) == 0 }

// broken is why nothing more can come over the connection; nil as long as it can.
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

// fill takes the next line, or part of a long one, from the connection.
func (b *body) fill() {
	if b.lf {
		b.out, b.lf = []byte("\r\n"), false
		return
	}
	part, err := b.c.in.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		b.err = b.c.lost(err)
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

// isEnd reports whether a line is the dot. Where lines end with CRLF, a dot between bare LFs is part of a message.
func (b *body) isEnd(line []byte) bool {
	return string(line) == ".\r\n" || b.c.lfOnly && string(line) == ".\n"
}
