// Package pop3 serves maildrops to mail programs: RFC 1939 with the extensions
// of RFC 2449 (CAPA), 2595 (STLS), 3206 (AUTH and SYS response codes), 5034
// (AUTH) and 6856 (UTF8).
//
// A Server accepts connections; each becomes a session (session.go), which
// reads a line, finds its command (commands.go) and answers. Commands that log
// in are in login.go, those that work on the maildrop in transaction.go; what a
// message looks like on its way is in content.go.
package pop3

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/auth"
)

// Config is what an administrator can set. Zero values stand for the defaults.
type Config struct {
	Hostname string        // in the greeting
	Greeting func() string // after "+OK ", asked for each connection; default "<hostname> Pillarbox POP3 ready"

	// TLS makes STLS possible, and implicit TLS; nil is neither.
	TLS *tls.Config
	// PlaintextNetworks are where a client may log in without TLS.
	PlaintextNetworks []netip.Prefix
	// Require128Bit and Require128BitImplicit let nobody log in over TLS with a cipher below 128
	// bits, after STLS and where TLS is implicit. Neither demands TLS.
	Require128Bit, Require128BitImplicit bool

	// LoginTimeout bounds the time from connecting to being logged in; default 3 min.
	LoginTimeout time.Duration
	// IdleTimeout is how long a logged-in client may say nothing; default 10
	// min, which is also the least that RFC 1939 §3 permits.
	IdleTimeout time.Duration
	// WriteTimeout is how long a client may take to receive 32 KiB; default 1 min.
	WriteTimeout time.Duration
	// MaxErrors is how many senseless commands and failed logins a connection
	// may make before it is closed; default 10.
	MaxErrors int

	// Retention is asked when mail is deleted without a client's DELE; nil: never.
	Retention Retention
}

func (c Config) withDefaults() *Config {
	if c.Greeting == nil {
		text := c.Hostname + " Pillarbox POP3 ready"
		c.Greeting = func() string { return text }
	}
	if c.LoginTimeout == 0 {
		c.LoginTimeout = 3 * time.Minute
	}
	c.IdleTimeout = max(c.IdleTimeout, 10*time.Minute)
	if c.WriteTimeout == 0 {
		c.WriteTimeout = time.Minute
	}
	if c.MaxErrors == 0 {
		c.MaxErrors = 10
	}
	return &c
}

// Maildrops opens the maildrop in a mailbox's directory, for one session at a
// time: the second gets mailstore.ErrInUse. *mailstore.Store is the one in use.
type Maildrops interface {
	OpenMaildrop(dir string) (*mailstore.Maildrop, error)
}

// Authenticator verifies passwords and what stands for them, with the errors of
// package auth. *auth.Authenticator is the one in use.
type Authenticator interface {
	Offers(auth.Client) []string
	Offered(c auth.Client, mechanism string) bool
	Begin(ctx context.Context, c auth.Client, mechanism string) (*auth.Exchange, error)
	LogRefusal(c auth.Client, mechanism string)
	Stamp() string
	APOP(ctx context.Context, c auth.Client, stamp, user, digest string) (auth.Principal, error)
	Password(ctx context.Context, remote netip.Addr, user, password string) (auth.Principal, error)
	// Locked reports whether the mailbox of one who logged in has been locked
	// since.
	Locked(p auth.Principal) bool
}

// Server serves POP3 on any number of listeners.
type Server struct {
	config atomic.Pointer[Config]
	drops  Maildrops
	auth   Authenticator
	log    *slog.Logger

	writers sync.Pool // of *bufio.Writer; only a connection that is writing has one
	readers sync.Pool // of *bufio.Reader, for messages

	ctx    context.Context // of all sessions; ends when Shutdown stops waiting
	cancel context.CancelFunc

	mu        sync.Mutex
	closing   bool                      // guarded by mu
	listeners map[net.Listener]struct{} // guarded by mu
	sessions  map[*session]bool         // guarded by mu; true while one waits for its client
	running   sync.WaitGroup            // the sessions; Add is guarded by mu
}

// bufferSize is that of the pooled buffers, in bytes.
const bufferSize = 32 << 10

// New makes a Server. A nil log is silence.
func New(config Config, drops Maildrops, authenticator Authenticator, log *slog.Logger) *Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		drops:     drops,
		auth:      authenticator,
		log:       log,
		writers:   sync.Pool{New: func() any { return bufio.NewWriterSize(nil, bufferSize) }},
		readers:   sync.Pool{New: func() any { return bufio.NewReaderSize(nil, bufferSize) }},
		listeners: make(map[net.Listener]struct{}),
		sessions:  make(map[*session]bool),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.SetConfig(config)
	return s
}

// SetConfig replaces the configuration for connections accepted from now on.
func (s *Server) SetConfig(config Config) { s.config.Store(config.withDefaults()) }

// Serve accepts connections until the listener is closed or the server shut
// down, and returns nil then. With implicitTLS the connections begin with a
// handshake. Serve owns the listener from now on.
func (s *Server) Serve(l net.Listener, implicitTLS bool) error {
	defer l.Close()
	if implicitTLS && s.config.Load().TLS == nil {
		return errors.New("pop3: a listener with implicit TLS needs a certificate")
	}
	if !s.addListener(l) {
		return nil
	}
	defer s.removeListener(l)
	var pause time.Duration
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			s.start(conn, implicitTLS)
		case errors.Is(err, net.ErrClosed):
			return nil
		default:
			// Too many open files, most likely: it passes when others hang up.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.log.Error("pop3: cannot accept a connection", "error", err, "retry", pause)
			select {
			case <-time.After(pause):
			case <-s.ctx.Done():
				return nil
			}
		}
	}
}

func (s *Server) addListener(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *Server) removeListener(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

// start runs a session for the connection in a goroutine of its own.
func (s *Server) start(conn net.Conn, implicitTLS bool) {
	c := newSession(s, conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		conn.Close()
		return
	}
	s.sessions[c] = false
	s.running.Go(func() {
		defer s.forget(c)
		c.serve(implicitTLS)
	})
}

func (s *Server) forget(c *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, c)
}

// setWaiting notes whether a session waits for its client. It reports false
// when the session is not to wait, because the server shuts down.
func (s *Server) setWaiting(c *session, waiting bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[c] = waiting
	return !s.closing
}

// Shutdown closes the listeners and the sessions that wait for their client, as
// if these had dropped the connection: nothing is deleted. Sessions that are
// answering may finish the answer until ctx ends; then they are closed too, and
// Shutdown returns the error of ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	for l := range s.listeners {
		l.Close()
	}
	for c, waiting := range s.sessions {
		if waiting {
			c.raw.Close()
		}
	}
	s.mu.Unlock()

	defer s.cancel()
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.closeAll()
		return ctx.Err()
	}
}

func (s *Server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.sessions {
		c.raw.Close()
	}
}
