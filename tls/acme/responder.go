package acme

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
)

// Limits on connections from the internet while the responder listens.
const (
	maxConns   = 32 // at once
	connTime   = 10 * time.Second
	maxRequest = 4 << 10 // octets of an HTTP header
)

// responder answers the challenges of one attempt.
type responder struct {
	kind  Challenge
	close func() error

	mu    sync.Mutex
	files map[string]string           // by path, for HTTP01
	certs map[string]*tls.Certificate // by name, for TLSALPN01
}

// listen opens the address for the challenge.
func listen(cfg *Config) (*responder, error) {
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("the challenge %s cannot be answered: %w", cfg.Challenge, err)
	}
	l = &limited{Listener: l, slots: make(chan struct{}, maxConns), closed: make(chan struct{})}
	r := &responder{
		kind: cfg.Challenge, close: l.Close,
		files: make(map[string]string), certs: make(map[string]*tls.Certificate),
	}
	if r.kind == HTTP01 {
		srv := &http.Server{
			Handler: r, ReadTimeout: connTime, WriteTimeout: connTime, MaxHeaderBytes: maxRequest,
			// Scanners cause errors that are not worth a log line.
			ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		}
		srv.SetKeepAlivesEnabled(false)
		r.close = srv.Close
		go srv.Serve(l)
	} else {
		go r.serveTLS(l)
	}
	return r, nil
}

// Close stops listening.
func (r *responder) Close() error { return r.close() }

// expect prepares the answer to a challenge.
func (r *responder) expect(client *acme.Client, token, name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kind == HTTP01 {
		text, err := client.HTTP01ChallengeResponse(token)
		r.files[client.HTTP01ChallengePath(token)] = text
		return err
	}
	cert, err := client.TLSALPN01ChallengeCert(token, name)
	r.certs[name] = &cert
	return err
}

// ServeHTTP serves the expected files (RFC 8555 §8.3).
func (r *responder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	text, ok := r.files[req.URL.Path]
	r.mu.Unlock()
	if !ok || req.Method != http.MethodGet {
		http.NotFound(w, req)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Write([]byte(text))
}

// serveTLS shows the expected certificates (RFC 8737 §3). The handshake is the whole answer.
func (r *responder) serveTLS(l net.Listener) {
	cfg := &tls.Config{
		NextProtos:     []string{acme.ALPNProto},
		GetCertificate: r.certificate, SessionTicketsDisabled: true,
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return // closed
		}
		go func() {
			defer conn.Close()
			ctx, cancel := context.WithTimeout(context.Background(), connTime)
			defer cancel()
			tls.Server(conn, cfg).HandshakeContext(ctx)
		}()
	}
}

func (r *responder) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	cert, ok := r.certs[hello.ServerName]
	if !ok || !slices.Contains(hello.SupportedProtos, acme.ALPNProto) {
		return nil, errors.New("an unexpected challenge")
	}
	return cert, nil
}

// limited is a listener with a limited number of connections at once.
type limited struct {
	net.Listener
	slots  chan struct{} // one token for each open connection
	closed chan struct{}
	once   sync.Once
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: c, release: sync.OnceFunc(func() { <-l.slots })}, nil
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// limitedConn is a connection that frees its slot when it is closed.
type limitedConn struct {
	net.Conn
	release func()
}

func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
