package oauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const clientSecret, firstRefresh = "ClientSecret77", "RefreshToken88"

// tokenServer answers every request with the next answer, and the last one from then on.
type tokenServer struct {
	mu      sync.Mutex
	asked   []url.Values
	answers []string // "status body"; guarded by mu
}

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.ParseForm()
	s.mu.Lock()
	s.asked = append(s.asked, r.PostForm)
	answer := s.answers[0]
	if len(s.answers) > 1 {
		s.answers = s.answers[1:]
	}
	s.mu.Unlock()
	var status int
	_, body, _ := strings.Cut(answer, " ")
	fmt.Sscan(answer, &status)
	if body == "hang" {
		<-r.Context().Done()
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if status == http.StatusFound {
		w.Header().Set("Location", "/elsewhere")
	}
	w.WriteHeader(status)
	io.WriteString(w, body)
}

// serve returns Tokens and a Config that ask a server with these answers.
func serve(t *testing.T, refresh bool, answers ...string) (*tokenServer, *Tokens, Config) {
	t.Helper()
	s := &tokenServer{answers: answers}
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	folder := t.TempDir()
	cfg := Config{TokenURL: web.URL + "/token", ClientID: "id-1", Scope: "mail.send offline"}
	cfg.SecretFile = filepath.Join(folder, "secret")
	write(t, cfg.SecretFile, clientSecret+"\n")
	if refresh {
		cfg.TokenFile = filepath.Join(folder, "token")
		write(t, cfg.TokenFile, firstRefresh+"\n")
	}
	return s, NewTokens(nil, nil), cfg
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func answer(token string, more string) string {
	return `200 {"access_token":"` + token + `","token_type":"Bearer"` + more + `}`
}

func TestClientCredentials(t *testing.T) {
	s, tokens, cfg := serve(t, false, answer("t1", `,"expires_in":3600`), answer("t2", `,"expires_in":3600`))
	for i, want := range []Token{{Value: "t1"}, {Value: "t1", Cached: true}} {
		got, err := tokens.Token(t.Context(), cfg)
		if err != nil || got.Value != want.Value || got.Cached != want.Cached {
			t.Fatalf("%d: %+v, %v", i, got, err)
		}
	}
	tokens.Drop(cfg, "another")
	if got, _ := tokens.Token(t.Context(), cfg); got.Value != "t1" {
		t.Errorf("a token was dropped that was not meant")
	}
	tokens.Drop(cfg, "t1")
	if got, _ := tokens.Token(t.Context(), cfg); got.Value != "t2" || got.Cached {
		t.Errorf("after Drop: %+v", got)
	}
	want := "client_id=id-1&client_secret=ClientSecret77&grant_type=client_credentials&scope=mail.send+offline"
	if len(s.asked) != 2 || s.asked[0].Encode() != want {
		t.Errorf("asked %v", s.asked)
	}
}

// A token is renewed before it expires.
func TestExpiry(t *testing.T) {
	_, tokens, cfg := serve(t, false, answer("t1", `,"expires_in":1`), answer("t2", `,"expires_in":3600`))
	tokens.Token(t.Context(), cfg)
	source := tokens.source(cfg)
	if left := time.Until(source.renew); left > 600*time.Millisecond {
		t.Errorf("a token of 1 s is kept for %v", left)
	}
	source.renew = time.Now()
	if got, err := tokens.Token(t.Context(), cfg); err != nil || got.Value != "t2" || got.Cached {
		t.Errorf("%+v, %v", got, err)
	}
	if left := time.Until(source.renew); left < 58*time.Minute || left > 59*time.Minute {
		t.Errorf("a token of 1 h is kept for %v", left)
	}
}

// A new refresh token replaces the file; the next request uses it.
func TestRefreshToken(t *testing.T) {
	s, tokens, cfg := serve(t, true, answer("t1", `,"refresh_token":"Rotated99"`), answer("t2", ""))
	if got, err := tokens.Token(t.Context(), cfg); err != nil || got.Value != "t1" {
		t.Fatalf("%+v, %v", got, err)
	}
	text, err := os.ReadFile(cfg.TokenFile)
	info, _ := os.Stat(cfg.TokenFile)
	if string(text) != "Rotated99\n" || info.Mode() != 0o600 {
		t.Errorf("file %q, %v, %v", text, info.Mode(), err)
	}
	tokens.Drop(cfg, "t1")
	tokens.Token(t.Context(), cfg)
	if len(s.asked) != 2 || s.asked[0].Get("refresh_token") != firstRefresh ||
		s.asked[1].Get("refresh_token") != "Rotated99" || s.asked[1].Get("grant_type") != "refresh_token" {
		t.Errorf("asked %v", s.asked)
	}
	if text, _ = os.ReadFile(cfg.TokenFile); string(text) != "Rotated99\n" {
		t.Errorf("file %q after an answer without a refresh token", text)
	}
}

// A refresh token that cannot be written is used, and written later.
func TestRefreshTokenIsNotWritable(t *testing.T) {
	s, tokens, cfg := serve(t, true, answer("t1", `,"refresh_token":"Rotated99"`), answer("t2", ""))
	var log bytes.Buffer
	tokens.log = slog.New(slog.NewTextHandler(&log, nil))
	source := tokens.source(cfg)
	source.refresh = "" // as after the failure below
	file := cfg.TokenFile
	source.cfg.TokenFile = filepath.Join(t.TempDir(), "gone", "token")
	source.keepRefreshToken("Rotated99")
	if !strings.Contains(log.String(), "a new refresh token could not be written") || strings.Contains(log.String(), "Rotated99") {
		t.Errorf("log %s", log.String())
	}
	source.cfg.TokenFile = file
	if _, err := tokens.Token(t.Context(), cfg); err != nil || s.asked[0].Get("refresh_token") != "Rotated99" {
		t.Errorf("asked %v, %v", s.asked, err)
	}
	if text, _ := os.ReadFile(file); string(text) != "Rotated99\n" {
		t.Errorf("file %q", text)
	}
}

// Every failure of the token server is told in words, without a secret.
func TestFailures(t *testing.T) {
	long := strings.Repeat("x", maxToken+1)
	for name, tt := range map[string]struct {
		answer, want, hint string
	}{
		"refused":       {`401 {"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret.\r\nTrace ID: 1"}`, "refuses the request: invalid_client: AADSTS7000215: Invalid client secret.", "check oauth_client_id and the secret in oauth_secret_file, which may have expired"},
		"grant":         {`400 {"error":"invalid_grant"}`, "refuses the request: invalid_grant", "the refresh token is no longer valid: get a new one and write it into FILE"},
		"scope":         {`400 {"error":"invalid_scope"}`, "refuses the request: invalid_scope", "check oauth_scope"},
		"200 and error": {`200 {"error":"slow_down"}`, "refuses the request: slow_down", ""},
		"bare 401":      {`401 no`, "answered 401 Unauthorized", "check oauth_token_url"},
		"500":           {`500 <html>`, "answered 500 Internal Server Error", "check oauth_token_url"},
		"redirect":      {`302 {}`, "answered 302 Found", "check oauth_token_url"},
		"no JSON":       {`200 <html>welcome</html>`, "sent an answer that is not JSON with a token", ""},
		"wrong JSON":    {`200 [1]`, "sent an answer that is not JSON with a token", ""},
		"no token":      {`200 {}`, "sent an answer without access_token", ""},
		"type":          {`200 {"access_token":"a","token_type":"mac"}`, `sent a token of the type "MAC"; mail servers take Bearer`, ""},
		"huge token":    {answer(long, ""), "sent a token of 8193 octets; at most 8192 are taken", ""},
		"huge answer":   {"200 {\"access_token\":\"" + strings.Repeat("x", 2<<20), "sent an answer that is not JSON with a token", ""},
		"line end":      {answer(`a\r\nMAIL`, ""), "sent a token with characters that no token has", ""},
		"separator":     {answer(`a\u0001auth=`, ""), "sent a token with characters that no token has", ""},
		"expired":       {answer("a", `,"expires_in":-5`), "sent a token that has expired", ""},
		"echo":          {`400 {"error":"x","error_description":"ClientSecret77 RefreshToken88 \u001b[31m"}`, "refuses the request: x: *** *** ?[31m", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, tokens, cfg := serve(t, true, tt.answer)
			_, err := tokens.Token(t.Context(), cfg)
			e, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			u, _ := url.Parse(cfg.TokenURL)
			if want := "the token server " + u.Host + " " + tt.want; e.Text != want {
				t.Errorf("got  %q\nwant %q", e.Text, want)
			}
			if want := strings.ReplaceAll(tt.hint, "FILE", cfg.TokenFile); e.Hint != want {
				t.Errorf("hint %q", e.Hint)
			}
		})
	}
}

func TestSlowServer(t *testing.T) {
	_, tokens, cfg := serve(t, false, "200 hang")
	tokens.client.Timeout = 20 * time.Millisecond
	if _, err := tokens.Token(t.Context(), cfg); err == nil || !strings.HasSuffix(err.Error(), "took too long") {
		t.Errorf("got %v", err)
	}
	tokens.client.Timeout = 0
	tokens.source(cfg).failed = time.Time{}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := tokens.Token(ctx, cfg); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// Many deliveries at once ask a failing server once.
func TestFailureIsShared(t *testing.T) {
	s, tokens, cfg := serve(t, false, `500 {}`, answer("t1", ""))
	var running sync.WaitGroup
	for range 20 {
		running.Go(func() {
			if _, err := tokens.Token(t.Context(), cfg); err == nil {
				t.Error("a token")
			}
		})
	}
	running.Wait()
	if len(s.asked) != 1 {
		t.Errorf("asked %d times", len(s.asked))
	}
	tokens.source(cfg).failed = time.Now().Add(-failurePause)
	if got, err := tokens.Token(t.Context(), cfg); err != nil || got.Value != "t1" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestUnreachable(t *testing.T) {
	web := httptest.NewTLSServer(&tokenServer{answers: []string{answer("t", "")}})
	defer web.Close()
	web.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	cfg := Config{TokenURL: web.URL, ClientID: "id"}
	if _, err := NewTokens(nil, nil).Token(t.Context(), cfg); err == nil ||
		!strings.Contains(err.Error(), "has a certificate that was not accepted") {
		t.Errorf("got %v", err)
	}
	trusting := newTokens(web.Client().Transport, nil)
	if got, err := trusting.Token(t.Context(), cfg); err != nil || got.Value != "t" {
		t.Errorf("%+v, %v", got, err)
	}
	web.Close()
	if _, err := NewTokens(nil, nil).Token(t.Context(), cfg); err == nil ||
		!strings.Contains(err.Error(), "cannot be reached: ") || strings.Contains(err.Error(), "Post") {
		t.Errorf("got %v", err)
	}
}

func TestFilesOfOthersAreNotRead(t *testing.T) {
	_, tokens, cfg := serve(t, true, answer("t", ""))
	if err := os.Chmod(cfg.TokenFile, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := tokens.Token(t.Context(), cfg)
	if e, ok := errors.AsType[*Error](err); !ok || e.Text != "the refresh token is not available" ||
		!strings.Contains(e.Hint, "may be read by others") {
		t.Errorf("got %v", err)
	}
}

// The examples of RFC 7628 §4.1 and of the documentation of Google.
func TestResponse(t *testing.T) {
	for _, tt := range []struct{ mechanism, user, want string }{
		{"OAUTHBEARER", "user@example.com", "n,a=user@example.com,\x01host=server.example.com\x01port=587\x01auth=Bearer vF9d\x01\x01"},
		{"OAUTHBEARER", "a,b=c", "n,a=a=2Cb=3Dc,\x01host=server.example.com\x01port=587\x01auth=Bearer vF9d\x01\x01"},
		{"XOAUTH2", "user@example.com", "user=user@example.com\x01auth=Bearer vF9d\x01\x01"},
	} {
		if got := string(Response(tt.mechanism, tt.user, "server.example.com", 587, "vF9d")); got != tt.want {
			t.Errorf("got %q", got)
		}
	}
}

func TestRefusal(t *testing.T) {
	for challenge, want := range map[string]string{
		`{"status":"invalid_token","scope":"example_scope","openid-configuration":"x"}`: "status invalid_token, scope example_scope",
		`{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}`:        "status 400, scope https://mail.google.com/",
		`{"status":"401"}`:            "status 401",
		"{\"status\":\"4\\u001b01\"}": "status 4?01",
		`{"status":401}`:              "",
		`{}`:                          "",
		``:                            "",
		`{"status":"` + strings.Repeat("x", 500) + `"}`: "status " + strings.Repeat("x", 93),
	} {
		if got := Refusal([]byte(challenge)); got != want {
			t.Errorf("%q: got %q", challenge, got)
		}
	}
}
