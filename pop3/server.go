// Package pop3 is the POP3 server: it serves maildrops to mail programs by RFC 1939, with the
// extensions of RFC 2449 (CAPA), RFC 2595 (STLS), RFC 3206 (AUTH and SYS response codes), RFC 5034
// (AUTH) and RFC 6856 (UTF8).
//
// Start with [Server]: [New] makes one, [Server.Serve] accepts connections on a listener, and
// [Server.Shutdown] ends it. The daemon is the only caller. The server reaches mailboxes and
// passwords only through [Maildrops] and [Authenticator].
//
// Each connection becomes a session (session.go). It reads a line, finds the command in a table
// (commands.go) and calls the method with the command's name. The methods of the AUTHORIZATION
// state are in login.go, those of the TRANSACTION state in transaction.go. How a message is written
// to the client is in content.go and output.go.
//
// Only QUIT deletes messages, and only those marked by DELE. A session that ends in any other way
// deletes none. The text of a reply is never that of an internal error.
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
	"pillarbox/mailstore/dialogue"
	"pillarbox/mailstore/sessions"
	"pillarbox/mailstore/track"
)

// Config holds the settings of a Server. Zero values mean the defaults.
type Config struct {
	Hostname string // named in the default greeting
	// Greeting returns the text after "+OK ". It is called for each connection. The default text
	// is "<hostname> Pillarbox POP3 ready".
	Greeting func() string

	// TLS is used by STLS and by listeners with implicit TLS. nil means that neither is offered.
	TLS *tls.Config
	// HandshakeFailed logs a failed TLS handshake with a client; nil: the server logs it.
	HandshakeFailed func(remote netip.Addr, err error)
	// PlaintextNetworks are the networks whose clients may log in without TLS.
	PlaintextNetworks []netip.Prefix
	// Require128Bit and Require128BitImplicit refuse logins over TLS with a cipher below 128 bits:
	// the first after STLS, the second where TLS is implicit. Neither requires TLS.
	Require128Bit, Require128BitImplicit bool

	// LoginTimeout is the time from connecting to a successful login. Default 3 min.
	LoginTimeout time.Duration
	// IdleTimeout is how long a logged-in client may stay silent. The default, 10 min, is also the
	// minimum (RFC 1939 §3).
	IdleTimeout time.Duration
	// Overtake is how long the client of a session must have been silent for another login to the
	// same mailbox to end that session. 0 means that the other login is refused (RFC 1939 §4).
	Overtake time.Duration
	// WriteTimeout is how long a client may take to receive 32 KiB. Default 1 min.
	WriteTimeout time.Duration
	// MaxErrors is the number of protocol errors and failed logins after which the connection is
	// closed. Default 10.
	MaxErrors int

	// Admit reports whether a client may connect. It is called before the greeting, in the
	// connection's goroutine, and may look up the client's name. nil admits every client.
	Admit func(ctx context.Context, client netip.Addr) bool

	// LoggedIn is told of each login, if it is not nil.
	LoggedIn func(client netip.Addr, user auth.Principal)

	// Track gets the events of sessions; nil: no events.
	Track *track.Log
	// Tap gets what clients and server say; nil: no log wants it.
	Tap *dialogue.Tap
	// Sessions lists each connection; nil lists none.
	Sessions *sessions.Table

	// Retention tells when the server itself deletes mail. nil means that it never does.
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

// Maildrops opens the maildrop in a mailbox's directory, for one session at a time. A second
// session gets mailstore.ErrInUse. The server uses *mailstore.Store, tests use a double.
type Maildrops interface {
	OpenMaildrop(dir string) (*mailstore.Maildrop, error)
}

// Authenticator verifies logins and returns the errors of package auth. The server uses
// *auth.Authenticator, tests use a double.
type Authenticator interface {
	Offers(auth.Client) []string
	Offered(c auth.Client, mechanism string) bool
	Begin(ctx context.Context, c auth.Client, mechanism string) (*auth.Exchange, error)
	LogRefusal(c auth.Client, mechanism string)
	Stamp() string
	APOP(ctx context.Context, c auth.Client, stamp, user, digest string) (auth.Principal, error)
	Password(ctx context.Context, c auth.Client, user, password string) (auth.Principal, error)
	// StillPermits returns an error if an administrator has locked the mailbox since this login, or
	// has taken POP3 from it.
	StillPermits(p auth.Principal, s auth.Service) error
}

// Server serves POP3 on any number of listeners.
type Server struct {
	config atomic.Pointer[Config]
	drops  Maildrops
	auth   Authenticator
	log    *slog.Logger

	writers sync.Pool // of *bufio.Writer; a connection holds one only while it writes
	readers sync.Pool // of *bufio.Reader, for reading messages

	ctx    context.Context // of all sessions; Shutdown cancels it when it stops waiting
	cancel context.CancelFunc

	mu        sync.Mutex
	closing   bool                      // guarded by mu
	listeners map[net.Listener]struct{} // guarded by mu
	sessions  map[*session]time.Time    // guarded by mu; since when it waits for its client, or zero
	holders   map[string]*session       // guarded by mu; who has the maildrop, by directory
	running   sync.WaitGroup            // counts the sessions; Go is called with mu held
}

// bufferSize is the size of the pooled buffers in bytes.
const bufferSize = 32 << 10

// New makes a Server. A nil log discards everything.
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
		sessions:  make(map[*session]time.Time),
		holders:   make(map[string]*session),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.SetConfig(config)
	return s
}

// SetConfig replaces the configuration. Open connections keep the old one.
func (s *Server) SetConfig(config Config) { s.config.Store(config.withDefaults()) }

// Serve accepts connections until the listener is closed or the server is shut down, and then
// returns nil. With implicitTLS every connection starts with a TLS handshake. Serve takes ownership
// of the listener.
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
			// Most likely too many open files; that passes when other connections end.
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

// start runs a session for the connection in its own goroutine.
func (s *Server) start(conn net.Conn, implicitTLS bool) {
	c := newSession(s, conn, implicitTLS)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		conn.Close()
		c.said.End()
		c.live.End()
		return
	}
	s.sessions[c] = time.Time{}
	s.running.Go(func() {
		defer s.removeSession(c)
		c.serve()
	})
}

func (s *Server) removeSession(c *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, c)
}

// setWaiting records whether a session waits for its client. It returns an error when the session
// must end instead.
func (s *Server) setWaiting(c *session, waiting bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[c] = time.Time{}
	if waiting {
		s.sessions[c] = time.Now()
	}
	switch {
	case c.live.Killed():
		return errKilled
	case s.closing:
		return errShutdown
	case c.overtaken:
		return errOvertaken
	}
	return nil
}

// hold records that a session has a maildrop, until release.
func (s *Server) hold(dir string, c *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.freed = make(chan struct{})
	s.holders[dir] = c
}

func (s *Server) release(dir string, c *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holders[dir] == c {
		delete(s.holders, dir)
	}
	close(c.freed)
}

// overtake ends the session that has a maildrop if its client has been silent for so long. A phone
// that leaves its network says nothing at all, and its next login must not wait for the idle
// timeout. The messages that it marked are not deleted. freed is closed when the maildrop is free; it
// is nil if the session goes on.
func (s *Server) overtake(dir string, silence time.Duration) (freed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.holders[dir]
	if c == nil || silence == 0 {
		return nil
	}
	if since := s.sessions[c]; since.IsZero() || time.Since(since) < silence {
		return nil
	}
	c.overtaken = true
	c.raw.Close()
	return c.freed
}

// kill ends a session for an administrator. The client gets a last reply if the session waits for
// a command; otherwise the connection is closed in the middle of an answer. The messages that were
// marked are not deleted.
func (s *Server) kill(c *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[c].IsZero() {
		c.raw.Close()
		return
	}
	c.raw.SetReadDeadline(time.Unix(1, 0))
}

// Shutdown closes the listeners and every session that waits for its client. Such a session ends as
// if the client had dropped the connection: no message is deleted. A session that is answering may
// finish its answer until ctx ends; then it is closed too, and Shutdown returns the error of ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	for l := range s.listeners {
		l.Close()
	}
	for c, since := range s.sessions {
		if !since.IsZero() {
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
