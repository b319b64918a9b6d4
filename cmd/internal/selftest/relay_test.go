package selftest

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"pillarbox/cmd/internal/config"
)

// Only a recipient with a 2xx reply got through. A server that cannot look it up now says 451, which
// is neither that nor a refusal.
func TestTryTellsReplies(t *testing.T) {
	for reply, want := range map[string]answer{
		"250 2.1.5 OK":             accepted,
		"251 2.1.5 Will forward":   accepted,
		"451 4.4.3 Try again":      undecided,
		"450 4.2.0 Greylisted":     refused,
		"550 5.7.1 No relay":       refused,
		"452 4.5.3 Too many":       refused,
		"421 4.7.0 Too many tries": refused,
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go serveOne(l, reply)
		cfg := config.Default()
		try := &test{cfg: &cfg}
		trick := Trick{From: "<a@b.example>", To: "<x@remote.example>"}
		got, err := try.try(t.Context(), "smtp", l.Addr().String(), trick)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", reply, got, err, want)
		}
	}
}

// serveOne is a server that gives one reply to RCPT.
func serveOne(l net.Listener, reply string) {
	c, err := l.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	fmt.Fprint(c, "220 ready\r\n")
	in := make([]byte, 1000)
	for {
		n, err := c.Read(in)
		if err != nil {
			return
		}
		if line := string(in[:n]); strings.HasPrefix(line, "RCPT") {
			fmt.Fprint(c, reply+"\r\n")
		} else {
			fmt.Fprint(c, "250 OK\r\n")
		}
	}
}
