// Package mailtext gives the text of incoming mail the form of the wire (RFC 5321 §2.3.8) and of the
// store: CRLF is the only line end, and no separator of an mbox file precedes the header. Every way
// in uses it, so that a message has the same text: SMTP with repair of line ends, the pickup folder,
// sendmail, an import, and a file that was put into a mailbox by hand.
//
// LF, CRLF and a lone CR each end a line, and so does the CR CR LF of some old programs. Correct text
// passes unchanged.
package mailtext

import (
	"bytes"
	"errors"
	"io"
)

const (
	// maxCRs is the longest run of CRs before a LF that is one line end.
	maxCRs = 8
	// bufferSize is the number of octets that are converted at a time.
	bufferSize = 32 << 10
)

// Writer converts what is written to it. Finish ends the last line.
type Writer struct {
	w    io.Writer
	out  []byte
	crs  int  // CRs whose next octet is not known yet
	open bool // the last line has no end yet
}

// NewWriter returns a Writer that writes to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write implements io.Writer.
func (c *Writer) Write(p []byte) (int, error) {
	for written := 0; written < len(p); {
		part := p[written:min(len(p), written+bufferSize)]
		c.convert(part)
		if err := c.flush(); err != nil {
			return written, err
		}
		written += len(part)
	}
	return len(p), nil
}

// Waiting reports whether the end of a line depends on the next octet.
func (c *Writer) Waiting() bool { return c.crs > 0 }

// Finish ends the last line if it has no end. It must be the last call.
func (c *Writer) Finish() error {
	if c.endLines(); c.open {
		c.endLine()
	}
	return c.flush()
}

func (c *Writer) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.w.Write(c.out)
	c.out = c.out[:0]
	return err
}

func (c *Writer) convert(p []byte) {
	for len(p) > 0 {
		end := bytes.IndexAny(p, "\r\n")
		switch {
		case end != 0:
			if end < 0 {
				end = len(p)
			}
			c.endLines()
			c.out, c.open = append(c.out, p[:end]...), true
			p = p[end:]
			continue
		case p[0] == '\n':
			c.endLine()
			c.crs = 0
		case c.crs == maxCRs:
			c.endLine()
		default:
			c.crs++
		}
		p = p[1:]
	}
}

// endLines makes a line end of each CR that no LF follows.
func (c *Writer) endLines() {
	for ; c.crs > 0; c.crs-- {
		c.endLine()
	}
}

func (c *Writer) endLine() { c.out, c.open = append(c.out, '\r', '\n'), false }

// NewReader returns the text of r, converted. It ends the last line.
func NewReader(r io.Reader) io.Reader {
	c := &reader{src: r, in: make([]byte, bufferSize)}
	c.lines = NewWriter(&c.out)
	return c
}

type reader struct {
	src   io.Reader
	in    []byte
	lines *Writer
	out   bytes.Buffer // converted, not yet read
	err   error        // from src
}

// Read implements io.Reader.
func (c *reader) Read(p []byte) (int, error) {
	for c.out.Len() == 0 && c.err == nil {
		var n int
		n, c.err = c.src.Read(c.in)
		_, _ = c.lines.Write(c.in[:n]) // into memory: cannot fail
		if errors.Is(c.err, io.EOF) {
			_ = c.lines.Finish()
		}
	}
	if c.out.Len() > 0 {
		return c.out.Read(p)
	}
	return 0, c.err
}
