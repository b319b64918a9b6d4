package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"time"

	"pillarbox/mailstore/mailtext"
	"pillarbox/mailstore/sessions"
)

// Body reads the message that a client sends after DATA or with BDAT. It ends every line with CRLF.
// After DATA it removes the dots of RFC 5321 §4.5.2. CRLF.CRLF ends it, with io.EOF. Other errors
// are ErrTooLarge, ErrSession, ErrTextLine, ErrBareEnding, ErrLoneDot, ErrAborted, ErrKilled, and
// those of the connection.
//
// With NormaliseBareDot, LF.LF ends it too. If the message has a line with CRLF before, its text
// may come from another server that takes LF.LF for text, and a second message may be hidden in it
// (SMTP smuggling). Then LF.LF ends it only if the client sends no more for some seconds. After
// such an end, and after ErrLoneDot, the connection takes no other command than QUIT.
type Body struct {
	c        *Conn
	in       *bufio.Reader
	chunks   *chunks // nil: after DATA
	rest     []byte  // checked, not yet read
	size     int64   // octets of content so far
	raw      int64   // octets from the client so far
	line     int     // octets of the current line so far
	bare     BareEndings
	atCRLF   bool             // the next piece begins a line, after a CRLF
	atLF     bool             // or after a bare LF; both are set where the body begins
	crlf     bool             // a line ended with CRLF
	loneDot  bool             // a line was a lone dot, but did not end the body
	ended    bool             // the end was seen
	err      error            // every later Read fails with it
	lines    *mailtext.Writer // repairs line ends, into repaired; nil: no line end was bare so far
	repaired bytes.Buffer
	begun    time.Time
}

// minRate is the slowest rate of a body in octets per second, below that of the slowest modem. A
// body gets twice the data timeout in addition.
const minRate = 128

// Times without input after which a lone dot is the end of a body, or of a refused one. A client
// that takes its dot for the end waits for the reply, and must get it within 10 seconds.
const (
	dotPause   = 3 * time.Second
	dotTimeout = 8 * time.Second
)

func newBody(c *Conn, bare BareEndings) *Body {
	return &Body{c: c, in: c.in, bare: bare, atCRLF: true, atLF: true, begun: time.Now()}
}

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

// Line returns the next line with its CRLF, or a part of a line that is longer than the
// connection's buffer. The result is valid until the next call.
func (b *Body) Line() ([]byte, error) {
	for len(b.rest) == 0 {
		if b.err != nil {
			return nil, b.err
		}
		b.rest, b.err = b.next()
	}
	line := b.rest
	if i := bytes.Index(line, lineEnd); i >= 0 {
		line = line[:i+len(lineEnd)]
	}
	b.rest = b.rest[len(line):]
	return line, nil
}

// WriteTo writes each piece without a copy of it.
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

// next reads a line, or a piece of a long one, and checks it. The piece may be empty without an
// error.
func (b *Body) next() ([]byte, error) {
	atStart := b.atCRLF || b.atLF && b.bare == NormaliseBareDot
	piece, err := b.piece()
	if err != nil {
		return nil, err
	}
	switch {
	case b.ended && b.lines != nil && b.lines.Waiting(): // the last chunk may end with a CR
		b.line = 0
		b.repaired.Reset()
		_ = b.lines.Finish() // into memory: cannot fail
		return b.repaired.Bytes(), nil
	case b.ended && b.line > 0: // or in the middle of a line
		b.line = 0
		return lineEnd, nil
	case b.ended && b.c.live.Killed():
		b.c.fail(ErrKilled)
		return nil, ErrKilled
	case b.ended:
		b.c.live.AddMessage()
		b.c.live.SetState(sessions.Processing)
		return nil, io.EOF
	}
	if atStart && piece[0] == '.' {
		piece = piece[1:] // dot-stuffing, or a dot that the client need not have sent
	}
	content := bytes.TrimSuffix(piece, lineEnd)
	bare := bytes.IndexByte(content, '\r') >= 0 || bytes.IndexByte(content, '\n') >= 0
	switch {
	case bare && b.bare == RefuseBare:
		return nil, ErrBareEnding
	case bare || b.lines != nil && b.lines.Waiting():
		piece = b.repair(piece)
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
	if bytes.HasSuffix(piece, lineEnd) {
		b.line = 0
	}
	return piece, nil
}

// piece reads up to a LF or a full buffer, and detects the end of the body. It never cuts between
// a CR and the next octet. The result is valid until the next call.
func (b *Body) piece() ([]byte, error) {
	if !b.lineBuffered() {
		if err := b.setDeadline(); err != nil {
			b.c.fail(err)
			return nil, err
		}
	}
	piece, err := b.in.ReadSlice('\n')
	switch {
	case err == nil:
	case errors.Is(err, bufio.ErrBufferFull):
		if n := len(piece) - 1; piece[n] == '\r' {
			_ = b.in.UnreadByte() // never fails after a read
			piece = piece[:n]
		}
	case b.chunks != nil && err == io.EOF:
		b.ended = len(piece) == 0
		b.raw += int64(len(piece))
		return piece, nil
	case err == ErrAborted:
		return nil, err
	case b.loneDot && errors.Is(err, errTimeout):
		b.ended, b.c.last = true, true
		return nil, ErrLoneDot
	case errors.Is(err, io.EOF):
		b.c.fail(io.ErrUnexpectedEOF)
		return nil, io.ErrUnexpectedEOF
	default:
		b.c.fail(err)
		return nil, err
	}
	b.raw += int64(len(piece))
	if b.chunks == nil {
		b.findEnd(piece)
	}
	return piece, nil
}

// lineBuffered reports whether the next line needs no read from the client. Most do not, and to set
// a deadline costs more than to find the end of a line.
func (b *Body) lineBuffered() bool {
	waiting, _ := b.in.Peek(b.in.Buffered())
	return bytes.IndexByte(waiting, '\n') >= 0
}

// findEnd decides whether a piece is the dot that ends the body. A dot counts only after a CRLF: if
// a LF always counted too, a client could hide a second message in the first.
func (b *Body) findEnd(piece []byte) {
	switch {
	case !b.atCRLF && !b.atLF:
	case b.atCRLF && string(piece) == ".\r\n":
		b.ended = true
	case b.bare == NormaliseBareDot && b.atLF && string(piece) == ".\n":
		b.ended = !b.crlf || b.silent()
		b.loneDot = true
	case piece[0] == '.' && piece[len(piece)-1] == '\n' && len(bytes.TrimRight(piece, "\r\n")) == 1:
		b.loneDot = true
	}
	b.atCRLF = bytes.HasSuffix(piece, lineEnd)
	b.atLF = !b.atCRLF && piece[len(piece)-1] == '\n'
	b.crlf = b.crlf || b.atCRLF
}

// silent reports whether the client sends no more for dotPause. If so, the connection takes no
// further command: more of the message may be on its way.
func (b *Body) silent() bool {
	if b.in.Buffered() > 0 || b.c.setReadDeadline(deadline(dotPause)) != nil {
		return false
	}
	if _, err := b.in.Peek(1); !errors.Is(err, errTimeout) {
		return false // more came, or the connection broke: the message may not be whole
	}
	b.c.last = true
	return true
}

// setDeadline sets the deadline of the next read. A client that sends an octet a minute does not
// keep the body open: it must keep to minRate on the whole.
func (b *Body) setDeadline() error {
	end := deadline(b.c.cfg.DataTimeout)
	if b.loneDot {
		end = deadline(dotTimeout)
	}
	last := b.begun.Add(2*b.c.cfg.DataTimeout + time.Duration(b.raw/minRate)*time.Second)
	if last.Before(end) {
		end = last
	}
	return b.c.setReadDeadline(end)
}

var lineEnd = []byte("\r\n")

// repair returns a piece with CRLF for every line end. It may hold back a CR until the next piece.
func (b *Body) repair(piece []byte) []byte {
	if b.lines == nil {
		b.lines = mailtext.NewWriter(&b.repaired)
	}
	b.repaired.Reset()
	_, _ = b.lines.Write(piece) // into memory: cannot fail
	return b.repaired.Bytes()
}

// drain reads the rest of a body, or of its current chunk, that the session has left unread. An
// endless one ends the connection.
func (b *Body) drain() error {
	b.rest = nil
	if b.chunks != nil {
		b.chunks.after = io.EOF
	}
	limit := b.raw + 2*b.c.cfg.MaxMessageSize + 1<<20
	if b.c.cfg.MaxMessageSize == 0 {
		limit = b.raw + 1<<30 // even without a limit for a message, drain must end
	}
	for !b.ended {
		if b.raw > limit {
			return errFlood
		}
		if _, err := b.piece(); err != nil && !errors.Is(err, ErrLoneDot) {
			return err
		}
	}
	return nil
}
