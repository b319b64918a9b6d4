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
	maxIdle        = 8  // waiting, of each purpose
	maxIdleTime    = time.Minute
	maxAge         = 10 * time.Minute // a preferred server that is back gets its turn, a renewed password is read

	firstPause = time.Second // after a server's first failure; each further one doubles it
	longPause  = 30 * time.Second
)

// purpose is what a connection is for. One that has been somebody's is never
// used for searches: what it may see is not what the searching account may.
type purpose int

const (
	searching purpose = iota // bound as the account that searches
	binding                  // bound as whoever was checked last; each use begins with a bind
	purposes
)

// pool keeps connections to the servers, and knows which of those are down.
type pool struct {
	connector
	log   *slog.Logger
	slots chan struct{} // one for each connection in use

	probing context.Context // what nobody waits for ends with it
	stop    context.CancelFunc

	mu      sync.Mutex
	servers []*server         // guarded by mu, what is in them too
	idle    [purposes][]*conn // guarded by mu; the last one was used last
	closed  bool              // guarded by mu
}

// server is one server of the directory. Its state is guarded by pool.mu.
type server struct {
	endpoint
	failure error         // the last one; nil: it is up
	since   time.Time     // of the first failure
	pause   time.Duration // how long it is left alone
	until   time.Time     // when it may be tried again
}

func newPool(cfg Config, roots *x509.CertPool, log *slog.Logger, dial dialFunc) *pool {
	p := &pool{connector: connector{cfg: cfg, dial: dial}, log: log, slots: make(chan struct{}, maxConnections)}
	p.probing, p.stop = context.WithCancel(context.Background())
	for _, url := range cfg.Servers {
		p.servers = append(p.servers, &server{endpoint: newEndpoint(url, roots)})
	}
	return p
}

// do runs f with a connection of its own. A connection that turns out to be
// broken costs another one, and a server that does the next server: f may run
// several times, and must leave nothing behind of those before. The error is f's,
// or an ErrUnavailable.
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
		go c.Close() // which waits for what is being written
		if c.used {  // perhaps only too long ago
			p.dropIdle(c.server)
			continue
		}
		p.fail(c.server, err)
	}
}

// take returns an idle connection or makes one, to the first server that is not
// down. Each server is tried once.
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
			p.back(s)
			return c, nil
		}
		p.fail(s, err)
	}
}

// choose finds an idle connection, or the server to connect to; neither where all
// are down. A server that was left alone for long enough is tried beside, while
// another one serves; where there is no other, it is the choice.
func (p *pool) choose(why purpose, tried map[*server]bool) (*conn, *server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	up := p.firstUp(tried)
	for _, s := range p.servers {
		if s.failure == nil || tried[s] || time.Now().Before(s.until) {
			continue
		}
		s.until = time.Now().Add(s.pause) // for this try alone
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

func (p *pool) firstUp(tried map[*server]bool) *server {
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
		p.back(s)
		p.put(c)
	case p.probing.Err() == nil:
		p.fail(s, err)
	}
}

// put keeps a connection for the next one.
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

// fail leaves a server alone for a while, for longer each time. That it is down is
// logged once.
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

// back notes that a server could be reached.
func (p *pool) back(s *server) {
	p.mu.Lock()
	was, since := s.failure, s.since
	s.failure, s.pause = nil, 0
	p.mu.Unlock()
	if was != nil {
		p.log.Info("directory server up again", "server", s.url, "down_for", time.Since(since).Round(time.Second))
	}
}

// dropIdle closes the connections to a server that nobody uses.
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
	return p.firstUp(nil) == nil
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
