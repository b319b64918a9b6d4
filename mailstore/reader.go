package mailstore

import (
	"bufio"
	"io"
)

// crlfReader turns each LF that follows no CR into CRLF, and ends the last line
// with one. A bare CR stays as it is.
type crlfReader struct {
	src     *bufio.Reader
	last    byte // handed out
	pending bool // an LF whose CR was handed out
	err     error
}

func newCRLFReader(r io.Reader) *crlfReader {
	return &crlfReader{src: bufio.NewReaderSize(r, bufferSize)}
}

// Read implements io.Reader.
func (c *crlfReader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) && c.err == nil {
		var b byte
		if b, c.err = c.next(); c.err == nil {
			p[n] = b
			n++
		}
	}
	if n > 0 {
		return n, nil
	}
	return 0, c.err
}

func (c *crlfReader) next() (byte, error) {
	if c.pending {
		c.pending, c.last = false, '\n'
		return '\n', nil
	}
	b, err := c.src.ReadByte()
	if err == io.EOF && c.last != 0 && c.last != '\n' {
		b, err = '\n', nil // as the protocol will have it: the size must count it
	}
	if err != nil {
		return 0, err
	}
	if b == '\n' && c.last != '\r' {
		c.pending = true
		b = '\r'
	}
	c.last = b
	return b, nil
}

// exactReader hands out exactly left bytes: more are cut off, fewer are an error.
type exactReader struct {
	r    io.Reader
	left int64
	io.Closer
}

// Read implements io.Reader.
func (e *exactReader) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	if err == io.EOF && e.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
