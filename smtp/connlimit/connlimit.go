// Package connlimit limits connections before the greeting and sessions after login.
//
// A Limiter bounds the connections in total and from one address; SMTP and POP3 listeners share
// one. Screen refuses clients by address before the Limiter counts them. Accounts bounds the
// sessions of each account. The daemon wraps every listener; all must share one Limiter. A crowd of
// unknown clients must never lock out the local network or a service.
package connlimit

import (
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Limits of a Limiter. 0 means no limit.
type Limits struct {
	Connections int                   // in total
	PerAddress  int                   // from one IPv4 address or one IPv6 /64
	Trusted     func(netip.Addr) bool // clients for which a share is reserved; nil: none
}

// Limiter counts connections. One share is reserved for connections that are trusted or have logged
// in, and one for each service, so a crowd cannot take all. The fewer connections are free, the
// fewer one address may have. It is safe for concurrent use.
type Limiter struct {
	log *slog.Logger

	mu       sync.Mutex
	limits   Limits             // owner: mu
	total    int                // owner: mu
	trusted  int                // owner: mu; how many of total are trusted or have logged in
	services map[string]int     // owner: mu; connections of each known service
	from     map[netip.Addr]int // owner: mu; no entry is zero
	refusals refusals           // owner: mu
}

// New returns a Limiter without connections.
func New(limits Limits, log *slog.Logger) *Limiter {
	return &Limiter{limits: limits, log: log, services: make(map[string]int),
		from: make(map[netip.Addr]int)}
}

// SetLimits changes the limits for future connections.
func (l *Limiter) SetLimits(limits Limits) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limits = limits
}

// Listen returns inner with the limits applied. A connection over a limit gets refusal, a complete
// line with its CRLF, and is closed. With an empty refusal, for ports where TLS comes first, it is
// only closed. The listeners of one service share its reserved connections.
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

// reject writes line and closes the connection.
func reject(c net.Conn, line string) {
	// The line fits into an empty socket buffer, so this does not block.
	c.SetWriteDeadline(time.Now().Add(time.Second))
	c.Write([]byte(line))
	c.Close()
}

// addressKey returns the address that a connection counts for. An IPv6 host usually has a whole /64
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

// member is an admitted connection.
type member struct {
	limiter *Limiter
	service string
	key     netip.Addr
	trusted bool // owner: limiter.mu
	closed  bool // owner: limiter.mu
}

// The names of the limits in the log.
const (
	byConnections = "limits.connections"
	byAddress     = "limits.connections_per_address"
	byShare       = "limits.connections, the share of one address"
)

// enter counts a connection and reports whether it is within the limits.
func (l *Limiter) enter(m *member, remote netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	m.trusted = !remote.IsValid() || l.limits.Trusted != nil && l.limits.Trusted(remote)
	if limit := l.exceededLocked(m); limit != "" {
		l.refusals.log(l.log, "connections refused by a limit", limit, m.service,
			"remote_ip", remote)
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

// exceededLocked returns the name of the limit that a new connection exceeds, or "".
func (l *Limiter) exceededLocked(m *member) string {
	const few = 4 // connections that an address may have while any are free
	own := l.from[m.key]
	if l.limits.PerAddress > 0 && own >= l.limits.PerAddress {
		return byAddress
	}
	if l.limits.Connections <= 0 {
		return ""
	}
	free := l.limits.Connections - l.total - l.reservedLocked(m)
	share := free
	if !m.trusted {
		share /= 2
	}
	switch {
	case free <= 0:
		return byConnections
	case own >= max(few, share):
		return byShare
	}
	return ""
}

// reservedLocked returns how many connections remain reserved for others once m is counted: an
// eighth of all for trusted ones, and an eighth for all services together.
func (l *Limiter) reservedLocked(m *member) int {
	const part = 8
	forTrusted := l.limits.Connections / part
	forService := l.limits.Connections / part / max(len(l.services), 1)
	trusted := l.trusted
	if m.trusted {
		trusted++
	}
	reserved := max(0, forTrusted-trusted)
	for name, n := range l.services {
		if name == m.service {
			n++
		}
		reserved += max(0, forService-n)
	}
	return reserved
}

// leave stops counting a connection. It may be called twice.
func (m *member) leave() {
	g := m.limiter
	g.mu.Lock()
	defer g.mu.Unlock()
	if m.closed {
		return
	}
	m.closed = true
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

// LoggedIn counts the connection among the trusted ones. The server calls it after a login.
func (c *conn) LoggedIn() {
	g := c.member.limiter
	g.mu.Lock()
	defer g.mu.Unlock()
	if !c.member.closed && !c.member.trusted {
		c.member.trusted = true
		g.trusted++
	}
}

// ReadFrom lets the kernel copy from a file (sendfile) if the underlying connection can.
func (c *conn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

// NetConn returns the underlying connection.
func (c *conn) NetConn() net.Conn { return c.Conn }

func (c *conn) Close() error {
	defer c.member.leave()
	return c.Conn.Close()
}
