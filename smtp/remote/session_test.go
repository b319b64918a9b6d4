package remote

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth/ntlm"
	"pillarbox/smtp/route"
)

func TestTLS(t *testing.T) {
	roots, server := certificate(t, "relay.example")
	_, foreign := certificate(t, "other.example")
	offer := []string{"STARTTLS"}
	for name, tt := range map[string]struct {
		peer  behaviour
		mode  route.TLSMode
		want  string
		tls   bool
		conns int
	}{
		"opportunistic":            {peer: behaviour{offers: offer, tls: foreign}, tls: true},
		"opportunistic, none":      {},
		"opportunistic, refused":   {peer: behaviour{offers: offer, answers: map[string]string{"STARTTLS": "454 not now"}}, conns: 2},
		"opportunistic, closed":    {peer: behaviour{offers: offer, answers: map[string]string{"STARTTLS": "!close"}}, conns: 2},
		"opportunistic, broken":    {peer: behaviour{offers: offer, answers: map[string]string{"STARTTLS": "!last 220 go on"}}, conns: 2},
		"opportunistic, handshake": {peer: behaviour{offers: offer, tls: &tls.Config{}}, conns: 2},
		"injection":                {peer: behaviour{offers: offer, tls: server, inject: "\n250 believe me"}, want: "unreachable, deferred 451 4.7.0 ours"},
		"injection, required":      {peer: behaviour{offers: offer, tls: server, inject: "\n250 believe me"}, mode: route.TLSRequired, want: "unreachable, deferred 451 4.7.0 ours"},
		"off":                      {peer: behaviour{offers: offer, tls: server}, mode: route.TLSOff},
		"required":                 {peer: behaviour{offers: offer, tls: foreign}, mode: route.TLSRequired, tls: true},
		"required, none":           {mode: route.TLSRequired, want: "unreachable, deferred 451 4.7.4 ours"},
		"required, refused":        {peer: behaviour{offers: offer, answers: map[string]string{"STARTTLS": "454 4.7.0 not now"}}, mode: route.TLSRequired, want: "unreachable, deferred 454 4.7.0"},
		"verified":                 {peer: behaviour{offers: offer, tls: server}, mode: route.TLSVerified, tls: true},
		"verified, unknown":        {peer: behaviour{offers: offer, tls: foreign}, mode: route.TLSVerified, want: "unreachable, deferred 451 4.7.5 ours"},
		"implicit":                 {peer: behaviour{implicit: true, tls: server}, mode: route.TLSVerified},
		"implicit, unknown":        {peer: behaviour{implicit: true, tls: foreign}, mode: route.TLSVerified, want: "unreachable, deferred 451 4.7.5 ours"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &peer{behaviour: tt.peer}
			r := via(t, p, func(rt *route.Route, opts *Options) {
				rt.TLS, rt.SmartHost[0].ImplicitTLS, opts.TLSRoots = tt.mode, tt.peer.implicit, roots
			})
			if tt.want == "" {
				tt.want = "delivered 250 2.0.0"
			}
			if got := summary(r.Deliver(t.Context(), attempt(letter, "b@x.example"))); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if in := p.conns == 1 && strings.Contains(p.said(), "STARTTLS | EHLO us.example | MAIL"); in != tt.tls {
				t.Errorf("said %s", p.said())
			}
			if p.conns != max(tt.conns, 1) {
				t.Errorf("%d connections", p.conns)
			}
		})
	}
}

func passwordFile(t *testing.T, text string, mode os.FileMode) string {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestAuth(t *testing.T) {
	_, server := certificate(t, "relay.example")
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	plain := "AUTH PLAIN " + b64("\x00anna\x00secret")
	for name, tt := range map[string]struct {
		peer behaviour
		mode route.TLSMode
		want string
		said string
	}{
		"plain":        {peer: behaviour{offers: []string{"AUTH LOGIN PLAIN"}, answers: map[string]string{plain: "235 ok"}}, mode: route.TLSOff, said: plain},
		"plain in TLS": {peer: behaviour{offers: []string{"STARTTLS"}, inTLS: []string{"AUTH LOGIN PLAIN"}, tls: server, answers: map[string]string{plain: "235 ok"}}, mode: route.TLSRequired, said: plain},
		"login":        {peer: behaviour{offers: []string{"AUTH=LOGIN"}, answers: map[string]string{"AUTH": "334 VXNlcm5hbWU6", b64("anna"): "334 UGFzc3dvcmQ6", b64("secret"): "235 ok"}}, mode: route.TLSOff, said: "AUTH LOGIN | " + b64("anna") + " | " + b64("secret")},
		"refused":      {peer: behaviour{offers: []string{"AUTH PLAIN"}, answers: map[string]string{"AUTH": "535 5.7.8 no"}}, mode: route.TLSOff, want: "unreachable, deferred 535 5.7.8"},
		"in the clear": {peer: behaviour{offers: []string{"AUTH PLAIN LOGIN"}}, want: "unreachable, deferred 451 4.7.0 ours"},
		"not offered":  {mode: route.TLSOff, want: "unreachable, deferred 451 4.7.0 ours"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &peer{behaviour: tt.peer}
			r := via(t, p, func(rt *route.Route, _ *Options) {
				rt.TLS, rt.User, rt.PasswordFile = tt.mode, "anna", passwordFile(t, "secret\n", 0o600)
			})
			if tt.want == "" {
				tt.want = "delivered 250 2.0.0"
			}
			if got := summary(r.Deliver(t.Context(), attempt(letter, "b@x.example"))); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if !strings.Contains(p.said(), tt.said) || tt.want == "unreachable, deferred 451 4.7.0 ours" && strings.Contains(p.said(), "AUTH") {
				t.Errorf("said %s", p.said())
			}
		})
	}
}

// The example of RFC 2195 §2.
func TestCRAMMD5(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString
	p := &peer{behaviour: behaviour{offers: []string{"AUTH PLAIN CRAM-MD5"}, answers: map[string]string{
		"AUTH CRAM-MD5": "334 " + b64([]byte("<1896.697170952@postoffice.reston.mci.net>")),
		b64([]byte("tim b913a602c7eda7a495b4e6e7334d3890")): "235 ok",
	}}}
	r := via(t, p, func(rt *route.Route, _ *Options) {
		rt.User, rt.PasswordFile = "tim", passwordFile(t, "tanstaaftanstaaf", 0o600)
	})
	r.Deliver(t.Context(), attempt(letter, "b@x.example"))
	if !strings.Contains(p.said(), b64([]byte("tim b913a602c7eda7a495b4e6e7334d3890"))+" | MAIL") {
		t.Errorf("said %s", p.said())
	}
}

// The dialogue of [MS-SMTPNTLM] 4.1. The client's last message is checked as a server does.
func TestNTLM(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString
	server := ntlm.Server{Target: ntlm.Target{NetBIOSComputer: "RELAY"}, Nonce: [8]byte{1, 2, 3}, Time: time.Now()}
	negotiate := (&ntlm.Client{}).Negotiate()
	challenge, err := server.Challenge(negotiate)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		user, challenge string
		asName, asPart  string // as the server sees them
		want, said      string
	}{
		"bare":       {user: "anna", asName: "anna", want: "delivered 250 2.0.0"},
		"domain":     {user: `OFFICE\anna`, asName: "anna", asPart: "OFFICE", want: "delivered 250 2.0.0"},
		"address":    {user: "anna@office.example", asName: "anna@office.example", want: "delivered 250 2.0.0"},
		"no base64":  {user: "anna", challenge: "ntlm supported", want: "unreachable, deferred 501 5.0.0", said: " | *"},
		"no message": {user: "anna", challenge: b64([]byte("ntlm supported")), want: "unreachable, deferred 501 5.0.0", said: " | *"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &peer{behaviour: behaviour{offers: []string{"AUTH GSSAPI NTLM LOGIN", "AUTH=LOGIN"}, answers: map[string]string{
				"AUTH NTLM": "334 ntlm supported", b64(negotiate): "334 " + cmp.Or(tt.challenge, b64(challenge)), "TlRMTVNTUAADAAAA": "235 2.7.0 Authentication successful", "*": "501 no",
			}}}
			r := via(t, p, func(rt *route.Route, _ *Options) {
				rt.User, rt.PasswordFile = tt.user, passwordFile(t, "secret", 0o600)
			})
			if got := summary(r.Deliver(t.Context(), attempt(letter, "b@x.example"))); got != tt.want {
				t.Fatalf("got %s", got)
			}
			if !strings.Contains(p.said(), "AUTH NTLM | "+b64(negotiate)+" | ") || !strings.Contains(p.said(), tt.said) {
				t.Fatalf("said %s", p.said())
			}
			if tt.asName == "" {
				return
			}
			_, after, _ := strings.Cut(p.said(), b64(negotiate)+" | ")
			blob, rest, _ := strings.Cut(after, " | ")
			msg, err := base64.StdEncoding.DecodeString(blob)
			if err != nil || !strings.HasPrefix(rest, "MAIL") {
				t.Fatalf("said %s, %v", p.said(), err)
			}
			response, err := server.Authenticate(msg)
			if err != nil || response.User != tt.asName || response.Domain != tt.asPart || response.Version != ntlm.V2 || !response.Matches(ntlm.Hash("secret")) {
				t.Errorf("%+v, %v", response, err)
			}
		})
	}
}

// Without TLS the mechanisms that only prove the password come first. With TLS the password comes
// first.
func TestChoiceOfMechanism(t *testing.T) {
	_, server := certificate(t, "relay.example")
	for name, tt := range map[string]struct {
		offers string
		mode   route.TLSMode
		tls    bool
		want   string
	}{
		"all, in the clear":     {"AUTH PLAIN LOGIN NTLM CRAM-MD5", route.TLSOff, false, "AUTH CRAM-MD5"},
		"windows, in the clear": {"AUTH GSSAPI NTLM LOGIN", route.TLSOff, false, "AUTH NTLM"},
		"opportunistic":         {"AUTH PLAIN LOGIN NTLM", route.TLSOpportunistic, false, "AUTH NTLM"},
		"all, in TLS":           {"AUTH CRAM-MD5 NTLM LOGIN PLAIN", route.TLSRequired, true, "AUTH PLAIN"},
		"windows, in TLS":       {"AUTH GSSAPI NTLM LOGIN", route.TLSRequired, true, "AUTH LOGIN"},
		"NTLM alone, in TLS":    {"AUTH NTLM", route.TLSRequired, true, "AUTH NTLM"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &peer{behaviour: behaviour{offers: []string{tt.offers}, answers: map[string]string{"AUTH": "504 5.5.4 no"}}}
			if tt.tls {
				p.tls, p.offers, p.inTLS = server, []string{"STARTTLS"}, []string{tt.offers}
			}
			r := via(t, p, func(rt *route.Route, _ *Options) {
				rt.TLS, rt.User, rt.PasswordFile = tt.mode, "anna", passwordFile(t, "secret", 0o600)
			})
			r.Deliver(t.Context(), attempt(letter, "b@x.example"))
			if _, said, _ := strings.Cut(p.said(), "AUTH"); !strings.HasPrefix("AUTH"+said, tt.want) {
				t.Errorf("said %s", p.said())
			}
		})
	}
}

// A file that is shorter than the message was is not sent as if it were complete.
func TestTruncated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{}
		r := via(t, p, nil)
		a := attempt(letter, "b@x.example")
		a.Size++
		if got := summary(r.Deliver(t.Context(), a)); got != "deferred 451 4.3.0 ours" || len(p.messages) != 0 {
			t.Errorf("%s, %q", got, p.messages)
		}
		r.Close()
		p.running.Wait()
	})
}

func TestPasswordFile(t *testing.T) {
	for _, tt := range []struct {
		text string
		mode os.FileMode
		want string
	}{
		{"secret", 0o600, "secret"}, {"se cret\r\nmore", 0o400, "se cret"},
		{"secret", 0o640, "secret"}, {"secret", 0o604, "chmod o-rwx"}, {"\n", 0o600, "no password"}, {"", 0o600, "no password"},
	} {
		got, err := ReadPassword(passwordFile(t, tt.text, tt.mode))
		if err != nil {
			got = err.Error()
			if strings.Contains(got, "secret") {
				t.Errorf("the error tells: %s", got)
			}
		}
		if got != tt.want && (err == nil || !strings.Contains(got, tt.want)) {
			t.Errorf("%q %o: %s", tt.text, tt.mode, got)
		}
	}
	if _, err := ReadPassword(t.TempDir()); err == nil {
		t.Error("a directory is a password")
	}
}

func TestLMTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{behaviour: behaviour{
			offers:  []string{"PIPELINING"},
			answers: map[string]string{"RCPT TO:<c": "550 5.1.1 who"},
			final:   []string{"250 2.0.0 ok", "452 4.2.2 full"},
		}}
		r := via(t, p, func(rt *route.Route, _ *Options) {
			rt.LMTP, rt.SmartHost = true, []route.Host{{Socket: "/run/lmtp"}}
		})
		r.opts.Dial = network{"/run/lmtp": p}.dial
		want := "delivered 250 2.0.0, failed 550 5.1.1, deferred 452 4.2.2"
		for range 2 {
			if got := summary(r.Deliver(t.Context(), attempt(letter, "b@x.example", "c@x.example", "d@x.example"))); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		if !strings.HasPrefix(p.said(), "LHLO us.example | MAIL") || p.conns != 1 {
			t.Errorf("%d connections, said %s", p.conns, p.said())
		}
		r.Close()
	})
}

func TestReuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{}
		r := via(t, p, func(rt *route.Route, _ *Options) { rt.PerConnection = 3 })
		for i := range 7 {
			if got := summary(r.Deliver(t.Context(), attempt(letter, "b@x.example"))); got != "delivered 250 2.0.0" {
				t.Fatalf("%d: %s", i, got)
			}
		}
		synctest.Wait()
		if got := strings.Count(p.said(), "QUIT"); p.conns != 3 || got != 2 {
			t.Errorf("%d connections, %d ended", p.conns, got)
		}
		time.Sleep(6 * time.Second)
		if got := strings.Count(p.said(), "QUIT"); got != 3 {
			t.Errorf("%d ended by waiting", got)
		}
		r.Deliver(t.Context(), attempt(letter, "b@x.example"))
		r.Close()
		if got := strings.Count(p.said(), "QUIT"); got != 4 {
			t.Errorf("%d ended by Close", got)
		}
		if got := summary(r.Deliver(t.Context(), attempt(letter, "b@x.example"))); got != "delivered 250 2.0.0" {
			t.Errorf("after Close: %s", got)
		}
	})
}

// A server may close an idle connection, with or without an announcement.
func TestReuseOfTheDead(t *testing.T) {
	for name, bye := range map[string]string{"421": "!last 421 idle too long", "closed": "!close"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &peer{behaviour: behaviour{offers: []string{"PIPELINING"}}}
				r := via(t, p, nil)
				r.Deliver(t.Context(), attempt(letter, "b@x.example"))
				p.answers = map[string]string{"MAIL": bye}
				fresh := &peer{}
				r.opts.Dial = network{"192.0.2.1:25": fresh}.dial
				if got := summary(r.Deliver(t.Context(), attempt(letter, "b@x.example"))); got != "delivered 250 2.0.0" || len(fresh.messages) != 1 {
					t.Errorf("%s, %d messages", got, len(fresh.messages))
				}
				r.Close()
				fresh.running.Wait()
			})
		})
	}
}

func TestRecipientsAreSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{behaviour: behaviour{offers: []string{"PIPELINING"}}}
		r := via(t, p, nil)
		var to []string
		for i := range 205 {
			to = append(to, fmt.Sprintf("someone.with.a.rather.long.name.%d@a.rather.long.domain.example", i))
		}
		o := r.Deliver(t.Context(), attempt(letter, to...))
		if strings.Count(summary(o), "delivered") != 205 || len(p.messages) != 3 || strings.Count(p.said(), "RCPT") != 205 {
			t.Errorf("%d messages: %s", len(p.messages), summary(o))
		}
		// The remaining recipients of a server with a low limit get another transaction. The last
		// body has no recipient.
		p.answers = map[string]string{"RCPT TO:<c": "452 4.5.3 too many"}
		o = r.Deliver(t.Context(), attempt(letter, "b@x.example", "c@x.example"))
		if got := summary(o); got != "delivered 250 2.0.0, deferred 452 4.5.3" || len(p.messages) != 5 || p.messages[4] != "" {
			t.Errorf("%s, %d messages", got, len(p.messages))
		}
		// Old servers say 552 instead (RFC 5321 §4.5.3.1.10). A full mailbox is another matter.
		for reply, want := range map[string]string{
			"552 Too many recipients":   "delivered 250 2.0.0, deferred 552 5.0.0",
			"552 5.5.3 limit reached":   "delivered 250 2.0.0, deferred 552 5.5.3",
			"552 5.2.2 mailbox is full": "delivered 250 2.0.0, failed 552 5.2.2",
		} {
			p.answers = map[string]string{"RCPT TO:<c": reply}
			o = r.Deliver(t.Context(), attempt(letter, "b@x.example", "c@x.example"))
			if got := summary(o); got != want {
				t.Errorf("%s: %s", reply, got)
			}
		}
		p.answers = map[string]string{"RCPT TO:<c": "552 Too many recipients"}
		o = r.Deliver(t.Context(), attempt(letter, "c@x.example"))
		if got := summary(o); got != "failed 552 5.0.0" {
			t.Errorf("the only recipient: %s", got)
		}
		r.Close()
	})
}

func TestParameters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{behaviour: behaviour{offers: []string{"DSN", "8BITMIME", "SMTPUTF8", "SIZE"}}}
		r := via(t, p, func(rt *route.Route, opts *Options) {
			rt.Masquerade, rt.EHLO = "public.example", "mail.public.example"
			opts.Hosted = func(d addr.Domain) bool { return d == "us.example" }
		})
		a := attempt(letter, "b@bücher.example", `"o'neil b"@x.example`)
		a.Envelope.Ret, a.Envelope.EnvID, a.Envelope.Body8, a.Envelope.UTF8 = "HDRS", "a+b=c d", true, true
		a.Envelope.To[0].Notify = []string{"SUCCESS", "DELAY"}
		a.Envelope.To[0].ORcptType, a.Envelope.To[0].ORcpt = "RFC822", "b+x@bücher.example"
		a.Envelope.To[1].ORcptType, a.Envelope.To[1].ORcpt = "UTF-8", "müller@x.example"
		o := r.Deliver(t.Context(), a)
		if !o.Results[0].KnowsDSN {
			t.Error("the server does not know DSN")
		}
		want := `EHLO mail.public.example | MAIL FROM:<a@public.example> SIZE=59 BODY=8BITMIME RET=HDRS ENVID=a+2Bb+3Dc+20d | ` +
			`RCPT TO:<b@xn--bcher-kva.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2Bx@b+C3+BCcher.example | ` +
			`RCPT TO:<"o'neil b"@x.example> ORCPT=utf-8;m\x{FC}ller@x.example | DATA`
		if got := p.said(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		a.Envelope.From = addr.Address{}
		r.Deliver(t.Context(), a)
		if !strings.Contains(p.said(), "MAIL FROM:<> ") {
			t.Errorf("said %s", p.said())
		}
		r.Close()
	})
}

func TestSMTPUTF8(t *testing.T) {
	international := strings.Replace(letter, "Subject: x", "Subject: Grüße", 1)
	for name, tt := range map[string]struct {
		offers []string
		text   string
		from   string
		to     []string
		want   string
		param  bool
	}{
		"ASCII":                {nil, letter, "a@us.example", []string{"b@x.example"}, "delivered 250 2.0.0", false},
		"ASCII, offered":       {[]string{"SMTPUTF8", "8BITMIME"}, letter, "a@us.example", []string{"b@x.example"}, "delivered 250 2.0.0", false},
		"header":               {[]string{"SMTPUTF8", "8BITMIME"}, international, "a@us.example", []string{"b@x.example"}, "delivered 250 2.0.0", true},
		"header, not offered":  {[]string{"8BITMIME"}, international, "a@us.example", []string{"b@x.example"}, "failed 554 5.6.7 ours", false},
		"sender, not offered":  {[]string{"8BITMIME"}, letter, "ä@us.example", []string{"b@x.example"}, "failed 554 5.6.7 ours", false},
		"address":              {[]string{"SMTPUTF8", "8BITMIME"}, letter, "a@us.example", []string{"ü@x.example"}, "delivered 250 2.0.0", true},
		"one of two addresses": {nil, letter, "a@us.example", []string{"ü@x.example", "b@x.example"}, "failed 554 5.6.7 ours, delivered 250 2.0.0", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &peer{behaviour: behaviour{offers: tt.offers}}
				r := via(t, p, nil)
				a := attempt(tt.text, tt.to...)
				a.Envelope.UTF8 = true
				a.Envelope.From, _ = addr.Parse(tt.from)
				if got := summary(r.Deliver(t.Context(), a)); got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
				if strings.Contains(p.said(), "SMTPUTF8") != tt.param {
					t.Errorf("said %s", p.said())
				}
				r.Close()
			})
		})
	}
}

// The end of the context ends an attempt: at once before the message is sent, and after a short
// wait afterwards.
func TestInterrupted(t *testing.T) {
	for name, tt := range map[string]struct {
		peer  behaviour
		after time.Duration
		want  string
	}{
		"greeting": {behaviour{greeting: "!hang"}, time.Second, "unreachable, deferred 451 4.4.2 ours"},
		"RCPT":     {behaviour{answers: map[string]string{"RCPT": "!hang"}}, time.Second, "deferred 451 4.4.2 ours"},
		"final":    {behaviour{final: []string{"!hang"}}, time.Second + graceTimeout, "deferred 451 4.4.2 ours"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &peer{behaviour: tt.peer}
				r := via(t, p, nil)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				start := time.Now()
				got := summary(r.Deliver(ctx, attempt(letter, "b@x.example")))
				if took := time.Since(start); got != tt.want || took != tt.after {
					t.Errorf("%s after %v", got, took)
				}
				r.Close()
				p.running.Wait()
			})
		})
	}
}

// Route.Idle is shorter than the limits of the RFC.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{behaviour: behaviour{answers: map[string]string{"MAIL": "!drip"}}}
		r := via(t, p, func(rt *route.Route, _ *Options) { rt.Idle = 90 * time.Second })
		start := time.Now()
		r.Deliver(t.Context(), attempt(letter, "b@x.example"))
		if took := time.Since(start); took != 90*time.Second {
			t.Errorf("took %v", took)
		}
		r.Close()
		p.running.Wait()
	})
}

func TestAskETRN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{behaviour: behaviour{answers: map[string]string{"ETRN us.example": "252 ok, pending", "ETRN #x": "459 no"}}}
		r := via(t, p, nil)
		host := route.Host{Addr: netip.MustParseAddr("192.0.2.1")}
		for node, want := range map[string]string{"us.example": "252 2.0.0 ok, pending", "#x": "459 4.0.0 no"} {
			got, err := r.AskETRN(t.Context(), host, &route.Route{}, node)
			if err != nil || got.Error() != want {
				t.Errorf("%s: %v %v", node, got, err)
			}
		}
		for _, node := range []string{"", "a b", "a\r\nMAIL"} {
			if _, err := r.AskETRN(t.Context(), host, &route.Route{}, node); err != ErrNode {
				t.Errorf("%q: %v", node, err)
			}
		}
		host.Port = 26
		if _, err := r.AskETRN(t.Context(), host, &route.Route{}, "us.example"); err == nil {
			t.Error("no answer, and no error")
		}
		r.Close()
		p.running.Wait()
	})
}

func TestProbe(t *testing.T) {
	_, server := certificate(t, "mx.x.example")
	w := newWorld(t)
	w.dns.SetMX("x.example", "gone.x.example", "mx.x.example")
	p := w.host("mx.x.example", "192.0.2.1", behaviour{offers: []string{"STARTTLS"}, tls: server, answers: map[string]string{"RCPT": "550 5.1.1 who"}})
	r := New(w.opts)
	defer r.Close()
	var steps []string
	to, _ := addr.Parse("b@x.example")
	from, _ := addr.Parse("a@us.example")
	r.Probe(t.Context(), to, from, func(s Step) {
		steps = append(steps, fmt.Sprintf("%s %v", s.Name, s.OK))
		if s.Text == "" {
			t.Errorf("%s says nothing", s.Name)
		}
	})
	want := []string{"route true", "mx true", "gone.x.example false", "address true", "connect true", "greeting true",
		"ehlo true", "tls true", "ehlo true", "mail true", "rcpt false", "quit true"}
	if !slices.Equal(steps, want) {
		t.Errorf("got  %q\nwant %q", steps, want)
	}
	p.running.Wait()
	if strings.Contains(p.said(), "DATA") {
		t.Error("something was sent")
	}
}

// A domain without MX records is its own mail server, if it exists.
func TestProbeWithoutMX(t *testing.T) {
	w := newWorld(t)
	w.host("x.example", "192.0.2.1", behaviour{greeting: "421 4.3.2 not now"})
	r := New(w.opts)
	defer r.Close()
	for to, want := range map[string]string{
		"b@x.example":    "mx true no MX record: x.example itself | address true x.example (192.0.2.1:25)",
		"b@gone.example": "gone.example false 554 5.1.2 the host gone.example does not exist",
	} {
		var steps []string
		r.Probe(t.Context(), mustParse(t, to), addr.Address{}, func(s Step) {
			steps = append(steps, fmt.Sprintf("%s %v %s", s.Name, s.OK, s.Text))
		})
		if got := strings.Join(steps[1:], " | "); !strings.HasPrefix(got, want) || strings.Contains(got, "mx true") != strings.Contains(want, "mx true") {
			t.Errorf("%s: %s", to, got)
		}
	}
}

func mustParse(t *testing.T, s string) addr.Address {
	t.Helper()
	a, err := addr.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// A forwarded message has another sender for the next server. The domain of that one may be
// replaced too.
func TestRewrittenSender(t *testing.T) {
	for masquerade, want := range map[addr.Domain]string{"": "SRS0=x@office.example", "brand.example": "SRS0=x@brand.example"} {
		p := &peer{}
		r := via(t, p, func(rt *route.Route, o *Options) {
			rt.Masquerade, o.Hosted = masquerade, func(d addr.Domain) bool { return d == "office.example" }
		})
		a := attempt(letter, "b@x.example")
		a.Envelope.Sender = addr.Address{Local: "SRS0=x", Domain: "office.example"}
		if got := summary(r.Deliver(t.Context(), a)); got != "delivered 250 2.0.0" || !strings.Contains(p.said(), "MAIL FROM:<"+want+">") {
			t.Errorf("%s; said %s", got, p.said())
		}
	}
}
