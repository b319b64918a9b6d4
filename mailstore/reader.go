package mailstore

import (
	"io"

	"pillarbox/mailstore/mailtext"
)

// foreignText returns the text of a file that another program put into a mailbox.
func foreignText(r io.Reader) io.Reader { return mailtext.NewReader(mailtext.WithoutSeparator(r)) }

// Content is a message as a client receives it: exactly as many octets as the listing says. A
// longer file is cut off; a shorter one is an error.
type Content struct {
	r    io.Reader // the file, or its text with CRLF if it is a foreign one
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

// short turns an early end into an error.
func (c *Content) short(err error) error {
	if err == io.EOF && c.left > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

// CopyTo writes the next n octets, or all if fewer are left. It uses io.Copy on the file itself
// where it can, so that a writer may use sendfile(2).
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
