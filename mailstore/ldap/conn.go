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

// maxAnswer bounds what a server may send in answer to one operation, in octets:
// enough for a group of ten thousand. In memory it is many times that.
const maxAnswer = 2 << 20

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// endpoint is where a server is, and how to know it.
type endpoint struct {
	url     string
	address string // host:port
	ldaps   bool
	tls     *tls.Config
}

// newEndpoint takes a URL that ParseServer takes.
func newEndpoint(server string, roots *x509.CertPool) endpoint {
	u, err := ParseServer(server)
	if err != nil {
		panic(err) // Open has looked
	}
	e := endpoint{url: server, ldaps: u.Scheme == "ldaps"}
	port := u.Port()
	if port == "" {
		port = map[bool]string{false: ldapv3.DefaultLdapPort, true: ldapv3.DefaultLdapsPort}[e.ldaps]
	}
	e.address = net.JoinHostPort(u.Hostname(), port)
	e.tls = &tls.Config{ServerName: u.Hostname(), RootCAs: roots, MinVersion: tls.VersionTLS12}
	return e
}

// conn is a connection to a server, used by one at a time.
type conn struct {
	*ldapv3.Conn
	server    *server
	purpose   purpose
	wire      *wire
	born      time.Time
	idleSince time.Time
	used      bool         // it was idle before this use
	mask      foreign.Mask // what we told the server in confidence
}

// good reports whether an idle connection may be used again.
func (c *conn) good() bool {
	return !c.IsClosing() && time.Since(c.idleSince) < maxIdleTime && time.Since(c.born) < maxAge
}

// connector makes connections.
type connector struct {
	cfg  Config
	dial dialFunc
}

// connect makes a connection that is ready for its purpose.
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

// open connects, encrypted if it is to be: never without where StartTLS fails.
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
	c := &conn{Conn: ldapv3.NewConn(stream, s.ldaps), server: s, wire: w, born: time.Now(), idleSince: time.Now()}
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

// startTLS bounds the library's handshake, which knows no time-out.
func (c *conn) startTLS(ctx context.Context, cfg *tls.Config) error {
	if deadline, ok := ctx.Deadline(); ok {
		c.wire.SetDeadline(deadline)
		defer c.wire.SetDeadline(time.Time{})
	}
	return c.StartTLS(cfg)
}

// logIn binds as the account that searches. An empty password would make it an
// unauthenticated bind, which succeeds and is nobody's (RFC 4513 §5.1.2).
func (k *connector) logIn(c *conn) error {
	if k.cfg.BindDN == "" {
		return nil
	}
	password, err := durable.ReadSecretLine(k.cfg.PasswordFile)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	c.wire.grant()
	c.mask.Add(password)
	if err := bindError(c.masked(c.Bind(k.cfg.BindDN, password))); err != nil {
		err = fmt.Errorf("log-in as %s: %w", k.cfg.BindDN, unprefixed(err))
		if errors.Is(err, ErrInvalid) { // of the account that searches, and of no user
			err = fmt.Errorf("%w: %s", ErrUnavailable, err.Error())
		}
		return err
	}
	return nil
}

// masked is an error of the library without the secrets that the server's text may repeat.
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

// wire is a connection that reads no more than it was granted, and whose writes
// end some time.
type wire struct {
	net.Conn
	timeout time.Duration
	read    atomic.Int64 // octets since the last grant
}

// grant begins an operation.
func (w *wire) grant() { w.read.Store(0) }

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if w.read.Add(int64(n)) > maxAnswer {
		return 0, fmt.Errorf("the server sends more than %d octets", maxAnswer)
	}
	return n, err
}

func (w *wire) Write(p []byte) (int, error) {
	if err := w.SetWriteDeadline(time.Now().Add(w.timeout)); err != nil {
		return 0, err
	}
	return w.Conn.Write(p)
}
