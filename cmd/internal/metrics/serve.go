package metrics

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"pillarbox/cmd/internal/httpserve"
)

const (
	maxScrapes     = 4  // at a time; further ones get 503
	maxConnections = 32 // at a time; further ones are closed
	scrapeTime     = 20 * time.Second
	headerTime     = 5 * time.Second
	idleTime       = 2 * time.Minute // Prometheus keeps its connection between scrapes
)

// Limits are those of a server of figures.
func Limits() httpserve.Limits {
	return httpserve.Limits{
		Connections: maxConnections, Request: headerTime, Answer: scrapeTime + headerTime,
		Idle: idleTime,
	}
}

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
