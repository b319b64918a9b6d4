package remote

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp/route"
)

// poolKey is what messages must have in common to share a connection. Routes are compared by
// identity, so new settings get new connections.
type poolKey struct {
	route  *route.Route
	domain addr.Domain // for delivery by MX
}

// pool keeps idle connections for further messages.
type pool struct {
	keep time.Duration
	max  int

	mu       sync.Mutex
	idle     map[poolKey][]*conn // the most recently used is last; guarded by mu
	count    int                 // guarded by mu
	closed   bool                // guarded by mu
	quitting sync.WaitGroup      // connections that are sending QUIT
}

func (p *pool) init(keep time.Duration, most int) {
	p.keep, p.max, p.idle = keep, most, make(map[poolKey][]*conn)
}

// get returns the most recently used connection, or nil.
func (p *pool) get(key poolKey) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	conns := p.idle[key]
	if len(conns) == 0 {
		return nil
	}
	c := conns[len(conns)-1]
	p.removeLocked(key, len(conns)-1)
	c.timer.Stop()
	return c
}

// put keeps a connection for some time, unless it reached its limit of messages.
func (p *pool) put(key poolKey, c *conn) {
	if c.gone {
		return // already closed with the transaction
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.count >= p.max || c.messages >= cmp.Or(key.route.PerConnection, 20) {
		if !p.closed {
			p.quitting.Go(c.quit)
		} else {
			c.abandon()
		}
		return
	}
	p.idle[key] = append(p.idle[key], c)
	p.count++
	if c.timer == nil {
		c.timer = time.AfterFunc(p.keep, func() { p.expire(key, c) })
	} else {
		c.timer.Reset(p.keep)
	}
}

// expire ends a connection that was not reused in time.
func (p *pool) expire(key poolKey, c *conn) {
	p.mu.Lock()
	i := slices.Index(p.idle[key], c)
	if i >= 0 {
		p.removeLocked(key, i)
		p.quitting.Go(c.quit)
	}
	p.mu.Unlock()
}

// removeLocked removes one connection.
func (p *pool) removeLocked(key poolKey, i int) {
	conns := slices.Delete(p.idle[key], i, i+1)
	if p.count--; len(conns) == 0 {
		delete(p.idle, key)
	} else {
		p.idle[key] = conns
	}
}

// close ends all idle connections. From then on none is kept.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for _, conns := range p.idle {
		for _, c := range conns {
			c.timer.Stop()
			p.quitting.Go(c.quit)
		}
	}
	clear(p.idle)
	p.count = 0
	p.mu.Unlock()
	p.quitting.Wait()
}
