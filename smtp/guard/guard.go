// Package guard stands before the greeting: it limits how many connections there
// are in all and from one address, and turns away whom the server will not talk
// to. SMTP and POP3 stand behind the same Guard. For after the log-in it counts
// the sessions of each account.
package guard

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Limits of a Guard; 0 is no limit.
type Limits struct {
	Connections int // in all
	PerAddress  int // from one IPv4 address or one IPv6 /64
}

// Guard counts connections. Safe for concurrent use.
type Guard struct {
	mu     sync.Mutex
	limits Limits             // owner: mu
	total  int                // owner: mu
	from   map[netip.Addr]int // owner: mu; no entry is zero
}

// New returns a Guard that has counted nothing.
func New(limits Limits) *Guard {
	return &Guard{limits: limits, from: make(map[netip.Addr]int)}
}

// SetLimits changes the limits for connections to come.
func (g *Guard) SetLimits(limits Limits) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limits = limits
}

// Listen returns inner with the limits in front: a connection over one gets
// refusal, a whole line with its CRLF, and is closed. An empty refusal, for
// ports where TLS comes first, just closes.
func (g *Guard) Listen(inner net.Listener, refusal string) net.Listener {
	return &listener{inner, g, refusal}
}

type listener struct {
	net.Listener
	guard   *Guard
	refusal string
}

// Accept returns the next connection within the limits.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		key := addressKey(c.RemoteAddr())
		if l.guard.enter(key) {
			return &conn{Conn: c, leave: sync.OnceFunc(func() { l.guard.leave(key) })}, nil
		}
		turnAway(c, l.refusal)
	}
}

// turnAway says line and hangs up.
func turnAway(c net.Conn, line string) {
	// The line fits into an empty socket buffer: this does not block.
	c.SetWriteDeadline(time.Now().Add(time.Second))
	c.Write([]byte(line))
	c.Close()
}

// addressKey is what connections are counted by. An IPv6 host has a whole /64
// to itself.
func addressKey(a net.Addr) netip.Addr {
	ip := clientAddress(a)
	if ip.Is6() {
		prefix, _ := ip.Prefix(64)
		return prefix.Addr()
	}
	return ip
}

func clientAddress(a net.Addr) netip.Addr {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

func (g *Guard) enter(key netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.limits.Connections > 0 && g.total >= g.limits.Connections ||
		g.limits.PerAddress > 0 && g.from[key] >= g.limits.PerAddress {
		return false
	}
	g.total++
	g.from[key]++
	return true
}

func (g *Guard) leave(key netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if g.from[key]--; g.from[key] == 0 {
		delete(g.from, key)
	}
}

type conn struct {
	net.Conn
	leave func()
}

// ReadFrom lets the kernel copy from a file, where the connection below can.
func (c *conn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

// NetConn is the connection below.
func (c *conn) NetConn() net.Conn { return c.Conn }

func (c *conn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
