package remote

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
	"pillarbox/smtp/route"
)

func TestLoginOrder(t *testing.T) {
	for name, tt := range map[string]struct {
		setting, offered string
		oauth            bool
		tls, clear       bool
		refused, lately  string
		want             string
	}{
		"in TLS":             {offered: "NTLM LOGIN PLAIN CRAM-MD5", tls: true, clear: true, want: "PLAIN LOGIN CRAM-MD5 NTLM"},
		"without TLS":        {offered: "NTLM LOGIN PLAIN CRAM-MD5", want: "CRAM-MD5 NTLM"},
		"tls off":            {offered: "NTLM LOGIN PLAIN CRAM-MD5", clear: true, want: "CRAM-MD5 NTLM PLAIN LOGIN"},
		"setting":            {setting: "NTLM LOGIN", offered: "PLAIN LOGIN NTLM", tls: true, clear: true, want: "NTLM LOGIN"},
		"setting, no TLS":    {setting: "LOGIN NTLM", offered: "PLAIN LOGIN NTLM", want: "NTLM"},
		"setting, not there": {setting: "LOGIN", offered: "PLAIN", tls: true, clear: true},
		"OAuth":              {offered: "LOGIN PLAIN OAUTHBEARER XOAUTH2", oauth: true, tls: true, clear: true, want: "XOAUTH2 OAUTHBEARER"},
		"OAuth, setting":     {setting: "OAUTHBEARER LOGIN", offered: "LOGIN OAUTHBEARER XOAUTH2", oauth: true, tls: true, clear: true, want: "OAUTHBEARER"},
		"OAuth, no TLS":      {offered: "OAUTHBEARER XOAUTH2", oauth: true},
		"no OAuth":           {setting: "XOAUTH2 LOGIN", offered: "LOGIN XOAUTH2", tls: true, clear: true, want: "LOGIN"},
		"unknown":            {offered: "GSSAPI", tls: true, clear: true},
		"refused before":     {offered: "PLAIN LOGIN NTLM", tls: true, clear: true, refused: "PLAIN", want: "LOGIN NTLM"},
		"lately":             {offered: "PLAIN LOGIN NTLM", tls: true, clear: true, lately: "PLAIN LOGIN", want: "NTLM PLAIN LOGIN"},
		"lately, the oldest": {offered: "PLAIN LOGIN", tls: true, clear: true, lately: "LOGIN PLAIN", want: "LOGIN PLAIN"},
	} {
		t.Run(name, func(t *testing.T) {
			var refused []refusedLogin
			for _, m := range strings.Fields(tt.refused) {
				refused = append(refused, refusedLogin{mechanism: m})
			}
			got := loginOrder(strings.Fields(tt.setting), strings.Fields(tt.offered), tt.oauth, tt.tls, tt.clear,
				refused, strings.Fields(tt.lately))
			if strings.Join(got, " ") != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestLoginOver(t *testing.T) {
	for _, tt := range []struct {
		code     int
		enhanced [3]int
		want     bool
	}{
		{535, [3]int{5, 7, 8}, false}, {534, [3]int{5, 7, 9}, false}, {504, [3]int{5, 5, 4}, false},
		{432, [3]int{4, 7, 12}, false}, {454, [3]int{4, 7, 0}, true}, {421, [3]int{4, 3, 2}, true},
		{535, [3]int{5, 7, 13}, true},
	} {
		if got := loginOver(smtp.Reply{Code: tt.code, Enhanced: tt.enhanced}); got != tt.want {
			t.Errorf("%d %v: %v", tt.code, tt.enhanced, got)
		}
	}
}

// A mechanism that is refused is not the end while another one remains.
func TestNextMechanism(t *testing.T) {
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	login := func(answers map[string]string) map[string]string {
		answers["AUTH LOGIN"], answers[b64("anna")] = "334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"
		return answers
	}
	for name, tt := range map[string]struct {
		answers map[string]string
		setting string
		said    string // verbs of AUTH, in order
		conns   int
		want    string
		text    string
	}{
		"PLAIN refused, LOGIN taken": {
			answers: login(map[string]string{"AUTH PLAIN": "535 5.7.8 no", b64("secret"): "235 ok"}),
			said:    "PLAIN LOGIN", conns: 1, want: "delivered 250 2.0.0"},
		"closed after PLAIN": {
			answers: login(map[string]string{"AUTH PLAIN": "!last 535 5.7.8 no", b64("secret"): "235 ok"}),
			said:    "PLAIN LOGIN", conns: 2, want: "delivered 250 2.0.0"},
		"all closed": {
			answers: map[string]string{"AUTH": "!last 535 5.7.8 no"},
			said:    "PLAIN LOGIN", conns: 2, want: "unreachable, deferred 535 5.7.8", text: "no (AUTH PLAIN, LOGIN)"},
		"all refused": {
			answers: login(map[string]string{"AUTH PLAIN": "535 5.7.8 no", b64("secret"): "535 5.7.3 wrong"}),
			said:    "PLAIN LOGIN", conns: 1, want: "unreachable, deferred 535 5.7.3", text: "no (AUTH PLAIN); wrong (AUTH LOGIN)"},
		"busy": {
			answers: map[string]string{"AUTH PLAIN": "454 4.7.0 later"},
			said:    "PLAIN", conns: 1, want: "unreachable, deferred 454 4.7.0", text: "later (AUTH PLAIN)"},
		"closing": {
			answers: map[string]string{"AUTH PLAIN": "!last 421 4.3.2 later"},
			said:    "PLAIN", conns: 1, want: "unreachable, deferred 421 4.3.2", text: "later (AUTH PLAIN)"},
		"disabled": {
			answers: map[string]string{"AUTH PLAIN": "535 5.7.13 disabled"},
			said:    "PLAIN", conns: 1, want: "unreachable, deferred 535 5.7.13", text: "disabled (AUTH PLAIN)"},
		"closed without a reply": {
			answers: map[string]string{"AUTH PLAIN": "!close"},
			said:    "PLAIN", conns: 1, want: "unreachable, deferred 451 4.4.2 ours"},
		"asked for more": {
			answers: login(map[string]string{"AUTH PLAIN": "334 more", "*": "501 5.5.0 cancelled", b64("secret"): "235 ok"}),
			said:    "PLAIN LOGIN", conns: 1, want: "delivered 250 2.0.0"},
		"setting": {
			answers: login(map[string]string{"AUTH PLAIN": "535 5.7.8 no", b64("secret"): "535 5.7.8 no"}), setting: "LOGIN",
			said: "LOGIN", conns: 1, want: "unreachable, deferred 535 5.7.8", text: "no (AUTH LOGIN)"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &peer{behaviour: behaviour{offers: []string{"AUTH PLAIN LOGIN"}, answers: tt.answers}}
			r := via(t, p, func(rt *route.Route, o *Options) {
				rt.TLS, rt.User, rt.PasswordFile = route.TLSOff, "anna", passwordFile(t, "secret", 0o600)
				rt.Mechanisms = strings.Fields(tt.setting)
			})
			outcome := r.Deliver(t.Context(), attempt(letter, "b@x.example"))
			if got := summary(outcome); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if got := outcome.Results[0].Reply.Text; tt.text != "" && got != tt.text {
				t.Errorf("text %q, want %q", got, tt.text)
			}
			if got := spokenMechanisms(p); got != tt.said {
				t.Errorf("mechanisms %q, want %q; said %s", got, tt.said, p.said())
			}
			if p.conns != tt.conns {
				t.Errorf("%d connections", p.conns)
			}
		})
	}
}

// spokenMechanisms returns the mechanisms of the AUTH commands, in order.
func spokenMechanisms(p *peer) string {
	var all []string
	for _, line := range strings.Split(p.said(), " | ") {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "AUTH" {
			all = append(all, words[1])
		}
	}
	return strings.Join(all, " ")
}

// The next attempt begins with the mechanism that was not refused, so the account gets no failed
// login with each message.
func TestRefusedMechanismIsRemembered(t *testing.T) {
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	p := &peer{behaviour: behaviour{offers: []string{"AUTH PLAIN LOGIN"}, answers: map[string]string{
		"AUTH PLAIN": "535 5.7.8 no", "AUTH LOGIN": "334 VXNlcm5hbWU6", b64("anna"): "334 UGFzc3dvcmQ6",
		b64("secret"): "235 ok",
	}}}
	r := via(t, p, func(rt *route.Route, _ *Options) {
		rt.TLS, rt.User, rt.PasswordFile = route.TLSOff, "anna", passwordFile(t, "secret", 0o600)
		rt.PerConnection = 1
	})
	r.Deliver(t.Context(), attempt(letter, "b@x.example"))
	r.Deliver(t.Context(), attempt(letter, "b@x.example"))
	if got := spokenMechanisms(p); got != "PLAIN LOGIN LOGIN" {
		t.Errorf("mechanisms %q", got)
	}
}

// A server that refuses the login is not asked again at its other address, which would count as
// further failed logins.
func TestOtherAddressIsNotAsked(t *testing.T) {
	p := &peer{behaviour: behaviour{offers: []string{"AUTH PLAIN"}, answers: map[string]string{"AUTH": "535 5.7.8 no"}}}
	other := &peer{behaviour: behaviour{offers: []string{"AUTH PLAIN"}}}
	r := via(t, p, func(rt *route.Route, o *Options) {
		rt.TLS, rt.User, rt.PasswordFile = route.TLSOff, "anna", passwordFile(t, "secret", 0o600)
		again, _ := route.ParseHost("[192.0.2.1]:465")
		second, _ := route.ParseHost("[192.0.2.2]")
		rt.SmartHost = append(rt.SmartHost, again, second)
		o.Dial = network{"192.0.2.1:25": p, "192.0.2.1:465": p, "192.0.2.2:25": other}.dial
	})
	if got := summary(r.Deliver(t.Context(), attempt(letter, "b@x.example"))); got != "delivered 250 2.0.0" {
		t.Errorf("got %s", got)
	}
	if p.conns != 1 || spokenMechanisms(other) != "PLAIN" {
		t.Errorf("%d connections; the other heard %s", p.conns, other.said())
	}
}

// The log and a probe name the mechanisms.
func TestMechanismIsNamed(t *testing.T) {
	p := &peer{behaviour: behaviour{offers: []string{"AUTH PLAIN LOGIN"}, answers: map[string]string{"AUTH": "535 5.7.8 no"}}}
	var log bytes.Buffer
	r := via(t, p, func(rt *route.Route, o *Options) {
		rt.TLS, rt.User, rt.PasswordFile = route.TLSOff, "anna", passwordFile(t, "secret", 0o600)
		o.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	to, _ := addr.Parse("b@x.example")
	var steps strings.Builder
	r.Probe(t.Context(), to, to, func(s Step) { fmt.Fprintln(&steps, s.Name, s.OK, s.Text, s.Hint) })
	for _, want := range []string{
		"auth false 535 5.7.8 no (AUTH PLAIN) trying LOGIN\n",
		"auth false [192.0.2.1]: 535 5.7.8 no (AUTH PLAIN, LOGIN) the server refuses the login of anna by PLAIN, LOGIN: check user and password\n",
	} {
		if !strings.Contains(steps.String(), want) {
			t.Errorf("no %q in\n%s", want, steps.String())
		}
	}
	if !strings.Contains(log.String(), "AUTH PLAIN, LOGIN") {
		t.Errorf("log: %s", log.String())
	}
}
