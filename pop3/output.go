package pop3

import (
	"bufio"
	"io"
	"math"
	"net"
	"sync"
	"time"

	"pillarbox/mailstore/sessions"
)

// output sends replies to the client. It holds a buffer only while there is something to send, so
// that an idle connection needs none. The first error is permanent: a client that did not receive a
// reply in time gets no other.
type output struct {
	conn    net.Conn
	live    *sessions.Session
	timeout time.Duration // for each write of at most bufferSize bytes
	pool    *sync.Pool
	buf     *bufio.Writer // nil while there is nothing to send
	sent    int64         // octets
	err     error         // the first one
}

// buffer returns the writer for replies. Its errors appear at the next flush at the latest. When a
// file is copied to it, the part that does not fit the buffer goes directly to the connection; for
// plain TCP the kernel copies it (sendfile).
func (o *output) buffer() *bufio.Writer {
	if o.buf == nil {
		o.buf = o.pool.Get().(*bufio.Writer)
		if conn, ok := o.conn.(io.ReaderFrom); ok {
			o.buf.Reset(directOutput{o, conn})
		} else {
			o.buf.Reset(o)
		}
	}
	return o.buf
}

// total returns the number of octets that were sent or wait in the buffer.
func (o *output) total() int64 {
	if o.buf == nil {
		return o.sent
	}
	return o.sent + int64(o.buf.Buffered())
}

// flush sends the buffered replies and returns the buffer to the pool.
func (o *output) flush() error {
	if o.buf != nil {
		o.buf.Flush()
		o.buf.Reset(nil)
		o.pool.Put(o.buf)
		o.buf = nil
	}
	return o.err
}

// Write receives the overflow of the buffer.
func (o *output) Write(p []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	o.conn.SetWriteDeadline(time.Now().Add(o.timeout))
	n, err := o.conn.Write(p)
	o.sent += int64(n)
	o.live.AddOut(int64(n))
	o.err = err
	return n, err
}

// directOutput is an output to a connection that implements io.ReaderFrom.
type directOutput struct {
	*output
	from io.ReaderFrom // the connection
}

// ReadFrom copies pieces of bufferSize, each with its own deadline, like writes. It passes the
// underlying reader on unwrapped, so that package net can hand a file to the kernel, as
// Content.CopyTo needs.
func (o directOutput) ReadFrom(r io.Reader) (copied int64, err error) {
	whole, ok := r.(*io.LimitedReader)
	if !ok {
		whole = &io.LimitedReader{R: r, N: math.MaxInt64}
	}
	piece := io.LimitedReader{R: whole.R}
	for o.err == nil && whole.N > 0 && piece.N == 0 { // a rest in piece means: the reader ended
		piece.N = min(whole.N, bufferSize)
		o.conn.SetWriteDeadline(time.Now().Add(o.timeout))
		n, err := o.from.ReadFrom(&piece)
		copied += n
		whole.N -= n
		o.sent += n
		o.live.AddOut(n)
		o.err = err
	}
	return copied, o.err
}
