//go:build e2e

package e2e

import (
	"strings"
	"testing"
)

// relayingOffice returns an office that holds mail of branch.example for boss and of other.example
// for anna.
func relayingOffice(t *testing.T) *office {
	t.Helper()
	o, _ := sendingOffice(t)
	o.listen["odmr"] = "127.0.0.1:" + freePort(t)
	o.set(t, "listen", "odmr", `["`+o.listen["odmr"]+`"]`)
	o.route(t, `domains = ["branch.example", "*.branch.example"]`, "hold = true", `etrn_accounts = ["`+boss+`"]`)
	o.route(t, `domains = ["other.example"]`, "hold = true", `etrn_accounts = ["`+anna+`"]`)
	return o
}

// atrn fetches held mail with Python into a server at port, and returns the reply to ATRN. It
// repeats the call while an earlier one is still ending.
func (o *office) atrn(t *testing.T, port, ca, user, password string, domains ...string) (reply string) {
	t.Helper()
	args := append([]string{"testdata/atrn.py", hostname, o.port("odmr"), ca, user, password, port}, strings.Join(domains, ","))
	eventually(t, "no other call has the mail", func() bool {
		reply = strings.TrimSpace(mustRun(t, o.command(t, python(), args...)))
		return !strings.HasPrefix(reply, "451 ")
	})
	return reply
}

// TestOutboundATRN checks that a server that logs in gets the mail held for it, and only that, over
// its own connection, with and without TLS.
func TestOutboundATRN(t *testing.T) {
	k := newSink(t, "")
	o := relayingOffice(t)
	s := o.serve(t)
	o.submit(t, letter("other"), "bob@other.example")
	ask := func(want, ca string, domains ...string) {
		t.Helper()
		if reply := o.atrn(t, k.port, ca, boss, bossPassword, domains...); !strings.HasPrefix(reply, want) {
			t.Errorf("ATRN %v: %s, want %s", domains, reply, want)
		}
	}
	ask("453 ", "")
	ask("450 ", "", "other.example")
	ask("450 ", "", "branch.example", "unknown.example")
	o.submit(t, letter("one"), "bob@branch.example", "eve@branch.example", "bob@other.example")
	o.submit(t, letter("two"), "bob@branch.example> NOTIFY=SUCCESS,FAILURE")
	o.submit(t, letter("three"), "bob@south.branch.example")
	ask("250 ", "", "branch.example")
	got := map[string]int{} // recipients by message; the sink's files have no order
	for _, d := range k.wantDumps(t, 2) {
		for _, name := range []string{"one", "two"} {
			if strings.Contains(d.message, "the end of "+name) {
				got[name] = len(d.rcpt)
			}
		}
	}
	if got["one"] != 2 || got["two"] != 1 {
		t.Errorf("recipients: %v", got)
	}
	ask("453 ", o.ca, "branch.example")
	o.submit(t, letter("four"), "bob@branch.example")
	ask("250 ", o.ca)
	k.wantDumps(t, 4)
	ask("453 ", o.ca)
	for _, m := range o.queue(t) {
		for _, r := range m.To {
			if r.Done == "" && (r.Address != "bob@other.example" || r.Attempts > 0) {
				t.Errorf("%s: %+v", m.ID, r)
			}
		}
	}
	s.wantLog(t, "messages=2")
	if reply := o.atrn(t, k.port, "", anna, annaPassword); !strings.HasPrefix(reply, "250 ") {
		t.Error(reply)
	}
	k.wantDumps(t, 6)
	o.wantQueueEmpty(t)
}

// TestOutboundATRNBroken checks that the server sends a message again at the next ATRN if it was
// not accepted completely, and that a refused message returns to its sender.
func TestOutboundATRNBroken(t *testing.T) {
	o := relayingOffice(t)
	s := o.serve(t)
	for _, name := range []string{"one", "two"} {
		o.submit(t, letter(name), "bob@branch.example")
	}
	for _, options := range [][]string{{"-q", "connect"}, {"-q", "RCPT"}, {"-q", "."}, {"-r", "RCPT"}} {
		bad := newSink(t, "", options...)
		if reply := o.atrn(t, bad.port, o.ca, boss, bossPassword); !strings.HasPrefix(reply, "250 ") {
			t.Errorf("%v: %s", options, reply)
		}
		if n := len(o.queue(t)); n != 2 {
			t.Fatalf("%v: %d messages are kept, want 2", options, n)
		}
	}
	s.stop(t)
	o.serve(t)
	good := newSink(t, "")
	if reply := o.atrn(t, good.port, o.ca, boss, bossPassword, "branch.example"); !strings.HasPrefix(reply, "250 ") {
		t.Error(reply)
	}
	good.wantDumps(t, 2)
	o.wantQueueEmpty(t)
	o.submit(t, letter("refused"), "bob@branch.example")
	bad := newSink(t, "", "-f", "RCPT")
	o.atrn(t, bad.port, o.ca, boss, bossPassword)
	o.wantMail(t, anna, 1)
	o.wantQueueEmpty(t)
}
