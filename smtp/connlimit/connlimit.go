// Package connlimit stands before the greeting: it limits how many connections there
// are in all and from one address, and turns away whom the server will not talk
// to. SMTP and POP3 stand behind the same Limiter. For after the log-in it counts
// the sessions of each account.
package connlimit

import (
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Limits of a Limiter; 0 is no limit.
type Limits struct {
	Connections int                   // in all
	PerAddress  int                   // from one IPv4 address or one IPv6 /64
	Trusted     func(netip.Addr) bool // clients with room of their own; nil: none
}

// Limiter counts connections. A crowd of strangers cannot take all: a part is kept for
// connections that are trusted or have logged in, and a part for each service; and
// the fewer are left, the fewer one address may have. Safe for concurrent use.
type Limiter struct {
	log *slog.Logger

	mu       sync.Mutex
	limits   Limits             // owner: mu
	total    int                // owner: mu
	trusted  int                // owner: mu; connections of total that are trusted or have logged in
	services map[string]int     // owner: mu; connections of each service that there is
	from     map[netip.Addr]int // owner: mu; no entry is zero
	refusals refusals           // owner: mu
}

// New returns a Limiter that has counted nothing.
func New(limits Limits, log *slog.Logger) *Limiter {
	return &Limiter{limits: limits, log: log, services: make(map[string]int), from: make(map[netip.Addr]int)}
}

// SetLimits changes the limits for connections to come.
func (l *Limiter) SetLimits(limits Limits) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limits = limits
}

// Listen returns inner with the limits in front: a connection over one gets
// refusal, a whole line with its CRLF, and is closed. An empty refusal, for
// ports where TLS comes first, just closes. The listeners of one service share the
// room that is kept for it.
func (l *Limiter) Listen(inner net.Listener, service, refusal string) net.Listener {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.services[service] += 0
	return &listener{inner, l, service, refusal}
}

type listener struct {
	net.Listener
	limiter *Limiter
	service string
	refusal string
}

// Accept returns the next connection within the limits.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		m := &member{limiter: l.limiter, service: l.service, key: addressKey(c.RemoteAddr())}
		if l.limiter.enter(m, clientAddress(c.RemoteAddr())) {
			return &conn{Conn: c, member: m}, nil
		}
		reject(c, l.refusal)
	}
}

// reject says line and hangs up.
func reject(c net.Conn, line string) {
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

// member is a connection that was let in.
type member struct {
	limiter *Limiter
	service string
	key     netip.Addr
	trusted bool // owner: limiter.mu
	left    bool // owner: limiter.mu
}

// The limits that a connection can be refused by, as the log names them.
const (
	byConnections = "limits.connections"
	byAddress     = "limits.connections_per_address"
	byShare       = "limits.connections, the share of one address"
)

// enter counts a connection, unless it is one too many.
func (l *Limiter) enter(m *member, remote netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	m.trusted = !remote.IsValid() || l.limits.Trusted != nil && l.limits.Trusted(remote)
	if limit := l.refuses(m); limit != "" {
		l.refusals.log(l.log, "connections refused by a limit", limit, m.service, "remote_ip", remote)
		return false
	}
	l.total++
	l.services[m.service]++
	l.from[m.key]++
	if m.trusted {
		l.trusted++
	}
	return true
}

// refuses is the limit that a new connection is over; "": none. The caller holds mu.
func (l *Limiter) refuses(m *member) string {
	const few = 4 // connections that an address may have as long as there is room
	own := l.from[m.key]
	if l.limits.PerAddress > 0 && own >= l.limits.PerAddress {
		return byAddress
	}
	if l.limits.Connections <= 0 {
		return ""
	}
	room := l.limits.Connections - l.total - l.kept(m)
	share := room
	if !m.trusted {
		share /= 2
	}
	switch {
	case room <= 0:
		return byConnections
	case own >= max(few, share):
		return byShare
	}
	return ""
}

// kept is how many connections are kept for others once m is in: an eighth of all for
// those that are trusted, and an eighth for all services together. The caller holds mu.
func (l *Limiter) kept(m *member) int {
	const part = 8
	forTrusted := l.limits.Connections / part
	forService := l.limits.Connections / part / max(len(l.services), 1)
	trusted := l.trusted
	if m.trusted {
		trusted++
	}
	kept := max(0, forTrusted-trusted)
	for name, n := range l.services {
		if name == m.service {
			n++
		}
		kept += max(0, forService-n)
	}
	return kept
}

// leave stops counting a connection. Safe to call twice.
func (m *member) leave() {
	g := m.limiter
	g.mu.Lock()
	defer g.mu.Unlock()
	if m.left {
		return
	}
	m.left = true
	g.total--
	g.services[m.service]--
	if m.trusted {
		g.trusted--
	}
	if g.from[m.key]--; g.from[m.key] == 0 {
		delete(g.from, m.key)
	}
}

type conn struct {
	net.Conn
	member *member
}

// LoggedIn says that the client has logged in: it counts among the trusted.
func (c *conn) LoggedIn() {
	g := c.member.limiter
	g.mu.Lock()
	defer g.mu.Unlock()
	if !c.member.left && !c.member.trusted {
		c.member.trusted = true
		g.trusted++
	}
}

// ReadFrom lets the kernel copy from a file, where the connection below can.
func (c *conn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

// NetConn is the connection below.
func (c *conn) NetConn() net.Conn { return c.Conn }

func (c *conn) Close() error {
	defer c.member.leave()
	return c.Conn.Close()
}
