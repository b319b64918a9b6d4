// Package web is the server's page: administration for operators, and each user's own page.
//
// Start with [New], [Site.ServeHTTP] and routes.go, the list of pages and acts. A page is an HTML
// template below templates and a function that fills it ([view]); an act is a function that does one
// verb of package admin ([act]). Nothing is decided here: rights, rules and words of errors are
// those of admin.Service, for which the operator who is logged in is the caller.
//
// Pages work without scripts and ask no other origin for anything. The only script, copy.js, adds
// buttons that copy a text.
package web

import (
	"context"
	"crypto/tls"
	"embed"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/httpserve"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
)

//go:embed templates style.css icon.svg copy.js
var files embed.FS

// Limits are those of the page's server.
func Limits() httpserve.Limits {
	return httpserve.Limits{
		Connections: 200, Request: 10 * time.Second, Answer: time.Minute, Idle: 2 * time.Minute,
	}
}

// maxForm is the number of octets that a form may bring.
const maxForm = 1 << 20

// Parts are what the site uses of the server.
type Parts struct {
	Service *admin.Service // without limits
	Logins  Logins
	Log     *slog.Logger
}

// Logins checks passwords. *auth.Authenticator implements it.
type Logins interface {
	Password(ctx context.Context, c auth.Client, user, password string) (auth.Principal, error)
	Code(ctx context.Context, c auth.Client, p auth.Principal, code string) error
	StillPermits(p auth.Principal, s auth.Service) error
}

// Site answers requests. It is safe for concurrent use.
type Site struct {
	Parts
	sessions table
	halves   halves
	pages    map[string]*template.Template
	texts    texts
	turns    turns
	handler  http.Handler
}

// New makes a Site.
func New(p Parts) *Site {
	s := &Site{Parts: p, pages: parsePages(), texts: newTexts(), turns: newTurns()}
	s.handler = secured(http.NewCrossOriginProtection().Handler(s.routes()))
	return s
}

// ServeHTTP implements http.Handler.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.knownHost(r.Host) {
		http.Error(w, "this server has another name", http.StatusMisdirectedRequest)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	s.handler.ServeHTTP(w, r)
}

// knownHost reports whether a Host header names this server. A page of a stranger whose name was
// made to lead here does not.
func (s *Site) knownHost(host string) bool {
	host = hostName(host)
	if _, err := netip.ParseAddr(host); err == nil || host == "localhost" {
		return true
	}
	if host == string(s.Service.Config().Hostname) {
		return true
	}
	for name := host; name != ""; _, name, _ = strings.Cut(name, ".") {
		if d, err := addr.ParseDomain(name); err == nil {
			if hosted, err := s.Service.Dir.Hosts(d); err == nil && hosted {
				return true
			}
		}
	}
	return false
}

// hostName returns the name or address in a Host header, in lower case.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.Trim(host, "[]"))
}

// secured sets the headers that keep a page from being used against its user.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "+
			"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "+
			"require-trusted-types-for 'script'; trusted-types 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// remote returns the address of a client; the zero address if it has none.
func remote(r *http.Request) netip.Addr {
	a, _ := netip.ParseAddrPort(r.RemoteAddr)
	return a.Addr().Unmap()
}

// client is the connection of a request, for a login.
func client(r *http.Request) auth.Client {
	state := r.TLS
	if state == nil {
		state = new(tls.ConnectionState)
	}
	return auth.Client{Service: auth.ServiceWeb, Remote: remote(r), TLS: state}
}
