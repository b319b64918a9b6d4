package ldap

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

const (
	maxConnections = 16 // in use at once
	maxIdle        = 8  // idle, for each purpose
	maxIdleTime    = time.Minute
	// maxAge makes the pool return to a preferred server and read a changed password file.
	maxAge = 10 * time.Minute

	firstPause = time.Second // after a server's first failure; each further one doubles it
	longPause  = 30 * time.Second
)

// purpose is the use of a connection. One that was bound as a user is never used for searches,
// since its rights differ from those of the search account.
type purpose int

const (
	searching purpose = iota // bound as the search account
	binding                  // bound as the user checked last; each use begins with a bind
	purposes
)

// pool keeps connections to the servers, and knows which servers are down.
type pool struct {
	connector
	log   *slog.Logger
	slots chan struct{} // one for each connection in use

	probing context.Context // parent of probes, which no caller waits for
	stop    context.CancelFunc

	mu      sync.Mutex
	servers []*server         // guarded by mu, including the elements
	idle    [purposes][]*conn // guarded by mu; the last element was used last
	closed  bool              // guarded by mu
}

// server is one server of the directory. Its state is guarded by pool.mu.
type server struct {
	endpoint
	failure error         // the latest error; nil: it is up
	since   time.Time     // of the first failure
	pause   time.Duration // how long it is not tried
	until   time.Time     // when it may be tried again
}

func newPool(cfg Config, roots *x509.CertPool, log *slog.Logger, dial dialFunc) *pool {
	p := &pool{connector: connector{cfg: cfg, dial: dial}, log: log,
		slots: make(chan struct{}, maxConnections)}
	p.probing, p.stop = context.WithCancel(context.Background())
	for _, url := range cfg.Servers {
		p.servers = append(p.servers, &server{endpoint: newEndpoint(url, roots)})
	}
	return p
}

// do runs f with a connection of its own. If the connection is broken, do uses another one; if the
// server is broken, it uses the next server. So f may run several times, and must discard the
// results of an earlier run. The error is f's, or an ErrUnavailable.
func (p *pool) do(ctx context.Context, why purpose, f func(*conn) error) error {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
	defer func() { <-p.slots }()
	tried := make(map[*server]bool)
	for {
		c, err := p.take(ctx, why, tried)
		if err != nil {
			return err
		}
		err = f(c)
		if !broken(err) {
			p.put(c)
			return err
		}
		go c.Close() // Close waits for a pending write
		if c.used {  // it may have been idle for too long; the server may be up
			p.dropIdle(c.server)
			continue
		}
		p.fail(c.server, err)
	}
}

// take returns an idle connection, or a new one to the first server that is up. It tries each
// server once.
func (p *pool) take(ctx context.Context, why purpose, tried map[*server]bool) (*conn, error) {
	for {
		c, s := p.choose(why, tried)
		if c != nil {
			return c, nil
		}
		if s == nil {
			return nil, p.allDown()
		}
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		tried[s] = true
		c, err := p.connect(ctx, s, why)
		if err == nil {
			p.markUp(s)
			return c, nil
		}
		p.fail(s, err)
	}
}

// choose returns an idle connection, or the server to connect to, or neither if all are down. A
// server whose pause is over is probed in the background while another one serves. If no other
// server is up, choose returns it.
func (p *pool) choose(why purpose, tried map[*server]bool) (*conn, *server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	up := p.firstUpLocked(tried)
	for _, s := range p.servers {
		if s.failure == nil || tried[s] || time.Now().Before(s.until) {
			continue
		}
		s.until = time.Now().Add(s.pause) // one probe at a time
		if up == nil {
			return nil, s
		}
		go p.probe(s)
	}
	for n := len(p.idle[why]); n > 0; n = len(p.idle[why]) {
		c := p.idle[why][n-1]
		p.idle[why] = p.idle[why][:n-1]
		if c.good() {
			c.used = true
			return c, nil
		}
		go c.Close()
	}
	return nil, up
}

func (p *pool) firstUpLocked(tried map[*server]bool) *server {
	for _, s := range p.servers {
		if s.failure == nil && !tried[s] {
			return s
		}
	}
	return nil
}

// probe tries a server that was down.
func (p *pool) probe(s *server) {
	ctx, cancel := context.WithTimeout(p.probing, 2*p.cfg.Timeout)
	defer cancel()
	c, err := p.connect(ctx, s, searching)
	switch {
	case err == nil:
		p.markUp(s)
		p.put(c)
	case p.probing.Err() == nil:
		p.fail(s, err)
	}
}

// put keeps a connection for later use.
func (p *pool) put(c *conn) {
	c.idleSince = time.Now()
	p.mu.Lock()
	keep := !p.closed && len(p.idle[c.purpose]) < maxIdle && c.good()
	if keep {
		p.idle[c.purpose] = append(p.idle[c.purpose], c)
	}
	p.mu.Unlock()
	if !keep {
		c.Close()
	}
}

// fail pauses a server, longer each time. Only the first failure is logged as a warning.
func (p *pool) fail(s *server, err error) {
	p.mu.Lock()
	first := s.failure == nil
	s.failure = err
	s.pause = min(max(2*s.pause, firstPause), longPause)
	s.until = time.Now().Add(s.pause)
	if first {
		s.since = time.Now()
	}
	p.mu.Unlock()
	p.dropIdle(s)
	if first {
		p.log.Warn("directory server down", "server", s.url, "reason", err.Error())
	} else {
		p.log.Debug("directory server still down", "server", s.url, "reason", err.Error())
	}
}

// markUp records that a server was reached.
func (p *pool) markUp(s *server) {
	p.mu.Lock()
	was, since := s.failure, s.since
	s.failure, s.pause = nil, 0
	p.mu.Unlock()
	if was != nil {
		p.log.Info("directory server up again", "server", s.url,
			"down_for", time.Since(since).Round(time.Second))
	}
}

// dropIdle closes the idle connections to a server.
func (p *pool) dropIdle(s *server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for why, all := range p.idle {
		p.idle[why] = nil
		for _, c := range all {
			if c.server == s {
				go c.Close()
			} else {
				p.idle[why] = append(p.idle[why], c)
			}
		}
	}
}

func (p *pool) close() {
	p.stop()
	p.mu.Lock()
	p.closed = true
	servers := p.servers
	p.mu.Unlock()
	for _, s := range servers {
		p.dropIdle(s)
	}
}

// down reports whether no server is known to be up.
func (p *pool) down() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.firstUpLocked(nil) == nil
}

func (p *pool) allDown() error {
	var reasons []string
	for _, s := range p.states() {
		if s.Failure != nil {
			reasons = append(reasons, s.URL+": "+s.Failure.Error())
		}
	}
	if reasons == nil {
		return ErrUnavailable
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, errors.New(strings.Join(reasons, "; ")))
}

func (p *pool) states() []Server {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Server, len(p.servers))
	for i, s := range p.servers {
		all[i] = Server{URL: s.url}
		if s.failure != nil {
			all[i].Down, all[i].Since, all[i].Failure = true, s.since, s.failure
		}
	}
	return all
}
