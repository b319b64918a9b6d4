package pop3

import (
	"bufio"
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
// the latest.
func (o *output) buffer() *bufio.Writer {
	if o.buf == nil {
		o.buf = o.pool.Get().(*bufio.Writer)
		o.buf.Reset(o)
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
