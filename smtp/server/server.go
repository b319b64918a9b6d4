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
	"pillarbox/smtp/connlimit"
	"pillarbox/smtp/decisionlog"
	"pillarbox/smtp/delivery"
	"pillarbox/smtp/policy"
	"pillarbox/smtp/rate"
	"pillarbox/smtp/verify"
	"pillarbox/smtp/wire"
)

// Config is what a Server can be told anew while it runs; sessions keep the one
// that they began with.
type Config struct {
	Wire  wire.Config
	Rules *policy.Rules

	// Local is what programs on this machine may do, where its socket is served.
	Local policy.Device
	// Triggers are who may ask for the mail of the routes that are kept for remote-triggered delivery.
	Triggers []Trigger
	// Checks is what is made of SPF, DKIM and DMARC, which the Verifier finds out; nil: nobody does.
	Checks   verify.Settings
	Verifier *verify.Verifier
	// DSNForAll offers delivery reports to strangers too.
	DSNForAll bool
}

// Authenticator leads log-ins. *auth.Authenticator is the one in use.
type Authenticator interface {
	Offers(auth.Client) []string
	Begin(ctx context.Context, c auth.Client, mechanism string) (*auth.Exchange, error)
}

// Flusher sends mail on that is kept for remote-triggered delivery. *queue.Queue is the one in use.
type Flusher interface {
	FlushHeld(match func(addr.Domain) bool) int
}

// Parts are what a Server works with. Decisions, Queue and ClaimATRN may be nil.
type Parts struct {
	Dir       *directory.Directory
	Store     *mailstore.Store
	Auth      Authenticator
	Resolver  Resolver
	Devices   Devices
	Rates     *rate.Limiter
	Accounts  *connlimit.Accounts // sessions of each user
	Decisions *decisionlog.Log
	Log       *slog.Logger
	Delivery  *delivery.Dispatcher
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

	holding sync.Mutex // one account is held, or found released, at a time
}

// wireConfig is the configuration of one listener, to be replaced on reload.
type wireConfig struct {
	service smtp.Service
	current *atomic.Pointer[wire.Config]
}

// New makes a Server. Nothing listens yet.
func New(cfg Config, parts Parts) *Server {
	s := &Server{Parts: parts, now: time.Now}
	s.SetConfig(cfg)
	return s
}

// SetConfig takes effect for connections to come.
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

// setWire gives a listener its configuration: the common one, with a look at
// each client that knows which service it came to.
func (s *Server) setWire(w wireConfig) {
	cfg := s.cfg.Load()
	wireCfg := cfg.Wire
	wireCfg.Admit = func(c *wire.Conn) *smtp.Reply { return s.admit(c, cfg, w.service) }
	wireCfg.DSN = func(c *wire.Conn) bool { return c.Guest.(*session).offersDSN() }
	if len(cfg.Triggers) > 0 {
		wireCfg.ETRN = func(c *wire.Conn, node string) *smtp.Reply { return c.Guest.(*session).etrn(node) }
	}
	if w.service == smtp.ODMR {
		wireCfg.ATRN = func(c *wire.Conn, domains string) (*smtp.Reply, func(net.Conn)) {
			return c.Guest.(*session).atrn(domains)
		}
	}
	if w.service == smtp.Local {
		wireCfg.TLS = nil
	}
	w.current.Store(&wireCfg)
}

// defaultDomain is the domain of a local part that came without one. The
// postmaster is reached also where no domain is the default (RFC 5321 §4.5.1).
func (s *Server) defaultDomain(local string) addr.Domain {
	domain := s.Dir.DefaultDomain()
	if domain == "" && addr.IsPostmaster(local) {
		if all, err := s.Dir.Domains(); err == nil && len(all) > 0 {
			return all[0]
		}
	}
	return domain
}

// Serve accepts connections from l until it is closed or Shutdown is called;
// then it returns nil.
func (s *Server) Serve(l net.Listener, service smtp.Service) error {
	w := wireConfig{service, new(atomic.Pointer[wire.Config])}
	if service == smtp.Local {
		l = localListener{l}
	}
	wl := wire.NewListener(l, w.current, service == smtp.SMTPS)
	if !s.addListener(wl, w) {
		return l.Close()
	}
	lib := gosmtp.NewServer(gosmtp.BackendFunc(func(c *gosmtp.Conn) (gosmtp.Session, error) {
		return c.Conn().(*wire.Conn).Guest.(*session), nil
	}))
	lib.MaxLineLength = 0 // wire has a limit for each kind of line
	lib.AllowInsecureAuth = true
	lib.EnableSMTPUTF8 = true
	lib.EnableDSN = true
	lib.ErrorLog = slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn)
	err := lib.Serve(wl)
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// addListener reports false when the server has been shut down already: it may
// be told to stop before all its listeners are being served.
func (s *Server) addListener(l *wire.Listener, w wireConfig) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing {
		s.setWire(w)
		s.listeners, s.wires = append(s.listeners, l), append(s.wires, w)
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

// admit begins a session: it gathers what is known of the client and asks
// whether it may talk to us at all.
func (s *Server) admit(c *wire.Conn, cfg *Config, service smtp.Service) *smtp.Reply {
	remote, _ := netip.ParseAddrPort(c.RemoteAddr().String())
	remote = netip.AddrPortFrom(remote.Addr().Unmap().WithZone(""), remote.Port())
	ss := &session{
		srv: s, cfg: cfg, conn: c, remote: remote,
		gather: Gatherer{Dir: s.Dir, Devices: s.Devices, Names: s.Resolver, Rules: cfg.Rules, Local: localDevice(c.Conn, cfg.Local)},
		facts:  policy.Facts{Client: policy.Client{Service: service, Remote: remote.Addr()}},
		log:    s.Log.With("remote", remote, "service", service.String()),
	}
	if program, ok := c.Conn.(*localConn); ok {
		ss.log = ss.log.With("program of", program.program)
	}
	c.Guest = ss
	ss.gather.Client(context.Background(), &ss.facts)
	d := cfg.Rules.Connect(&ss.facts)
	if d.Verdict == policy.Refuse {
		return ss.note(d, d.Reply)
	}
	s.Log.Debug("connected", "remote", remote, "service", service.String())
	return nil
}
