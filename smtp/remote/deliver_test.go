package remote

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestDeliver(t *testing.T) {
	full := []string{"PIPELINING", "8BITMIME", "SIZE 1000000", "ENHANCEDSTATUSCODES"}
	long := "250-" + strings.Repeat("x", 5000) + "\n250 ok"
	many := strings.Repeat("250-and so on and so on\n", 400_000) + "250 ok"
	for name, tt := range map[string]struct {
		peer  behaviour
		to    string
		want  string
		said  string // the commands that the server received
		after time.Duration
		dials int
		whole bool // the complete message arrived
	}{
		"plain":      {want: "delivered 250 2.0.0", whole: true, said: "EHLO us.example | MAIL FROM:<a@us.example> | RCPT TO:<b@x.example> | DATA | QUIT"},
		"pipelining": {peer: behaviour{offers: full}, want: "delivered 250 2.0.0", whole: true, said: "MAIL FROM:<a@us.example> SIZE=59 | RCPT TO:<b@x.example> | DATA"},
		"bare LF":    {peer: behaviour{offers: full, lf: true}, want: "delivered 250 2.0.0", whole: true},
		"HELO only":  {peer: behaviour{answers: map[string]string{"EHLO": "500 what?"}}, want: "delivered 250 2.0.0", whole: true, said: "EHLO us.example | HELO us.example | MAIL"},

		"MAIL refused":        {peer: behaviour{answers: map[string]string{"MAIL": "550 5.7.1 no"}}, want: "failed 550 5.7.1", said: "EHLO us.example | MAIL FROM:<a@us.example> | RSET | QUIT"},
		"MAIL refused, piped": {peer: behaviour{offers: full, answers: map[string]string{"MAIL": "451 4.7.1 no", "RCPT": "503 no", "DATA": "503 no"}}, want: "deferred 451 4.7.1"},
		"MAIL refused, 354":   {peer: behaviour{offers: full, answers: map[string]string{"MAIL": "451 4.7.1 no"}, final: []string{"554 none"}}, want: "deferred 451 4.7.1"},
		"all RCPT refused":    {peer: behaviour{answers: map[string]string{"RCPT": "550 no"}}, to: "b@x.example c@x.example", want: "failed 550 5.0.0, failed 550 5.0.0"},
		"some RCPT refused": {
			peer: behaviour{offers: full, answers: map[string]string{"RCPT TO:<c": "450 4.2.0 greylisted"}}, whole: true,
			to: "b@x.example c@x.example d@x.example", want: "delivered 250 2.0.0, deferred 450 4.2.0, delivered 250 2.0.0",
		},
		"all RCPT refused, 354": {
			peer: behaviour{offers: full, answers: map[string]string{"RCPT": "550 5.1.1 no"}, final: []string{"554 none"}},
			to:   "b@x.example c@x.example", want: "failed 550 5.1.1, failed 550 5.1.1",
		},
		"all RCPT refused, DATA too": {
			peer: behaviour{offers: full, answers: map[string]string{"RCPT": "550 5.1.1 no", "DATA": "503 none"}}, want: "failed 550 5.1.1",
		},
		"DATA refused":       {peer: behaviour{offers: full, answers: map[string]string{"DATA": "451 4.3.0 no"}}, want: "deferred 451 4.3.0"},
		"DATA nonsense":      {peer: behaviour{answers: map[string]string{"DATA": "250 fine"}}, want: "deferred 451 4.5.0 ours"},
		"message refused":    {peer: behaviour{final: []string{"554 5.6.0 no"}}, want: "failed 554 5.6.0", whole: true},
		"message deferred":   {peer: behaviour{final: []string{"451 no"}}, want: "deferred 451 4.0.0", whole: true},
		"too large":          {peer: behaviour{offers: []string{"SIZE 50"}}, want: "failed 554 5.3.4 ours"},
		"size without limit": {peer: behaviour{offers: []string{"SIZE 0"}}, want: "delivered 250 2.0.0", whole: true},
		"lies about SIZE":    {peer: behaviour{offers: full, final: []string{"552 5.3.4 too big"}}, want: "failed 552 5.3.4", whole: true},
		"early 552":          {peer: behaviour{offers: full, early: "552 5.3.4 too big"}, want: "failed 552 5.3.4"},

		"greeting 421":      {peer: behaviour{greeting: "421 busy"}, want: "unreachable, deferred 421 4.0.0"},
		"greeting 554":      {peer: behaviour{greeting: "554 no"}, want: "unreachable, deferred 554 5.0.0"},
		"greeting garbage":  {peer: behaviour{greeting: "HTTP/1.1 400 Bad Request"}, want: "unreachable, deferred 451 4.4.2 ours"},
		"greeting closes":   {peer: behaviour{greeting: "!close"}, want: "unreachable, deferred 451 4.4.2 ours"},
		"greeting hangs":    {peer: behaviour{greeting: "!hang"}, want: "unreachable, deferred 451 4.4.2 ours", after: greetingTimeout},
		"greeting drips":    {peer: behaviour{greeting: "!drip"}, want: "unreachable, deferred 451 4.4.2 ours", after: greetingTimeout},
		"EHLO long line":    {peer: behaviour{answers: map[string]string{"EHLO": long}}, want: "delivered 250 2.0.0", whole: true},
		"EHLO endless line": {peer: behaviour{answers: map[string]string{"EHLO": "250 " + strings.Repeat("x", maxLongLine)}}, want: "unreachable, deferred 451 4.4.2 ours"},
		"final long line":   {peer: behaviour{final: []string{"550 5.7.1 " + strings.Repeat("why ", 1000)}}, want: "failed 550 5.7.1", whole: true},
		"EHLO 10 MB":        {peer: behaviour{answers: map[string]string{"EHLO": many}}, want: "unreachable, deferred 451 4.4.2 ours"},
		"MAIL 421":          {peer: behaviour{answers: map[string]string{"MAIL": "421 4.3.2 bye"}}, want: "unreachable, deferred 421 4.3.2"},
		"MAIL hangs":        {peer: behaviour{offers: full, answers: map[string]string{"MAIL": "!hang"}}, want: "unreachable, deferred 451 4.4.2 ours", after: commandTimeout},
		"RCPT closes":       {peer: behaviour{answers: map[string]string{"RCPT": "!close"}}, want: "deferred 451 4.4.2 ours"},
		"RCPT 421":          {peer: behaviour{offers: full, answers: map[string]string{"RCPT TO:<c": "!last 421 4.3.2 bye"}}, to: "b@x.example c@x.example d@x.example", want: "deferred 421 4.3.2, deferred 421 4.3.2, deferred 421 4.3.2"},
		"refused and lost":  {peer: behaviour{answers: map[string]string{"RCPT TO:<b": "550 5.1.1 no", "RCPT TO:<c": "!close"}}, to: "b@x.example c@x.example d@x.example", want: "failed 550 5.1.1, deferred 451 4.4.2 ours, deferred 451 4.4.2 ours"},
		"RCPT drips":        {peer: behaviour{answers: map[string]string{"RCPT": "!drip"}}, want: "deferred 451 4.4.2 ours", after: commandTimeout},
		"DATA closes":       {peer: behaviour{answers: map[string]string{"DATA": "!close"}}, want: "deferred 451 4.4.2 ours"},
		"body not read":     {peer: behaviour{answers: map[string]string{"DATA": "!stop 354 go on"}}, want: "deferred 451 4.4.2 ours", after: blockTimeout + quitTimeout},
		"no confirmation":   {peer: behaviour{final: []string{"!hang"}}, want: "deferred 451 4.4.2 ours", after: finalTimeout, whole: true},
		"closes after dot":  {peer: behaviour{final: []string{"!close"}}, want: "deferred 451 4.4.2 ours", whole: true},
		"421 after dot":     {peer: behaviour{final: []string{"!last 421 4.3.2 bye"}}, want: "deferred 421 4.3.2", whole: true},
		"garbage after dot": {peer: behaviour{final: []string{"!last gnarf"}}, want: "deferred 451 4.4.2 ours", whole: true},
		"two codes":         {peer: behaviour{final: []string{"250-fine\n550 or not"}}, want: "deferred 451 4.4.2 ours", whole: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &peer{behaviour: tt.peer}
				r := via(t, p, nil)
				if tt.to == "" {
					tt.to = "b@x.example"
				}
				start := time.Now()
				got := r.Deliver(t.Context(), attempt(letter, strings.Fields(tt.to)...))
				if s := summary(got); s != tt.want {
					t.Errorf("got  %s\nwant %s\n%+v", s, tt.want, got)
				}
				if took := time.Since(start); took != tt.after {
					t.Errorf("took %v, want %v", took, tt.after)
				}
				// After every failure the next message finds a usable connection.
				if !got.Unreachable && tt.after == 0 {
					if again := summary(r.Deliver(t.Context(), attempt(letter, strings.Fields(tt.to)...))); again != tt.want {
						t.Errorf("then %s", again)
					}
				}
				r.Close()
				p.running.Wait()
				if tt.said != "" && !strings.Contains(p.said(), strings.SplitN(tt.said, " | QUIT", 2)[0]) {
					t.Errorf("said %s", p.said())
				}
				if whole := len(p.messages) > 0 && p.messages[0] == letter; whole != tt.whole {
					t.Errorf("arrived: %q", p.messages)
				}
			})
		})
	}
}
