// Package httpserve serves HTTP so that its clients cannot take what the mail needs: it limits their
// connections and the time of each request.
package httpserve

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Limits bound what clients can take of the server. All must be set.
type Limits struct {
	Connections int           // at a time; further ones are closed
	Request     time.Duration // for the client to send a request
	Answer      time.Duration // from the end of the request's header to the end of the answer
	Idle        time.Duration // of a connection between two requests
}

const maxHeader = 8 << 10 // octets

// Serve answers on a listener with h until ctx ends, and closes the listener. With encrypted,
// clients must use TLS.
func Serve(
	ctx context.Context, l net.Listener, encrypted *tls.Config, h http.Handler, limits Limits,
	log *slog.Logger,
) error {
	l = &limited{Listener: l, most: int32(limits.Connections)}
	if encrypted != nil {
		l = tls.NewListener(l, encrypted)
	}
	s := &http.Server{
		Handler: h, ReadHeaderTimeout: limits.Request, ReadTimeout: limits.Request,
		WriteTimeout: limits.Answer, IdleTimeout: limits.Idle, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-ctx.Done():
		case <-ended:
		}
		s.Close()
	}()
	err := s.Serve(l)
	if errors.Is(err, http.ErrServerClosed) || ctx.Err() != nil {
		return nil // at the end, the caller may have closed the listener first
	}
	return err
}

// limited is a listener that closes connections above the limit.
type limited struct {
	net.Listener
	most int32
	open atomic.Int32
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.most {
			return &limitedConn{Conn: c, open: &l.open}, nil
		}
		l.open.Add(-1)
		c.Close()
	}
}

// limitedConn gives its place back when it is closed.
type limitedConn struct {
	net.Conn
	open   *atomic.Int32
	closed atomic.Bool
}

func (c *limitedConn) Close() error {
	if c.closed.CompareAndSwap(false, true) {
		c.open.Add(-1)
	}
	return c.Conn.Close()
}
