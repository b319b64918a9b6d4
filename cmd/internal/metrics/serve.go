package metrics

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	maxScrapes     = 4  // at a time; further ones get 503
	maxConnections = 32 // at a time; further ones are closed
	scrapeTime     = 20 * time.Second
	headerTime     = 5 * time.Second
	idleTime       = 2 * time.Minute // Prometheus keeps its connection between scrapes
)

// Readiness tells why the server is not ready; no reasons mean that it is.
type Readiness func() (reasons []string)

// Handler answers /metrics, /healthz and /readyz. Every request must be admitted.
func (m *Metrics) Handler(ready Readiness, admitted func(*http.Request) bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: maxScrapes, Timeout: scrapeTime,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, "alive")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if reasons := ready(); len(reasons) > 0 {
			answer(w, http.StatusServiceUnavailable, strings.Join(reasons, "\n"))
			return
		}
		answer(w, http.StatusOK, "ready")
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !admitted(r) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			w.Header().Set("Connection", "close") // a client without a token must not hold a place
			answer(w, http.StatusUnauthorized, "a token or a client certificate is required")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}

// HasToken reports whether a request has a token, as "Authorization: Bearer TOKEN". No request has
// the empty token.
func HasToken(r *http.Request, token string) bool {
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(token))
	return ok && token != "" && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// Serve answers on a listener with h until ctx ends, and closes the listener. It limits the number
// of connections and the time of each request. With encrypted, clients must use TLS.
func Serve(
	ctx context.Context, l net.Listener, encrypted *tls.Config, h http.Handler, log *slog.Logger,
) error {
	l = &limited{Listener: l}
	if encrypted != nil {
		l = tls.NewListener(l, encrypted)
	}
	s := &http.Server{
		Handler: h, ReadHeaderTimeout: headerTime, ReadTimeout: headerTime,
		WriteTimeout: scrapeTime + headerTime, IdleTimeout: idleTime, MaxHeaderBytes: 8 << 10,
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
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// limited is a listener that closes connections above the limit.
type limited struct {
	net.Listener
	open atomic.Int32
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= maxConnections {
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
