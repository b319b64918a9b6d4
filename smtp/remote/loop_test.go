package remote

import (
	"errors"
	"io"
	"strings"
	"testing"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp/route"
)

const pass = "Received: from other.example (other.example [192.0.2.1])\r\n\tby us.example with ESMTP id P3_1; Mon, 30 Nov 2026 12:00:00 +0000\r\n"

func TestPasses(t *testing.T) {
	for name, tt := range map[string]struct {
		header string
		want   int
	}{
		"none":         {"Subject: by us.example\r\n", 0},
		"two":          {pass + "Subject: x\r\n" + strings.ToUpper(pass), 2},
		"another host": {strings.ReplaceAll(pass, "by us", "by mail.us"), 0},
		"in the body":  {"Subject: x\r\n\r\n" + pass, 0},
		"twice in one": {"Received: by us.example by us.example\r\n", 1},
		"last":         {strings.TrimSuffix(pass, "\r\n"), 1},
	} {
		open := func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(tt.header)), nil }
		if got := passes(open, "us.example"); got != tt.want {
			t.Errorf("%s: %d", name, got)
		}
	}
	if got := passes(func() (io.ReadCloser, error) { return nil, errors.New("no") }, "us.example"); got != 0 {
		t.Errorf("error: %d", got)
	}
}

// A server of our domain that sends a message back gets it a few times only.
func TestSharedDomainLoop(t *testing.T) {
	for n, want := range map[int]string{maxPasses: "delivered 250 2.0.0", maxPasses + 1: "failed 554 5.4.6 ours"} {
		p := &peer{}
		r := via(t, p, func(rt *route.Route, o *Options) {
			rt.Unresolved, o.Hosted = true, func(d addr.Domain) bool { return d == "x.example" }
		})
		text := strings.Repeat(pass, n) + letter
		if got := summary(r.Deliver(t.Context(), attempt(text, "b@x.example"))); got != want {
			t.Errorf("%d passes: %s", n, got)
		}
	}
}
