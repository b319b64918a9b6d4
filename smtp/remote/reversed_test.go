package remote

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/smtp"
	"pillarbox/smtp/route"
)

// reverse returns the client end of a connection to a serving peer. The Remote has no other route.
func reverse(t *testing.T, p *peer, change func(*route.Route)) *ReversedConn {
	table := &route.Table{Default: route.Route{
		Name: "branch", EHLO: "relay.example", Hold: true, LMTP: true, User: "us", PasswordFile: "/nowhere",
		TLS: route.TLSVerified, Masquerade: "brand.example", Recipients: 2,
	}}
	if change != nil {
		change(&table.Default)
	}
	r := New(Options{
		Routes: func() *route.Table { return table }, Hostname: "us.example",
		Dial: func(context.Context, string, string) (net.Conn, error) {
			t.Error("a connection was made")
			return nil, errRefused
		},
	})
	return r.Reverse(p.dial(), "branch.example")
}

func TestReversed(t *testing.T) {
	full := []string{"PIPELINING", "8BITMIME", "SIZE 1000", "DSN", "STARTTLS", "AUTH PLAIN"}
	for name, tt := range map[string]struct {
		peer  behaviour
		want  []string // one per attempt
		said  string
		after time.Duration
	}{
		"plain": {
			want: []string{"delivered 250 2.0.0", "delivered 250 2.0.0"},
			said: "EHLO relay.example | MAIL FROM:<a@us.example> | RCPT TO:<b@x.example> | DATA | MAIL FROM:<a@us.example> | RCPT TO:<b@x.example> | DATA | QUIT",
		},
		"all extensions": {
			peer: behaviour{offers: full},
			want: []string{"delivered 250 2.0.0"},
			said: "EHLO relay.example | MAIL FROM:<a@us.example> SIZE=59 RET=HDRS ENVID=e | RCPT TO:<b@x.example> NOTIFY=SUCCESS | DATA | QUIT",
		},
		"refused and deferred": {
			peer: behaviour{offers: full, answers: map[string]string{"RCPT": "550 5.1.1 nobody"}, final: []string{"554 none"}},
			want: []string{"failed 550 5.1.1", "failed 550 5.1.1"},
		},
		"too large":       {peer: behaviour{offers: []string{"SIZE 50"}}, want: []string{"failed 554 5.3.4 ours"}, said: "EHLO relay.example | QUIT"},
		"421 in between":  {peer: behaviour{answers: map[string]string{"RCPT": "!last 421 4.3.2 bye"}}, want: []string{"unreachable, deferred 421 4.3.2", "unreachable, deferred 451 4.4.2 ours"}},
		"closes":          {peer: behaviour{answers: map[string]string{"DATA": "!close"}}, want: []string{"unreachable, deferred 451 4.4.2 ours", "unreachable, deferred 451 4.4.2 ours"}},
		"closes at MAIL":  {peer: behaviour{answers: map[string]string{"MAIL": "!close"}}, want: []string{"unreachable, deferred 451 4.4.2 ours"}},
		"hangs":           {peer: behaviour{answers: map[string]string{"MAIL": "!hang"}}, want: []string{"unreachable, deferred 451 4.4.2 ours"}, after: commandTimeout},
		"drips":           {peer: behaviour{answers: map[string]string{"MAIL": "!drip"}}, want: []string{"unreachable, deferred 451 4.4.2 ours"}, after: commandTimeout},
		"no greeting":     {peer: behaviour{greeting: "!hang"}, want: []string{"unreachable, deferred 451 4.4.2 ours", "unreachable, deferred 451 4.4.2 ours"}, after: greetingTimeout},
		"another client":  {peer: behaviour{greeting: "EHLO branch.example"}, want: []string{"unreachable, deferred 451 4.4.2 ours"}},
		"turns us away":   {peer: behaviour{greeting: "554 no"}, want: []string{"unreachable, deferred 554 5.0.0"}},
		"closes at once":  {peer: behaviour{greeting: "!close"}, want: []string{"unreachable, deferred 451 4.4.2 ours"}},
		"nothing to send": {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &peer{behaviour: tt.peer}
				turned, start := reverse(t, p, nil), time.Now()
				for i, want := range tt.want {
					a := attempt(letter, "b@x.example")
					a.Envelope.Ret, a.Envelope.EnvID, a.Envelope.To[0].Notify = "HDRS", "e", []string{"SUCCESS"}
					if got := summary(turned.Deliver(t.Context(), a)); got != want {
						t.Errorf("attempt %d: %s, want %s", i, got, want)
					}
				}
				if took := time.Since(start); took != tt.after {
					t.Errorf("took %v, want %v", took, tt.after)
				}
				turned.Close()
				p.running.Wait()
				if said := p.said(); tt.said != "" && said != tt.said {
					t.Errorf("said %s\nwant %s", said, tt.said)
				}
			})
		})
	}
}

// Many recipients are sent in several transactions over the same connection.
func TestReversedSplits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{}
		turned := reverse(t, p, nil)
		got := summary(turned.Deliver(t.Context(), attempt(letter, "a@x.example", "b@x.example", "c@x.example")))
		turned.Close()
		p.running.Wait()
		if got != "delivered 250 2.0.0, delivered 250 2.0.0, delivered 250 2.0.0" || strings.Count(p.said(), "MAIL") != 2 {
			t.Error(got, p.said())
		}
	})
}

func TestReversedInterrupted(t *testing.T) {
	for _, where := range []string{"", "MAIL"} {
		synctest.Test(t, func(t *testing.T) {
			p := &peer{behaviour: behaviour{answers: map[string]string{where: "!hang"}}}
			if where == "" {
				p.behaviour = behaviour{greeting: "!hang"}
			}
			turned := reverse(t, p, nil)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			start := time.Now()
			var outcome smtp.Outcome = turned.Deliver(ctx, attempt(letter, "b@x.example"))
			if took := time.Since(start); took != time.Second || !outcome.Unreachable {
				t.Errorf("%q: took %v: %s", where, took, summary(outcome))
			}
			turned.Close()
			p.running.Wait()
		})
	}
}
