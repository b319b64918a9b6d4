package simulate

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// network connects clients, the server and other servers. All of it waits in ways that virtual time knows.
type network struct {
	mu    sync.Mutex
	ports map[string]*listener // by address
	conns map[*conn]struct{}   // ends that are not closed
	port  int                  // of the last client
}

func newNetwork() *network {
	return &network{ports: make(map[string]*listener), conns: make(map[*conn]struct{})}
}

// listen opens a port of the server.
func (n *network) listen(address string) (net.Listener, error) {
	l := &listener{network: n, address: tcpAddr(address), incoming: make(chan net.Conn, 1000), closed: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ports[address] = l
	return l, nil
}

func tcpAddr(address string) *net.TCPAddr {
	a, err := net.ResolveTCPAddr("tcp", address) // numbers: nothing is looked up
	if err != nil {
		panic(err)
	}
	return a
}

var errRefused = errors.New("connection refused")

// dial connects a client at an address to a port of the server.
func (n *network) dial(from, address string) (*conn, error) {
	n.mu.Lock()
	l := n.ports[address]
	n.port++
	port := 1024 + n.port%60000
	n.mu.Unlock()
	if l == nil {
		return nil, errRefused
	}
	local := tcpAddr(from + ":1")
	local.Port = port
	client, server := n.pipe(local, l.address)
	select {
	case l.incoming <- server:
		return client, nil
	case <-l.closed:
		client.Close()
		server.Close()
		return nil, errRefused
	}
}

// pipe returns both ends of a connection.
func (n *network) pipe(a, b net.Addr) (*conn, *conn) {
	up, down := newHalf(), newHalf()
	x := &conn{network: n, in: down, out: up, local: a, remote: b}
	y := &conn{network: n, in: up, out: down, local: b, remote: a}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns[x], n.conns[y] = struct{}{}, struct{}{}
	return x, y
}

// cut ends all connections, and refuses new ones.
func (n *network) cut() {
	n.mu.Lock()
	conns, ports := n.conns, n.ports
	n.conns, n.ports = make(map[*conn]struct{}), make(map[string]*listener)
	n.mu.Unlock()
	for c := range conns {
		c.reset()
	}
	for _, l := range ports {
		l.Close()
	}
}

// open is how many ends of connections are not closed.
func (n *network) open() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.conns)
}

type listener struct {
	network  *network
	address  net.Addr
	incoming chan net.Conn
	once     sync.Once
	closed   chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-l.incoming:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		for {
			select {
			case c := <-l.incoming:
				c.Close()
			default:
				return
			}
		}
	})
	return nil
}

func (l *listener) Addr() net.Addr { return l.address }

// window is how many octets may be under way in one direction.
const window = 64 << 10

// half is one direction of a connection.
type half struct {
	mu     sync.Mutex
	moved  *sync.Cond // something was written, read or closed, or a deadline is another
	data   []byte
	memory []byte // that data began in
	ended  bool   // nothing more will come
	broken bool   // nothing can be read or written any more

	readBy, writeBy deadline
}

type deadline struct {
	at    time.Time
	timer *time.Timer
}

func newHalf() *half {
	h := new(half)
	h.moved = sync.NewCond(&h.mu)
	return h
}

func (h *half) set(d *deadline, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d.at = at
	switch {
	case at.IsZero() && d.timer != nil:
		d.timer.Stop()
	case at.IsZero():
	case d.timer != nil:
		d.timer.Reset(time.Until(at))
	default:
		d.timer = time.AfterFunc(time.Until(at), func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.moved.Broadcast()
		})
	}
	h.moved.Broadcast()
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (h *half) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.broken:
			return 0, errReset
		case h.readBy.passed():
			return 0, os.ErrDeadlineExceeded
		case len(h.data) > 0:
			n := copy(p, h.data)
			if h.data = h.data[n:]; len(h.data) == 0 {
				h.data = h.memory[:0]
			}
			h.moved.Broadcast()
			return n, nil
		case h.ended:
			return 0, io.EOF
		}
		h.moved.Wait()
	}
}

var errReset = errors.New("connection reset by peer")

func (h *half) write(p []byte) (n int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.broken, h.ended:
			return n, errReset
		case h.writeBy.passed():
			return n, os.ErrDeadlineExceeded
		case len(p) == 0:
			return n, nil
		case len(h.data) < window:
			some := p[:min(len(p), window-len(h.data))]
			if len(h.data) == 0 {
				h.memory = append(h.memory[:0], some...)
				h.data = h.memory
			} else {
				h.data = append(h.data, some...)
			}
			p = p[len(some):]
			n += len(some)
			h.moved.Broadcast()
			continue
		}
		h.moved.Wait()
	}
}

func (h *half) end(broken bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	h.broken = h.broken || broken
	for _, d := range []*deadline{&h.readBy, &h.writeBy} {
		if d.timer != nil {
			d.timer.Stop()
		}
	}
	h.moved.Broadcast()
}

// conn is one end of a connection.
type conn struct {
	network       *network
	in, out       *half
	local, remote net.Addr
	mu            sync.Mutex
	closed        bool
	left          int  // octets that are still sent before the connection breaks, if limited
	limited       bool // it does
}

func (c *conn) Read(p []byte) (int, error) {
	if c.isClosed() {
		return 0, net.ErrClosed
	}
	n, err := c.in.read(p)
	if err == errReset && c.isClosed() {
		err = net.ErrClosed
	}
	return n, err
}

func (c *conn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

func (c *conn) Write(p []byte) (int, error) {
	if c.isClosed() {
		return 0, net.ErrClosed
	}
	if c.limited && len(p) > c.left {
		n, _ := c.out.write(p[:c.left])
		c.left = 0
		c.drop()
		return n, errReset
	}
	n, err := c.out.write(p)
	c.left -= n
	return n, err
}

// breakAfter makes the connection break when so many more octets are sent.
func (c *conn) breakAfter(octets int) { c.limited, c.left = true, octets }

// drop ends the connection as one whose line is cut: what was sent arrives, and then no more.
func (c *conn) drop() { c.Close() }

// Close ends the connection in order: what was written can be read.
func (c *conn) Close() error {
	c.mu.Lock()
	was := c.closed
	c.closed = true
	c.mu.Unlock()
	if was {
		return net.ErrClosed
	}
	c.out.end(false)
	c.in.end(true)
	c.network.mu.Lock()
	delete(c.network.conns, c)
	c.network.mu.Unlock()
	return nil
}

// reset ends the connection for both at once.
func (c *conn) reset() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.out.end(true)
	c.in.end(true)
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.set(&c.in.readBy, t)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.set(&c.out.writeBy, t)
	return nil
}

// dialOut is how the server reaches others.
func (w *world) dialOut(_ context.Context, _, address string) (net.Conn, error) {
	return w.sink.accept(address)
}
