package mailstore

import (
	"bufio"
	"bytes"
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
		if c.pending {
			c.pending, c.last = false, '\n'
			p[n] = '\n'
			n++
			continue
		}
		if _, c.err = c.src.Peek(1); c.err == nil { // and fills the buffer
			n += c.copyLine(p[n:])
		} else if c.err == io.EOF && c.last != 0 && c.last != '\n' {
			c.err = nil // as the protocol will have it: the size must count it
			n += c.endLine(p[n:])
		}
	}
	if n > 0 {
		return n, nil
	}
	return 0, c.err
}

// copyLine copies from the buffer, up to the end of a line or of p.
func (c *crlfReader) copyLine(p []byte) int {
	part, _ := c.src.Peek(min(len(p), c.src.Buffered()))
	line, _, ended := bytes.Cut(part, []byte{'\n'})
	n := copy(p, line)
	if n > 0 {
		c.last = line[n-1]
	}
	if ended {
		n += c.endLine(p[n:])
		c.src.Discard(len(line) + 1)
	} else {
		c.src.Discard(n)
	}
	return n
}

// endLine writes one byte of the end of a line: the CR, or the LF if that was there.
func (c *crlfReader) endLine(p []byte) int {
	if c.last == '\r' {
		p[0], c.last = '\n', '\n'
	} else {
		p[0], c.last, c.pending = '\r', '\r', true
	}
	return 1
}

// Content is what a client gets of a message: exactly as many octets as were promised. More are cut off, fewer are an
// error.
type Content struct {
	r    io.Reader // the file, or what makes it fit to be served
	left int64
	file io.Closer
}

// Read implements io.Reader.
func (c *Content) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, c.short(err)
}

// short turns an end that comes too early into an error.
func (c *Content) short(err error) error {
	if err == io.EOF && c.left > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

// CopyTo writes the next n octets, or all that are left if these are fewer. It does so by io.Copy from the file
// itself where that is possible, so that a writer that knows how can leave the work to the kernel.
func (c *Content) CopyTo(w io.Writer, n int64) error {
	part := io.LimitedReader{R: c.r, N: min(n, c.left)}
	want := part.N
	_, err := io.Copy(w, &part)
	c.left -= want - part.N
	if err == nil && part.N > 0 {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// Close closes the message's file.
func (c *Content) Close() error { return c.file.Close() }
