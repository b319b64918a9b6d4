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
	Services    map[string]int        // of each service, by its name
	Trusted     func(netip.Addr) bool // clients for which a share is reserved; nil: none
}

// Limiter counts connections. One share is reserved for connections that are trusted or have logged
// in, and one for each service, so a crowd cannot take all. The fewer connections are free, the
// fewer one address may have. It is safe for concurrent use.
type Limiter struct {
	log *slog.Logger

	mu       sync.Mutex
	limits   Limits            // owner: mu
	total    count             // owner: mu
	services map[string]*count // owner: mu; connections of each known service
	from     map[origin]int    // owner: mu; no entry is zero
	refusals refusals          // owner: mu
}

// count is a number of connections.
type count struct{ all, trusted int } // trusted or logged in

// origin is an address, at one service or, with an empty name, at all of them.
type origin struct {
	service string
	address netip.Addr
}

// New returns a Limiter without connections.
func New(limits Limits, log *slog.Logger) *Limiter {
	return &Limiter{limits: limits, log: log, services: make(map[string]*count),
		from: make(map[origin]int)}
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
	l.addServiceLocked(service)
	return &listener{inner, l, service, refusal}
}

// Open returns the number of connections of each service that has a listener.
func (l *Limiter) Open() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	open := make(map[string]int, len(l.services))
	for name, c := range l.services {
		open[name] = c.all
	}
	return open
}

func (l *Limiter) addServiceLocked(name string) {
	if l.services[name] == nil {
		l.services[name] = new(count)
	}
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
	byShare       = ", the share of one address" // after the name of a limit
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
	l.countLocked(m, 1)
	return true
}

// countLocked adds n connections like m.
func (l *Limiter) countLocked(m *member, n int) {
	for _, c := range []*count{&l.total, l.services[m.service]} {
		c.all += n
		if m.trusted {
			c.trusted += n
		}
	}
	for _, o := range []origin{{"", m.key}, {m.service, m.key}} {
		if l.from[o] += n; l.from[o] == 0 {
			delete(l.from, o)
		}
	}
}

// exceededLocked returns the name of the limit that a new connection exceeds, or "".
func (l *Limiter) exceededLocked(m *member) string {
	own := l.from[origin{"", m.key}]
	if l.limits.PerAddress > 0 && own >= l.limits.PerAddress {
		return byAddress
	}
	if most := l.limits.Services[m.service]; most > 0 {
		service := l.services[m.service]
		free := most - service.all - m.reservedForTrusted(most, service)
		own := l.from[origin{m.service, m.key}]
		if limit := m.exceeds("limits."+m.service+"_connections", free, own); limit != "" {
			return limit
		}
	}
	if l.limits.Connections <= 0 {
		return ""
	}
	return m.exceeds(byConnections, l.limits.Connections-l.total.all-l.reservedLocked(m), own)
}

// exceeds returns the name of the limit if m exceeds it, or "". free is the number of connections
// that m may take one of, own the number that its address has.
func (m *member) exceeds(limit string, free, own int) string {
	const few = 4 // connections that an address may have while any are free
	share := free
	if !m.trusted {
		share /= 2
	}
	switch {
	case free <= 0:
		return limit
	case own >= max(few, share):
		return limit + byShare
	}
	return ""
}

// reservedLocked returns how many connections remain reserved for others once m is counted: an
// eighth of all for trusted ones, and an eighth for all services together.
func (l *Limiter) reservedLocked(m *member) int {
	forService := l.limits.Connections / part / max(len(l.services), 1)
	reserved := m.reservedForTrusted(l.limits.Connections, &l.total)
	for name, service := range l.services {
		n := service.all
		if name == m.service {
			n++
		}
		reserved += max(0, forService-n)
	}
	return reserved
}

// part is the divisor of a limit that gives the share reserved for some of the connections.
const part = 8

// reservedForTrusted returns how many connections below a limit remain reserved for trusted ones
// once m is counted.
func (m *member) reservedForTrusted(limit int, present *count) int {
	trusted := present.trusted
	if m.trusted {
		trusted++
	}
	return max(0, limit/part-trusted)
}

// leave stops counting a connection. It may be called twice.
func (m *member) leave() {
	l := m.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	if m.closed {
		return
	}
	m.closed = true
	l.countLocked(m, -1)
}

type conn struct {
	net.Conn
	member *member
}

// LoggedIn counts the connection among the trusted ones. The server calls it after a login.
func (c *conn) LoggedIn() {
	l, m := c.member.limiter, c.member
	l.mu.Lock()
	defer l.mu.Unlock()
	if !m.closed && !m.trusted {
		m.trusted = true
		l.total.trusted++
		l.services[m.service].trusted++
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
