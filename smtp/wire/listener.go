package wire

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Listener makes a Conn of each accepted connection, and can end them all.
type Listener struct {
	net.Listener
	cfg      *atomic.Pointer[Config]
	implicit bool

	mu    sync.Mutex
	conns map[*Conn]struct{} // owner: mu
	stop  bool               // owner: mu
}

// NewListener wraps inner. A connection keeps the configuration that cfg holds when it is
// accepted. With implicitTLS the first octets must be a TLS handshake (RFC 8314).
func NewListener(inner net.Listener, cfg *atomic.Pointer[Config], implicitTLS bool) *Listener {
	return &Listener{Listener: inner, cfg: cfg, implicit: implicitTLS, conns: make(map[*Conn]struct{})}
}

// Accept returns a *Conn.
func (l *Listener) Accept() (net.Conn, error) {
	inner, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stop {
		inner.Close()
		return nil, net.ErrClosed
	}
	var c *Conn
	c = newConn(inner, l.cfg.Load(), l.implicit, func() { l.forget(c) })
	l.conns[c] = struct{}{}
	return c, nil
}

func (l *Listener) forget(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// Shutdown stops accepting. It ends connections that wait for a command with 421 and lets the
// others finish their command. When ctx ends, it closes those that are left.
func (l *Listener) Shutdown(ctx context.Context) {
	l.Listener.Close()
	l.each(func(c *Conn) { c.interrupt() })
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for l.count() > 0 {
		select {
		case <-ctx.Done():
			l.each(func(c *Conn) { c.abort() })
			return
		case <-tick.C:
		}
	}
}

func (l *Listener) each(fn func(*Conn)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stop = true
	for c := range l.conns {
		fn(c)
	}
}

func (l *Listener) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}
