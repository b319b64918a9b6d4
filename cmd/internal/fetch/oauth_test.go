package fetch

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/auth/oauth"
	"pillarbox/pop3/collect"
)

// A mailbox at Microsoft 365 or Gmail is opened with an access token. A refused one is forgotten.
func TestAccessToken(t *testing.T) {
	answers := []string{`{"access_token":"t1"}`, `{"access_token":"t2"}`, `{"error":"invalid_client"}`}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, answers[0])
		answers = answers[1:]
	}))
	defer web.Close()
	cfg := config.Fetch{Name: "m365", User: "us", OAuth: oauth.Config{TokenURL: web.URL, ClientID: "app"}}
	if err := cfg.POP3.UnmarshalText([]byte("pop.example:995")); err != nil {
		t.Fatal(err)
	}
	p := newPost(t, cfg)
	p.Tokens = oauth.NewTokens(nil, nil)
	var got []string
	refused := error(nil)
	p.Scheduler.collect = func(_ context.Context, o collect.Options) (collect.Result, error) {
		got = append(got, o.Token+o.Password)
		return collect.Result{}, refused
	}
	ask := func() error { return p.askPOP3(t.Context(), &cfg, &Result{}) }
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	refused = &collect.Error{Class: collect.ErrLogin, Text: "no"}
	if err := ask(); !errors.Is(err, collect.ErrLogin) {
		t.Errorf("got %v", err)
	}
	ask()
	err := ask()
	if strings.Join(got, " ") != "t1 t1 t2" || err == nil || !strings.Contains(err.Error(), "invalid_client") ||
		!strings.Contains(hintOf(err), "oauth_secret_file") {
		t.Errorf("got %q, %v, hint %q", got, err, hintOf(err))
	}
}
