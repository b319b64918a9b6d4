package ldap

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	ldapv3 "github.com/go-ldap/ldap/v3"

	"pillarbox/mailstore/durable"
	"pillarbox/mailstore/foreign"
)

// maxAnswer limits the answer to one operation, in octets. It is enough for a group of ten
// thousand. In memory it takes many times as much.
const maxAnswer = 2 << 20

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// endpoint is the address of a server, and how to verify it.
type endpoint struct {
	url     string
	address string // host:port
	ldaps   bool
	tls     *tls.Config
}

// newEndpoint takes a URL that ParseServer accepts.
func newEndpoint(server string, roots *x509.CertPool) endpoint {
	u, err := ParseServer(server)
	if err != nil {
		panic(err) // Open has checked it
	}
	e := endpoint{url: server, ldaps: u.Scheme == "ldaps"}
	port := u.Port()
	if port == "" {
		if port = ldapv3.DefaultLdapPort; e.ldaps {
			port = ldapv3.DefaultLdapsPort
		}
	}
	e.address = net.JoinHostPort(u.Hostname(), port)
	e.tls = &tls.Config{ServerName: u.Hostname(), RootCAs: roots, MinVersion: tls.VersionTLS12}
	return e
}

// conn is a connection to a server, for one user at a time.
type conn struct {
	*ldapv3.Conn
	server    *server
	purpose   purpose
	wire      *wire
	born      time.Time
	idleSince time.Time
	used      bool         // it was idle before this use
	mask      foreign.Mask // hides the secrets that were sent
}

// good reports whether an idle connection may be used again.
func (c *conn) good() bool {
	return !c.IsClosing() && time.Since(c.idleSince) < maxIdleTime && time.Since(c.born) < maxAge
}

// connector opens connections.
type connector struct {
	cfg  Config
	dial dialFunc
}

// connect opens a connection and prepares it for its purpose.
func (k *connector) connect(ctx context.Context, s *server, why purpose) (*conn, error) {
	c, err := k.open(ctx, s)
	if err != nil {
		return nil, err
	}
	c.purpose = why
	if why == searching {
		if err := k.logIn(c); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

// open connects. It never continues without encryption if StartTLS fails.
func (k *connector) open(ctx context.Context, s *server) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, k.cfg.Timeout)
	defer cancel()
	raw, err := k.dial(ctx, "tcp", s.address)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: raw, timeout: k.cfg.Timeout}
	var stream net.Conn = w
	if s.ldaps {
		encrypted := tls.Client(w, s.tls)
		if err := encrypted.HandshakeContext(ctx); err != nil {
			raw.Close()
			return nil, fmt.Errorf("TLS: %w", err)
		}
		stream = encrypted
	}
	c := &conn{Conn: ldapv3.NewConn(stream, s.ldaps), server: s, wire: w,
		born: time.Now(), idleSince: time.Now()}
	c.SetTimeout(k.cfg.Timeout)
	c.Start()
	if k.cfg.StartTLS && !s.ldaps {
		if err := c.startTLS(ctx, s.tls); err != nil {
			c.Close()
			return nil, fmt.Errorf("StartTLS: %w", unprefixed(err))
		}
	}
	return c, nil
}

// startTLS limits the time of the library's handshake, which has no timeout of its own.
func (c *conn) startTLS(ctx context.Context, cfg *tls.Config) error {
	if deadline, ok := ctx.Deadline(); ok {
		c.wire.SetDeadline(deadline)
		defer c.wire.SetDeadline(time.Time{})
	}
	return c.StartTLS(cfg)
}

// logIn binds as the search account. An empty password would make an unauthenticated bind, which
// succeeds without any identity (RFC 4513 §5.1.2).
func (k *connector) logIn(c *conn) error {
	if k.cfg.BindDN == "" {
		return nil
	}
	password, err := durable.ReadSecretLine(k.cfg.PasswordFile)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	c.wire.resetLimit()
	c.mask.Add(password)
	if err := bindError(c.masked(c.Bind(k.cfg.BindDN, password))); err != nil {
		err = fmt.Errorf("login as %s: %w", k.cfg.BindDN, unprefixed(err))
		if errors.Is(err, ErrInvalid) { // the search account failed, not the user
			err = fmt.Errorf("%w: %s", ErrUnavailable, err.Error())
		}
		return err
	}
	return nil
}

// masked removes secrets from an error of the library: the server's text may repeat them.
func (c *conn) masked(err error) error {
	e, ok := errors.AsType[*ldapv3.Error](err)
	if !ok || e.Err == nil {
		return err
	}
	hidden := *e
	hidden.MatchedDN = c.mask.Hide(e.MatchedDN)
	if text := c.mask.Hide(e.Err.Error()); text != e.Err.Error() {
		hidden.Err = errors.New(text)
	}
	return &hidden
}

// wire limits how much is read for each operation, and how long each write takes.
type wire struct {
	net.Conn
	timeout time.Duration
	read    atomic.Int64 // octets since the last resetLimit
}

// resetLimit starts the count for a new operation.
func (w *wire) resetLimit() { w.read.Store(0) }

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if w.read.Add(int64(n)) > maxAnswer {
		return 0, fmt.Errorf("the server sent more than %d octets", maxAnswer)
	}
	return n, err
}

func (w *wire) Write(p []byte) (int, error) {
	if err := w.SetWriteDeadline(time.Now().Add(w.timeout)); err != nil {
		return 0, err
	}
	return w.Conn.Write(p)
}
