// Package server is the SMTP service: it answers the library's questions about
// a session by asking policy, directory and store, and it writes down what came
// of each message. Connections come through package wire, which does the
// protocol's finer points.
package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
	"pillarbox/smtp"
	"pillarbox/smtp/policy"
	"pillarbox/smtp/wire"
)

// Config is what a Server can be told anew while it runs; sessions keep the one
// that they began with.
type Config struct {
	Wire  wire.Config
	Rules policy.Rules
}

// Authenticator verifies passwords. *auth.Authenticator is the one in use.
type Authenticator interface {
	Password(ctx context.Context, remote netip.Addr, user, password string) (auth.Principal, error)
}

// Server serves SMTP on any number of listeners.
type Server struct {
	dir   *directory.Directory
	store *mailstore.Store
	auth  Authenticator
	log   *slog.Logger
	now   func() time.Time

	cfg  atomic.Pointer[Config]
	wire atomic.Pointer[wire.Config] // cfg's part for the listeners

	mu        sync.Mutex
	listeners []*wire.Listener // owner: mu
	closing   bool             // owner: mu
}

// New makes a Server. Nothing listens yet.
func New(cfg Config, dir *directory.Directory, store *mailstore.Store, auth Authenticator, log *slog.Logger) *Server {
	s := &Server{dir: dir, store: store, auth: auth, log: log, now: time.Now}
	s.SetConfig(cfg)
	return s
}

// SetConfig takes effect for connections to come.
func (s *Server) SetConfig(cfg Config) {
	cfg.Wire.DefaultDomain = s.defaultDomain
	cfg.Wire.Log = s.log
	s.cfg.Store(&cfg)
	s.wire.Store(&cfg.Wire)
}

// defaultDomain is the domain of a local part that came without one. The
// postmaster is reached also where no domain is the default (RFC 5321 §4.5.1).
func (s *Server) defaultDomain(local string) addr.Domain {
	domain := s.dir.DefaultDomain()
	if domain == "" && isPostmaster(local) {
		if all, err := s.dir.Domains(); err == nil && len(all) > 0 {
			return all[0]
		}
	}
	return domain
}

func isPostmaster(local string) bool { return addr.FoldName(local) == "postmaster" }

// Serve accepts connections from l until it is closed or Shutdown is called;
// then it returns nil.
func (s *Server) Serve(l net.Listener, service smtp.Service) error {
	wl := wire.NewListener(l, &s.wire, service == smtp.SMTPS)
	if !s.addListener(wl) {
		return l.Close()
	}
	lib := gosmtp.NewServer(gosmtp.BackendFunc(func(c *gosmtp.Conn) (gosmtp.Session, error) {
		return s.newSession(c.Conn().(*wire.Conn), service), nil
	}))
	lib.MaxLineLength = 0 // wire has a limit for each kind of line
	lib.AllowInsecureAuth = true
	lib.EnableSMTPUTF8 = true
	lib.EnableDSN = true
	lib.ErrorLog = slog.NewLogLogger(s.log.Handler(), slog.LevelWarn)
	err := lib.Serve(wl)
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// addListener reports false when the server has been shut down already: it may
// be told to stop before all its listeners are being served.
func (s *Server) addListener(l *wire.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing {
		s.listeners = append(s.listeners, l)
	}
	return !s.closing
}

// Shutdown stops accepting, lets every session finish the command that it is
// in, and returns when all have ended or ctx has.
func (s *Server) Shutdown(ctx context.Context) {
	s.mu.Lock()
	s.closing = true
	listeners := s.listeners
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, l := range listeners {
		wg.Go(func() { l.Shutdown(ctx) })
	}
	wg.Wait()
}

func (s *Server) newSession(c *wire.Conn, service smtp.Service) *session {
	remote, _ := netip.ParseAddrPort(c.RemoteAddr().String())
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	cfg := s.cfg.Load()
	return &session{
		srv: s, cfg: cfg, conn: c, service: service, remote: remote,
		log: s.log.With("remote", remote, "service", service.String()),
	}
}
