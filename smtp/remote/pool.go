package remote

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp/route"
)

// poolKey is what messages must have in common to share a connection. The route
// is compared by identity: new settings get new connections.
type poolKey struct {
	route  *route.Route
	domain addr.Domain // for delivery by MX
}

// pool keeps connections for the next message.
type pool struct {
	keep time.Duration
	max  int

	mu      sync.Mutex
	idle    map[poolKey][]*conn // the last used is last; guarded by mu
	count   int                 // guarded by mu
	closed  bool                // guarded by mu
	parting sync.WaitGroup      // those who say QUIT
}

func (p *pool) init(keep time.Duration, most int) {
	p.keep, p.max, p.idle = keep, most, make(map[poolKey][]*conn)
}

// get takes the connection that was used last, or nil.
func (p *pool) get(key poolKey) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	conns := p.idle[key]
	if len(conns) == 0 {
		return nil
	}
	c := conns[len(conns)-1]
	p.remove(key, len(conns)-1)
	c.timer.Stop()
	return c
}

// put keeps a connection for a while, unless it is used up.
func (p *pool) put(key poolKey, c *conn) {
	if c.gone {
		return // ended with the transaction
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.count >= p.max || c.messages >= cmp.Or(key.route.PerConnection, 20) {
		if !p.closed {
			p.parting.Go(c.quit)
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

// expire ends a connection that nobody wanted in time.
func (p *pool) expire(key poolKey, c *conn) {
	p.mu.Lock()
	i := slices.Index(p.idle[key], c)
	if i >= 0 {
		p.remove(key, i)
		p.parting.Go(c.quit)
	}
	p.mu.Unlock()
}

// remove takes one out. The caller holds the lock.
func (p *pool) remove(key poolKey, i int) {
	conns := slices.Delete(p.idle[key], i, i+1)
	if p.count--; len(conns) == 0 {
		delete(p.idle, key)
	} else {
		p.idle[key] = conns
	}
}

// close ends all connections that wait, and keeps none from now on.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for _, conns := range p.idle {
		for _, c := range conns {
			c.timer.Stop()
			p.parting.Go(c.quit)
		}
	}
	clear(p.idle)
	p.count = 0
	p.mu.Unlock()
	p.parting.Wait()
}
