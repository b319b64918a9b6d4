package remote

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth/oauth"
	"pillarbox/smtp/route"
)

// tokenServer sends the token "token-1", then "token-2", and so on.
func tokenServer(t *testing.T, status int) (url string, asked *atomic.Int32) {
	t.Helper()
	asked = new(atomic.Int32)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if status == http.StatusOK {
			fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"Bearer","expires_in":3600}`, n)
		} else {
			io.WriteString(w, `{"error":"invalid_client","error_description":"the secret has expired"}`)
		}
	}))
	t.Cleanup(web.Close)
	return web.URL, asked
}

func TestOAuth(t *testing.T) {
	_, server := certificate(t, "relay.example")
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	x := func(n int) string { return b64(fmt.Sprintf("user=anna\x01auth=Bearer token-%d\x01\x01", n)) }
	bearer := "AUTH OAUTHBEARER " + b64("n,a=anna,\x01host=[192.0.2.1]\x01port=25\x01auth=Bearer token-1\x01\x01")
	challenge := "334 " + b64(`{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}`)
	for name, tt := range map[string]struct {
		offers  string
		clear   bool // no TLS
		answers map[string]string
		want    string
		said    string
		text    string
	}{
		"XOAUTH2":     {offers: "AUTH LOGIN XOAUTH2", answers: map[string]string{"AUTH XOAUTH2 " + x(1): "235 ok"}, want: "delivered 250 2.0.0", said: "AUTH XOAUTH2 " + x(1) + " | MAIL"},
		"OAUTHBEARER": {offers: "AUTH PLAIN OAUTHBEARER", answers: map[string]string{bearer: "235 ok"}, want: "delivered 250 2.0.0", said: bearer + " | MAIL"},
		"refused": {offers: "AUTH XOAUTH2", answers: map[string]string{"AUTH": challenge, "": "535 5.7.8 not accepted"}, want: "unreachable, deferred 535 5.7.8",
			said: x(1) + " | ", text: "not accepted [status 400, scope https://mail.google.com/] (AUTH XOAUTH2)"},
		"next": {offers: "AUTH XOAUTH2 OAUTHBEARER", answers: map[string]string{"AUTH XOAUTH2": challenge, "": "535 5.7.8 no", "AUTH OAUTHBEARER": challenge, "AQ==": "235 ok"},
			want: "delivered 250 2.0.0", said: " | AQ== | MAIL"},
		"bad challenge": {offers: "AUTH XOAUTH2", answers: map[string]string{"AUTH": "334 $$$", "": "535 5.7.8 no"}, want: "unreachable, deferred 535 5.7.8", said: x(1) + " | ", text: "no (AUTH XOAUTH2)"},
		"busy":          {offers: "AUTH XOAUTH2", answers: map[string]string{"AUTH": "454 4.7.0 later"}, want: "unreachable, deferred 454 4.7.0", said: x(1), text: "later (AUTH XOAUTH2)"},
		"in the clear":  {offers: "AUTH XOAUTH2", clear: true, want: "unreachable, deferred 451 4.7.0 ours", said: "EHLO"},
		"not offered":   {offers: "AUTH PLAIN", want: "unreachable, deferred 451 4.7.0 ours", said: "EHLO"},
	} {
		t.Run(name, func(t *testing.T) {
			url, _ := tokenServer(t, http.StatusOK)
			p := &peer{behaviour: behaviour{offers: []string{"STARTTLS"}, inTLS: []string{tt.offers}, tls: server, answers: tt.answers}}
			if tt.clear {
				p.offers, p.tls = []string{tt.offers}, nil
			}
			var log bytes.Buffer
			r := via(t, p, func(rt *route.Route, o *Options) {
				rt.User, rt.OAuth = "anna", oauth.Config{TokenURL: url, ClientID: "id"}
				o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			})
			outcome := r.Deliver(t.Context(), attempt(letter, "b@x.example"))
			if got := summary(outcome); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if got := outcome.Results[0].Reply.Text; tt.text != "" && got != tt.text {
				t.Errorf("text %q", got)
			}
			if !strings.Contains(p.said(), tt.said) || strings.Contains(p.said(), "AUTH") && strings.HasSuffix(tt.want, "ours") {
				t.Errorf("said %s", p.said())
			}
			if strings.Contains(log.String()+fmt.Sprint(outcome), "token-1") {
				t.Errorf("the token is in %s", log.String())
			}
		})
	}
}

// A server may refuse a token that was kept from before. Then a new one is tried at once.
func TestOldToken(t *testing.T) {
	_, server := certificate(t, "relay.example")
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	url, asked := tokenServer(t, http.StatusOK)
	taken := "AUTH XOAUTH2 " + b64("user=anna\x01auth=Bearer token-1\x01\x01")
	p := &peer{behaviour: behaviour{offers: []string{"STARTTLS"}, inTLS: []string{"AUTH XOAUTH2"}, tls: server,
		answers: map[string]string{taken: "235 ok", "AUTH": "235 ok"}}}
	r := via(t, p, func(rt *route.Route, o *Options) {
		rt.User, rt.OAuth, rt.PerConnection = "anna", oauth.Config{TokenURL: url, ClientID: "id"}, 1
	})
	r.Deliver(t.Context(), attempt(letter, "b@x.example"))
	p.running.Wait() // the peer still answers QUIT
	p.answers = map[string]string{taken: "535 5.7.8 expired"}
	if got := summary(r.Deliver(t.Context(), attempt(letter, "b@x.example"))); got != "delivered 250 2.0.0" || asked.Load() != 2 {
		t.Errorf("got %s; asked %d times; said %s", got, asked.Load(), p.said())
	}
}

// A token server that fails is a temporary failure in words. No server is connected to.
func TestNoToken(t *testing.T) {
	url, asked := tokenServer(t, http.StatusUnauthorized)
	p := &peer{behaviour: behaviour{offers: []string{"AUTH XOAUTH2"}}}
	r := via(t, p, func(rt *route.Route, _ *Options) {
		rt.User, rt.OAuth = "anna", oauth.Config{TokenURL: url, ClientID: "id"}
	})
	want := "we cannot log in to [192.0.2.1]: the token server " + strings.TrimPrefix(url, "http://") +
		" refuses the request: invalid_client: the secret has expired"
	outcome := r.Deliver(t.Context(), attempt(letter, "b@x.example"))
	if got := outcome.Results[0].Reply.Text; summary(outcome) != "unreachable, deferred 451 4.7.0 ours" || got != want {
		t.Errorf("%s: %q", summary(outcome), got)
	}
	var steps []Step
	to, _ := addr.Parse("b@x.example")
	r.Probe(t.Context(), to, to, func(s Step) { steps = append(steps, s) })
	last := steps[len(steps)-1]
	if last.Name != "token" || last.OK || !strings.HasSuffix(last.Text, want) || !strings.Contains(last.Hint, "oauth_secret_file") {
		t.Errorf("%+v", last)
	}
	if p.conns != 0 || asked.Load() != 1 {
		t.Errorf("%d connections, asked %d times", p.conns, asked.Load())
	}
}

// A probe shows the token, but not its value.
func TestProbeShowsToken(t *testing.T) {
	url, _ := tokenServer(t, http.StatusOK)
	p := &peer{behaviour: behaviour{offers: []string{"AUTH XOAUTH2"}, answers: map[string]string{"AUTH": "235 ok token-1"}}}
	r := via(t, p, func(rt *route.Route, _ *Options) {
		rt.TLS, rt.User, rt.OAuth = route.TLSOff, "anna", oauth.Config{TokenURL: url, ClientID: "id"}
	})
	var steps strings.Builder
	to, _ := addr.Parse("b@x.example")
	r.Probe(t.Context(), to, to, func(s Step) { fmt.Fprintln(&steps, s.Name, s.OK, s.Text, s.Hint) })
	for _, want := range []string{"token true access token of 127.0.0.1:", ", valid for ", "auth true 235 ok *** (XOAUTH2 as anna)"} {
		if !strings.Contains(steps.String(), want) || strings.Contains(steps.String(), "token-1") {
			t.Errorf("no %q in\n%s", want, steps.String())
		}
	}
}
