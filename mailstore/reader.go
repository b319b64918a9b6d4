package mailstore

import (
	"bytes"
	"io"
)

// newCRLFReader gives the text of r as a Normaliser writes it.
func newCRLFReader(r io.Reader) io.Reader {
	c := &crlfReader{src: r, in: make([]byte, bufferSize)}
	c.lines = NewNormaliser(&c.out)
	return c
}

type crlfReader struct {
	src   io.Reader
	in    []byte
	lines *Normaliser
	out   bytes.Buffer // what is to be handed out
	err   error        // from src
}

// Read implements io.Reader.
func (c *crlfReader) Read(p []byte) (int, error) {
	for c.out.Len() == 0 && c.err == nil {
		var n int
		n, c.err = c.src.Read(c.in)
		_, _ = c.lines.Write(c.in[:n]) // into memory
		if c.err == io.EOF {
			_ = c.lines.Finish() // as the protocol will have it: the size must count it
		}
	}
	if c.out.Len() > 0 {
		return c.out.Read(p)
	}
	return 0, c.err
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
