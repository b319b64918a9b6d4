package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"time"
)

// Body reads the message that a client sends after DATA: dots removed
// (RFC 5321 §4.5.2), every line ended by CRLF. It ends with io.EOF at
// CRLF.CRLF and at nothing else. Other errors: ErrTooLarge, ErrTextLine,
// ErrBareEnding, or the connection's.
type Body struct {
	c     *Conn
	rest  []byte // made ready, not yet read
	size  int64  // octets of content so far
	raw   int64  // octets from the client so far
	line  int    // octets of the line under way
	start bool   // the next piece begins a line, after a true CRLF
	ended bool   // CRLF.CRLF was seen
	err   error  // sticky
	begun time.Time
}

// minRate is how many octets a second a body must come at, beside twice the time for
// a block: less than the slowest modem.
const minRate = 128

// Body is the message under way: to be read in the session's Data method.
func (c *Conn) Body() *Body { return c.body }

func newBody(c *Conn) *Body { return &Body{c: c, start: true, begun: time.Now()} }

func (b *Body) Read(p []byte) (int, error) {
	for len(b.rest) == 0 {
		if b.err != nil {
			return 0, b.err
		}
		b.rest, b.err = b.next()
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// Line returns the next line with its CRLF, or a part of one that is longer than
// the connection's buffer. The result is valid until the next call.
func (b *Body) Line() ([]byte, error) {
	for len(b.rest) == 0 {
		if b.err != nil {
			return nil, b.err
		}
		b.rest, b.err = b.next()
	}
	line := b.rest
	if i := bytes.Index(line, crlf); i >= 0 {
		line = line[:i+len(crlf)]
	}
	b.rest = b.rest[len(line):]
	return line, nil
}

// WriteTo hands each piece on without a copy of it.
func (b *Body) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		if len(b.rest) == 0 && b.err == nil {
			b.rest, b.err = b.next()
		}
		if len(b.rest) > 0 {
			n, err := w.Write(b.rest)
			total += int64(n)
			b.rest = b.rest[n:]
			if err != nil {
				return total, err
			}
		}
		if len(b.rest) == 0 && b.err != nil {
			if b.err == io.EOF {
				return total, nil
			}
			return total, b.err
		}
	}
}

// next takes a line, or a piece of a long one, from the client and checks it.
// Without an error the piece may still be empty.
func (b *Body) next() ([]byte, error) {
	atStart := b.start
	piece, err := b.piece()
	if err != nil {
		return nil, err
	}
	if b.ended {
		return nil, io.EOF
	}
	if atStart && piece[0] == '.' {
		piece = piece[1:] // dot-stuffing, or a dot that no client had to send
	}
	content, complete := bytes.CutSuffix(piece, crlf)
	if bytes.IndexByte(content, '\r') >= 0 || bytes.IndexByte(content, '\n') >= 0 {
		if b.c.cfg.BareEndings == RefuseBare {
			return nil, ErrBareEnding
		}
		piece = normalise(content, complete)
	}
	b.size += int64(len(piece))
	b.c.received += int64(len(piece))
	b.line += len(piece)
	if limit := b.c.cfg.MaxMessageSize; limit > 0 && b.size > limit {
		return nil, ErrTooLarge
	}
	if limit := b.c.cfg.MaxSessionSize; limit > 0 && b.c.received > limit {
		return nil, ErrSession
	}
	if limit := b.c.cfg.MaxTextLine; limit > 0 && b.line > limit {
		return nil, ErrTextLine
	}
	if bytes.HasSuffix(piece, crlf) {
		b.line = 0
	}
	return piece, nil
}

// piece reads up to a LF or a bufferful, never between a CR and what follows
// it, and notices the end of the body. Only a true CRLF begins a line for the
// purposes of the dot: a server that takes LF for a line end there can be given
// a second message inside the first (SMTP smuggling). The result is valid until
// the next call.
func (b *Body) piece() ([]byte, error) {
	end := deadline(b.c.cfg.DataTimeout)
	if last := b.begun.Add(2*b.c.cfg.DataTimeout + time.Duration(b.raw/minRate)*time.Second); last.Before(end) {
		end = last
	}
	if err := b.c.Conn.SetReadDeadline(end); err != nil {
		return nil, err
	}
	piece, err := b.c.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		if n := len(piece) - 1; piece[n] == '\r' {
			b.c.in.UnreadByte()
			piece = piece[:n]
		}
	} else if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		b.c.fail(err)
		return nil, err
	}
	b.raw += int64(len(piece))
	b.ended = b.start && string(piece) == ".\r\n"
	b.start = bytes.HasSuffix(piece, crlf)
	return piece, nil
}

var crlf = []byte("\r\n")

// normalise makes every CR or LF that stands alone in content a CRLF, and gives
// the line its own ending back.
func normalise(content []byte, complete bool) []byte {
	out := make([]byte, 0, len(content)+8)
	for _, c := range content {
		if c == '\r' || c == '\n' {
			out = append(out, crlf...)
		} else {
			out = append(out, c)
		}
	}
	if complete {
		out = append(out, crlf...)
	}
	return out
}

// drain reads to the end of a body that the session has given up on. An
// endless one ends the connection.
func (b *Body) drain() error {
	b.rest = nil
	limit := b.raw + 2*b.c.cfg.MaxMessageSize + 1<<20
	if b.c.cfg.MaxMessageSize == 0 {
		limit = b.raw + 1<<30 // no limit is no reason to read for ever
	}
	for !b.ended {
		if b.raw > limit {
			return errFlood
		}
		if _, err := b.piece(); err != nil {
			return err
		}
	}
	return nil
}
