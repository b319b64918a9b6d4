package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
	"pillarbox/smtp/route"
)

// caller is a server that asks for its mail with ATRN and takes it over its own connection.
type caller struct {
	mu     sync.Mutex
	got    []string
	answer func(ctx context.Context, a smtp.Attempt) smtp.Outcome // nil: all is delivered
}

func (c *caller) Deliver(ctx context.Context, a smtp.Attempt) smtp.Outcome {
	c.mu.Lock()
	for _, r := range a.Envelope.To {
		c.got = append(c.got, r.Address.String())
	}
	answer := c.answer
	c.mu.Unlock()
	if answer == nil {
		return a.SameForAll(delivered)
	}
	return answer(ctx, a)
}

// want compares the messages that the server got with those wanted, and forgets them.
func (c *caller) want(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if fmt.Sprint(c.got) != fmt.Sprint(want) {
		t.Errorf("given %v, want %v", c.got, want)
	}
	c.got = nil
}

// keep adds a route for ETRN-held mail.
func (w *world) keep(domains ...string) {
	table := w.table
	for _, d := range domains {
		table.Routes = append(table.Routes, route.Route{Name: d, Domains: []string{d}, Hold: true,
			SmartHost: []route.Host{{Name: "mx." + d}}, Schedule: route.DefaultSchedule()})
	}
	w.q.SetConfig(Config{Routes: &table})
}

// claim claims the mail of some domains. It wants this many messages; 0 wants an error.
func (w *world) claim(count int, wantErr error, domains ...string) *ATRNSession {
	w.t.Helper()
	synctest.Wait()
	turn, err := w.q.Claim(func(_ *route.Route, d addr.Domain) bool {
		return strings.Contains(strings.Join(domains, " "), string(d))
	})
	if !errors.Is(err, wantErr) || err == nil && turn.Messages() != count {
		w.t.Fatalf("claim of %v: %v, %v, want %d, %v", domains, turn, err, count, wantErr)
	}
	return turn
}

func TestATRN(t *testing.T) {
	bubble(t, func(w *world) {
		w.keep("branch.example", "other.example")
		w.send("anna@office.example", "a@branch.example", "x@other.example", "b@branch.example")
		w.send("anna@office.example", "c@branch.example")
		w.send("anna@office.example", "d@third.example")
		w.saw("attempts", &w.log, "0 third.example d@third.example")
		w.claim(0, ErrNoMail, "unknown.example")
		var c caller
		w.claim(2, nil, "branch.example").Run(&c)
		c.want(t, "a@branch.example", "b@branch.example", "c@branch.example")
		w.wantLen(1)
		w.claim(0, ErrNoMail, "branch.example")
		w.claim(1, nil, "branch.example", "other.example").Run(&c)
		c.want(t, "x@other.example")
		w.wantLen(0)
		w.saw("attempts", &w.log)
		w.saw("reports", &w.reports)
	})
}

// One message for two domains needs two transactions of one session.
func TestATRNTwoDomains(t *testing.T) {
	bubble(t, func(w *world) {
		w.keep("branch.example", "other.example")
		w.send("anna@office.example", "x@other.example", "a@branch.example")
		w.send("anna@office.example", "b@branch.example")
		var c caller
		w.claim(3, nil, "branch.example", "other.example").Run(&c)
		c.want(t, "a@branch.example", "x@other.example", "b@branch.example")
		w.wantLen(0)
	})
}

func TestATRNResults(t *testing.T) {
	bubble(t, func(w *world) {
		w.keep("branch.example")
		w.send("anna@office.example", "a@branch.example", "later@branch.example", "nobody@branch.example")
		w.send("anna@office.example", "b@branch.example")
		c := caller{answer: func(_ context.Context, a smtp.Attempt) smtp.Outcome {
			o := a.SameForAll(delivered)
			for i, r := range a.Envelope.To {
				o.Results[i] = map[string]smtp.Result{"later": later, "nobody": refused}[r.Address.Local]
				if o.Results[i].MTA == "" {
					o.Results[i] = delivered
				}
			}
			return o
		}}
		w.claim(2, nil, "branch.example").Run(&c)
		c.want(t, "a@branch.example", "later@branch.example", "nobody@branch.example", "b@branch.example")
		w.saw("reports", &w.reports, "0 failed nobody@branch.example 550 5.1.1 nobody")
		time.Sleep(5 * time.Hour) // nothing is tried without being asked for
		w.wantLen(1)
		c.answer = nil
		w.claim(1, nil, "branch.example").Run(&c)
		c.want(t, "later@branch.example")
		w.wantLen(0)
		w.saw("attempts", &w.log)
	})
}

func TestATRNStopsAtUnreachable(t *testing.T) {
	bubble(t, func(w *world) {
		w.keep("branch.example")
		for _, to := range []string{"a", "b", "c"} {
			w.send("anna@office.example", to+"@branch.example")
		}
		c := caller{}
		c.answer = func(_ context.Context, a smtp.Attempt) smtp.Outcome {
			if a.Envelope.To[0].Address.Local == "b" {
				return unreachable(a)
			}
			return a.SameForAll(delivered)
		}
		w.claim(3, nil, "branch.example").Run(&c)
		c.want(t, "a@branch.example", "b@branch.example")
		w.wantLen(2)
		c.answer = nil
		w.claim(2, nil, "branch.example").Run(&c) // at once: who asks is there
		c.want(t, "b@branch.example", "c@branch.example")
		w.wantLen(0)
	})
}

// TestATRNIsAlone: while one connection has the mail of a domain, another gets none of it, and
// other domains are not delayed.
func TestATRNIsAlone(t *testing.T) {
	bubble(t, func(w *world) {
		w.keep("branch.example", "other.example")
		w.send("anna@office.example", "a@branch.example")
		w.send("anna@office.example", "b@branch.example")
		w.send("anna@office.example", "x@other.example")
		slow := caller{answer: func(_ context.Context, a smtp.Attempt) smtp.Outcome {
			time.Sleep(time.Hour)
			return a.SameForAll(delivered)
		}}
		turn := w.claim(2, nil, "branch.example")
		w.claim(0, ErrBusy, "branch.example")
		go turn.Run(&slow)
		w.claim(0, ErrBusy, "other.example", "branch.example")
		var c caller
		w.claim(1, nil, "other.example").Run(&c)
		c.want(t, "x@other.example")
		w.send("anna@office.example", "d@third.example", "new@branch.example")
		w.saw("attempts", &w.log, "0 third.example d@third.example")
		time.Sleep(3 * time.Hour)
		slow.want(t, "a@branch.example", "b@branch.example")
		w.claim(1, nil, "branch.example").Run(&c)
		c.want(t, "new@branch.example")
		w.wantLen(0)
	})
}

// Messages that are flushed or removed meanwhile are not sent twice.
func TestATRNAndAdmin(t *testing.T) {
	bubble(t, func(w *world) {
		w.keep("branch.example")
		w.send("anna@office.example", "a@branch.example")
		removed := w.send("anna@office.example", "b@branch.example")
		held := w.send("anna@office.example", "c@branch.example")
		turn := w.claim(3, nil, "branch.example")
		for action, id := range map[Action]string{Remove: removed, Hold: held} {
			if n, err := w.q.Do(action, Filter{IDs: []string{id}}); n != 1 || err != nil {
				t.Fatal(n, err)
			}
		}
		var c caller
		turn.Run(&c)
		c.want(t, "a@branch.example")
		w.wantLen(1)
		w.send("anna@office.example", "d@branch.example")
		turn = w.claim(1, nil, "branch.example")
		if n := w.q.FlushETRN(func(addr.Domain) bool { return true }); n != 1 {
			t.Error(n)
		}
		w.saw("attempts", &w.log, "0 route:branch.example for branch.example d@branch.example")
		turn.Run(&c)
		c.want(t)
	})
}

// When the server stops, the session ends: the attempt under way is interrupted after a few
// seconds, and the other messages stay held.
func TestATRNStops(t *testing.T) {
	bubble(t, func(w *world) {
		w.keep("branch.example")
		w.send("anna@office.example", "a@branch.example")
		w.send("anna@office.example", "b@branch.example")
		c := caller{answer: func(ctx context.Context, a smtp.Attempt) smtp.Outcome {
			<-ctx.Done()
			return unreachable(a)
		}}
		turn, late := w.claim(2, nil, "branch.example"), time.Now()
		go turn.Run(&c)
		synctest.Wait()
		w.stop()
		if took := time.Since(late); took > graceful {
			t.Errorf("took %v", took)
		}
		c.want(t, "a@branch.example")
		if _, err := w.q.Claim(func(*route.Route, addr.Domain) bool { return true }); !errors.Is(err, ErrBusy) {
			t.Error(err)
		}
		w.open()
		w.wantLen(0)
		w.sort()
		w.saw("attempts", &w.log, "0 branch.example a@branch.example", "0 branch.example b@branch.example")
	})
}
