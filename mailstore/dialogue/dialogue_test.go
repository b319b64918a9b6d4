package dialogue

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// notebook keeps what it hears of one service.
type notebook struct {
	service string
	heard   []string
}

func (n *notebook) Wants(c *Client) bool { return c.Service == n.service }
func (n *notebook) Line(l Line)          { n.heard = append(n.heard, string(l.From)+": "+l.Text) }

func (n *notebook) Command(c *Command) {
	n.heard = append(n.heard,
		fmt.Sprintf("%s %s %s %d in %d out %d in %v", c.Name, c.Verb, c.Arg, c.Status, c.In, c.Out, c.Taken))
}

func TestWithoutReaders(t *testing.T) {
	var tap Tap
	client := Client{Service: "smtp", Remote: netip.MustParseAddrPort("127.0.0.1:1")}
	none := (*Tap)(nil)
	if tap.Begin(client) != nil || none.Begin(client) != nil || tap.Active() || none.Active() {
		t.Error("a dialogue without a reader")
	}
	tap.SetReaders(&notebook{service: "pop3"})
	if tap.Begin(client) != nil || !tap.Active() {
		t.Error("a dialogue that no reader wants")
	}
	tap.SetReaders()
	if tap.Active() {
		t.Error("active after the readers have gone")
	}
	var off *Session
	off.Command(Shown{Verb: "QUIT"}, 6)
	off.Continue()
	off.Challenge("+ ")
	off.Reply("bye")
	off.Left(FromClient, 1)
	off.SetName("x")
	off.Done(221)
	off.Note("x")
	off.End()
}

func TestSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tap Tap
		first, second := &notebook{service: "smtp"}, &notebook{service: "smtp"}
		tap.SetReaders(first, &notebook{service: "pop3"}, second)
		s := tap.Begin(Client{Service: "smtp"})
		s.Reply("220 ready") // belongs to no command
		s.Command(Shown{Verb: "EHLO", Arg: "pc7"}, 10)
		s.SetName("pc7")
		time.Sleep(30 * time.Millisecond)
		s.Reply("250 hello")
		s.Done(250)
		s.Done(250) // says nothing twice
		s.Command(Auth("PLAIN AGEAYg=="), 0)
		s.Challenge("334 ")
		s.Continue()
		s.Reply("235 ok")
		s.Done(235)
		s.Command(Shown{Verb: "DATA"}, 6)
		s.Reply("354 go on")
		s.Left(FromClient, 500)
		s.End() // before the reply
		want := []string{
			"-: connected", "S: 220 ready",
			"C: EHLO pc7", "S: 250 hello", "pc7 EHLO pc7 250 in 10 out 11 in 30ms",
			"C: AUTH PLAIN [hidden]", "S: 334 [hidden]", "C: [hidden]", "S: 235 ok",
			"pc7 AUTH PLAIN 235 in 9 out 8 in 0s",
			"C: DATA", "S: 354 go on", "C: [500 octets]", "pc7 DATA  0 in 506 out 11 in 0s",
			"-: closed",
		}
		if !slices.Equal(first.heard, want) {
			t.Errorf("got  %q\nwant %q", first.heard, want)
		}
		if !slices.Equal(second.heard, first.heard) {
			t.Errorf("the second reader heard %q", second.heard)
		}
	})
}
