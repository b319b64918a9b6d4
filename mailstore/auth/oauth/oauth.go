// Package oauth gets access tokens (OAuth 2.0, RFC 6749) for logins to other mail servers, such as
// those of Microsoft 365 and Gmail. It also makes the SASL messages that carry a token.
//
// Start with [Tokens.Token]. A [Config] names the token server and says how the client proves who
// it is: by client credentials (RFC 6749 §4.4), or by a refresh token in a file (§6). Tokens are kept
// in memory until shortly before they expire.
//
// The token server is not trusted. Its answers are limited in length and time, and its texts are
// made printable before they reach a log. No secret ever appears in an error.
package oauth

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	requestTimeout = 30 * time.Second
	failurePause   = 10 * time.Second // after a failure the token server is not asked again
	safetyMargin   = time.Minute      // before a token expires, a new one is fetched
	defaultLife    = 30 * time.Minute // of a token whose lifetime the server does not tell
	maxToken       = 8 << 10          // octets; the AUTH command has at most 12288 (RFC 4954 §4)
	maxText        = 300              // octets of an error
)

// Config says where to get access tokens. Configs are comparable; equal ones share a token.
type Config struct {
	TokenURL   string // of the token endpoint; "": no OAuth
	ClientID   string
	SecretFile string // its first line is the client's secret; "": none
	Scope      string // separated by blanks; for client credentials only
	// TokenFile has the refresh token in its first line. If the token server sends a new refresh
	// token, it replaces the file. "" means client credentials.
	TokenFile string
}

// Enabled reports whether there is a token server.
func (c Config) Enabled() bool { return c.TokenURL != "" }

// Token is an access token.
type Token struct {
	Value   string
	Expires time.Time
	Cached  bool // it is not new: the server of the mailbox may no longer accept it
}

// Error says why there is no token. It contains no secret.
type Error struct {
	Text string // in words of its own, or the token server's, made printable
	Hint string // what an administrator can do, or ""
}

func (e *Error) Error() string { return e.Text }

// Tokens gets and keeps tokens. It is safe for concurrent use.
type Tokens struct {
	client *http.Client
	log    *slog.Logger

	mu      sync.Mutex
	sources map[Config]*source // guarded by mu
}

// NewTokens returns Tokens that connect to token servers by dial; nil means a net.Dialer.
func NewTokens(
	dial func(ctx context.Context, network, address string) (net.Conn, error), log *slog.Logger,
) *Tokens {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if dial != nil {
		transport.DialContext = dial
	}
	transport.DisableKeepAlives = true
	return newTokens(transport, log)
}

func newTokens(transport http.RoundTripper, log *slog.Logger) *Tokens {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	client := &http.Client{
		Transport: transport,
		Timeout:   requestTimeout,
		// A redirect could carry the secret to another server.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &Tokens{client: client, log: log, sources: map[Config]*source{}}
}

// Token returns a valid access token. It asks the token server only if it has none. Errors are those
// of ctx, or an *Error.
func (t *Tokens) Token(ctx context.Context, cfg Config) (Token, error) {
	return t.source(cfg).get(ctx)
}

// Drop forgets a token that a server refused.
func (t *Tokens) Drop(cfg Config, value string) {
	s := t.source(cfg)
	s.slot <- struct{}{}
	defer func() { <-s.slot }()
	if s.token.Value == value {
		s.token = Token{}
	}
}

func (t *Tokens) source(cfg Config) *source {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.sources[cfg]
	if s == nil {
		s = &source{cfg: cfg, tokens: t, slot: make(chan struct{}, 1)}
		t.sources[cfg] = s
	}
	return s
}

// source is the token of one Config. Its fields are guarded by slot, a mutex whose waiting ends with
// a context.
type source struct {
	cfg    Config
	tokens *Tokens
	slot   chan struct{}

	token   Token
	renew   time.Time // when token is too old
	refresh string    // the refresh token that could not be written to its file
	failure error     // of the last request
	failed  time.Time
}

func (s *source) get(ctx context.Context) (Token, error) {
	select {
	case s.slot <- struct{}{}:
		defer func() { <-s.slot }()
	case <-ctx.Done():
		return Token{}, ctx.Err()
	}
	now := time.Now()
	if s.token.Value != "" && now.Before(s.renew) {
		token := s.token
		token.Cached = true
		return token, nil
	}
	if s.failure != nil && now.Before(s.failed.Add(failurePause)) {
		return Token{}, s.failure
	}
	token, err := s.fetch(ctx)
	if err != nil && ctx.Err() != nil {
		return Token{}, ctx.Err()
	}
	if s.failure = err; err != nil {
		s.token, s.failed = Token{}, time.Now()
		return Token{}, err
	}
	life := token.Expires.Sub(now)
	s.token, s.renew = token, token.Expires.Add(-min(safetyMargin, life/2))
	return token, nil
}
