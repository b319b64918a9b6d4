// Package server is the SMTP service. A session decides on each command with the facts that it
// gathers and the rules of package policy, finds the recipients in the directory, and gives each
// message to package delivery. Package wire speaks the protocol and calls the session.
package server

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/sessions"
	"pillarbox/mailstore/track"
	"pillarbox/smtp"
	"pillarbox/smtp/connlimit"
	"pillarbox/smtp/decisionlog"
	"pillarbox/smtp/delivery"
	"pillarbox/smtp/policy"
	"pillarbox/smtp/rate"
	"pillarbox/smtp/verify"
	"pillarbox/smtp/wire"
)

// Config is what SetConfig may change while the server runs. A session keeps the Config that it
// began with.
type Config struct {
	Wire  wire.Config
	Rules *policy.Rules

	// Local is what programs on this machine may do over the unix socket.
	Local policy.Device
	// Triggers sets which clients may ask for ETRN-held mail, per route.
	Triggers []Trigger
	// Checks sets the consequences of SPF, DKIM and DMARC. A nil Verifier checks none of them.
	Checks   verify.Settings
	Verifier *verify.Verifier
	// DSNForAll offers delivery reports to strangers too.
	DSNForAll bool
	// MaxFor is the largest number of recipients that a Received field names.
	MaxFor int
}

// Authenticator runs logins. *auth.Authenticator implements it.
type Authenticator interface {
	Offers(auth.Client) []string
	Begin(ctx context.Context, c auth.Client, mechanism string) (*auth.Exchange, error)
	// StillPermits returns an error if what the user has proved does not permit the service any more.
	StillPermits(p auth.Principal, s auth.Service) error
}

// Flusher starts the delivery of ETRN-held mail and returns the number of messages. *queue.Queue
// implements it.
type Flusher interface {
	FlushETRN(match func(addr.Domain) bool) int
}

// Parts holds what a Server works with. Recent, Decisions, Sessions, Queue and ClaimATRN may be nil.
type Parts struct {
	Dir       *directory.Directory
	Store     *mailstore.Store
	Auth      Authenticator
	Recent    *auth.Recent // logins by POP3 that permit a client to send
	Resolver  Resolver
	Devices   Devices
	Rates     *rate.Limiter
	Accounts  *connlimit.Accounts // sessions of each user
	Decisions *decisionlog.Log
	Track     *track.Log // nil: no events
	Log       *slog.Logger
	Delivery  *delivery.Dispatcher
	Sessions  *sessions.Table
	Queue     Flusher
	ClaimATRN ATRNClaimer
}

// Server serves SMTP on any number of listeners.
type Server struct {
	Parts
	now func() time.Time

	cfg      atomic.Pointer[Config]
	headroom headroom

	mu        sync.Mutex
	listeners []*wire.Listener // owner: mu
	wires     []wireConfig     // owner: mu
	closing   bool             // owner: mu

	holding sync.Mutex // held while an account is counted, held or found released
}

// wireConfig is the configuration of one listener, which a reload replaces.
type wireConfig struct {
	service smtp.Service
	current *atomic.Pointer[wire.Config]
}

// New returns a Server that does not listen yet.
func New(cfg Config, parts Parts) *Server {
	s := &Server{Parts: parts, now: time.Now}
	s.SetConfig(cfg)
	return s
}

// SetConfig changes the configuration of later connections.
func (s *Server) SetConfig(cfg Config) {
	cfg.Wire.DefaultDomain = s.defaultDomain
	cfg.Wire.Log = s.Log
	s.cfg.Store(&cfg)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.wires {
		s.setWire(w)
	}
}

// setWire gives a listener the common configuration with the parts that depend on its service.
func (s *Server) setWire(w wireConfig) {
	cfg := s.cfg.Load()
	wireCfg := cfg.Wire
	wireCfg.Admit = func(c *wire.Conn) (wire.Session, *smtp.Reply) { return s.admit(c, cfg, w.service) }
	wireCfg.Sessions, wireCfg.Service = s.Sessions, w.service.String()
	wireCfg.ETRN = len(cfg.Triggers) > 0
	wireCfg.ATRN = w.service == smtp.ODMR
	if w.service == smtp.Local {
		wireCfg.TLS = nil
	}
	w.current.Store(&wireCfg)
}

// defaultDomain returns the domain for a local part without one; "" means none. The postmaster
// must be reachable without a default domain too (RFC 5321 §4.5.1).
func (s *Server) defaultDomain(local string) addr.Domain {
	domain := s.Dir.DefaultDomain()
	if domain == "" && addr.IsPostmaster(local) {
		if all, err := s.Dir.Domains(); err == nil && len(all) > 0 {
			return all[0]
		}
	}
	return domain
}

// Serve serves connections from l until l is closed or Shutdown is called. Then it returns nil.
func (s *Server) Serve(l net.Listener, service smtp.Service) error {
	w := wireConfig{service, new(atomic.Pointer[wire.Config])}
	if service == smtp.Local {
		l = localListener{l}
	}
	wl := wire.NewListener(l, w.current, service == smtp.SMTPS)
	if !s.addListener(wl, w) {
		return l.Close()
	}
	return wl.Serve()
}

// addListener returns false if the server has been shut down: that can happen before all its
// listeners are served.
func (s *Server) addListener(l *wire.Listener, w wireConfig) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing {
		s.setWire(w)
		s.listeners, s.wires = append(s.listeners, l), append(s.wires, w)
	}
	return !s.closing
}

// Shutdown stops accepting and lets every session finish its command. It returns when all sessions
// have ended; when ctx ends, it closes their connections.
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

// admit begins a session, or returns the reply that refuses the client.
func (s *Server) admit(c *wire.Conn, cfg *Config, service smtp.Service) (wire.Session, *smtp.Reply) {
	remote := c.Remote()
	ss := &session{
		srv: s, cfg: cfg, conn: c, remote: remote,
		gather: Gatherer{Dir: s.Dir, Devices: s.Devices, Resolver: s.Resolver, Rules: cfg.Rules, Local: localDevice(c.Conn, cfg.Local)},
		facts:  policy.Facts{Client: policy.Client{Service: service, Remote: remote.Addr()}},
		log:    s.Log.With("remote_ip", remote.Addr(), "remote_port", remote.Port(), "service", service.String()),
	}
	if program, ok := c.Conn.(*localConn); ok {
		ss.log = ss.log.With("program_user", program.user)
		c.Live().SetUser("unix:" + program.user)
	}
	ss.gather.Client(context.Background(), &ss.facts)
	d := cfg.Rules.Connect(&ss.facts)
	if d.Verdict == policy.Refuse {
		return nil, ss.logRefusal(d, d.Reply)
	}
	ss.log.Debug("connected")
	s.Track.Add(ss.event(track.Connected))
	ss.Secured()
	return ss, nil
}
