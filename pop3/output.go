package pop3

import (
	"bufio"
	"io"
	"math"
	"net"
	"sync"
	"time"
)

// output is the way to the client. It has a buffer only while there is
// something to send, so that the many connections that wait cost none. An error
// stays: a client that once did not take its reply in time gets no other.
type output struct {
	conn    net.Conn
	timeout time.Duration // for each write, of at most bufferSize
	pool    *sync.Pool
	buf     *bufio.Writer // nil while there is nothing to send
	sent    int64         // octets
	err     error         // the first
}

// buffer is where to write replies. Its errors come back at the next flush, at
// the latest. When a file is copied to it, what does not fit in goes the
// connection's own way, which for plain TCP is the kernel's.
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

// flush sends what was written and gives the buffer back.
func (o *output) flush() error {
	if o.buf != nil {
		o.buf.Flush()
		o.buf.Reset(nil)
		o.pool.Put(o.buf)
		o.buf = nil
	}
	return o.err
}

// Write takes what overflows from the buffer.
func (o *output) Write(p []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	o.conn.SetWriteDeadline(time.Now().Add(o.timeout))
	n, err := o.conn.Write(p)
	o.sent += int64(n)
	o.err = err
	return n, err
}

// directOutput is an output to a connection that can read for itself.
type directOutput struct {
	*output
	from io.ReaderFrom // the connection
}

// ReadFrom copies in pieces of bufferSize, each with a deadline of its own, as
// if they were writes. A reader that package net can hand to the kernel, as
// Content.CopyTo does, it hands on as such.
func (o directOutput) ReadFrom(r io.Reader) (copied int64, err error) {
	whole, ok := r.(*io.LimitedReader)
	if !ok {
		whole = &io.LimitedReader{R: r, N: math.MaxInt64}
	}
	piece := io.LimitedReader{R: whole.R}
	for o.err == nil && whole.N > 0 && piece.N == 0 { // or else the last one met the end of the reader
		piece.N = min(whole.N, bufferSize)
		o.conn.SetWriteDeadline(time.Now().Add(o.timeout))
		n, err := o.from.ReadFrom(&piece)
		copied += n
		whole.N -= n
		o.sent += n
		o.err = err
	}
	return copied, o.err
}
