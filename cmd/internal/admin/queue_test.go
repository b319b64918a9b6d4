package admin

import (
	"slices"
	"testing"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp/dsn"
	"pillarbox/smtp/queue"
	"pillarbox/smtp/remote"
	"pillarbox/smtp/route"
)

// TestQueueState looks at messages on a Sunday at noon.
func TestQueueState(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	night, err := route.ParseWindows([]string{"22:00-06:00"})
	if err != nil {
		t.Fatal(err)
	}
	flushOnly, err := route.ParseWindows([]string{"never"})
	if err != nil {
		t.Fatal(err)
	}
	isp := route.Host{Name: "mail.isp.example", Port: 587}
	view := QueueView{
		Now: now,
		Routes: &route.Table{Routes: []route.Route{
			{Name: "kept.example", Domains: []string{"kept.example"}, Hold: true},
			{Name: "night.example", Domains: []string{"night.example"}, Windows: night},
			{Name: "flush.example", Domains: []string{"flush.example", "never.example"}, Windows: flushOnly},
			{Name: "isp.example", Domains: []string{"isp.example"}, SmartHost: []route.Host{isp}},
		}},
		Active: []queue.Active{{ID: "1", To: []string{"a@busy.example"}}, {ID: "2", To: []string{"b@busy.example"}}},
		Destinations: []queue.Destination{
			{Key: "dead.example", Failures: 2, NotBefore: now.Add(time.Hour)},
			{Key: "route:isp.example", Failures: 1, NotBefore: now.Add(time.Minute)},
			{Key: "flush.example", Failures: 1},
			{Key: "kept.example for kept.example", ETRNHeld: true},
		},
	}
	to := func(domain string) queue.Recipient {
		return queue.Recipient{Address: addr.Address{Local: "a", Domain: addr.Domain(domain)}}
	}
	next := func(domain string, after time.Duration) queue.Recipient {
		r := to(domain)
		r.Next = now.Add(after)
		return r
	}
	done, owed := to("done.example"), to("done.example")
	done.Done = "delivered"
	owed.Done, owed.PendingDSN = "failed", dsn.Failed
	at := func(hour int) time.Time { return time.Date(2026, 11, 22, hour, 0, 0, 0, time.UTC) }
	for _, c := range []struct {
		name string
		to   []queue.Recipient
		held bool
		want QueueState
	}{
		{"tried", []queue.Recipient{next("later.example", time.Hour), to("busy.example")}, false, QueueState{Wait: WaitTrying}},
		{"tried and held", []queue.Recipient{to("busy.example")}, true, QueueState{Wait: WaitTrying}},
		{"held", []queue.Recipient{done, to("kept.example")}, true, QueueState{Wait: WaitHeld}},
		{"due", []queue.Recipient{next("late.example", -time.Hour)}, false, QueueState{Wait: WaitTurn}},
		{"deferred", []queue.Recipient{next("later.example", 3*time.Hour), next("later.example", time.Hour)}, false, QueueState{Wait: WaitNext, Until: at(13)}},
		{"kept", []queue.Recipient{next("kept.example", time.Hour)}, false, QueueState{Wait: WaitKept, Server: "kept.example"}},
		{"kept and deferred", []queue.Recipient{to("kept.example"), next("later.example", time.Hour)}, false, QueueState{Wait: WaitNext, Until: at(13)}},
		{"unreachable", []queue.Recipient{to("dead.example")}, false, QueueState{Wait: WaitUnreachable, Server: "dead.example", Until: at(13)}},
		{"unreachable, and deferred for longer", []queue.Recipient{next("dead.example", 3*time.Hour)}, false, QueueState{Wait: WaitUnreachable, Server: "dead.example", Until: at(15)}},
		{"smart host", []queue.Recipient{to("isp.example")}, false, QueueState{Wait: WaitUnreachable, Server: "mail.isp.example:587", Until: now.Add(time.Minute)}},
		{"out of hours", []queue.Recipient{to("night.example")}, false, QueueState{Wait: WaitHours, Until: at(22)}},
		{"deferred into the hours", []queue.Recipient{next("night.example", 11*time.Hour)}, false, QueueState{Wait: WaitNext, Until: at(23)}},
		{"never", []queue.Recipient{to("never.example")}, false, QueueState{Wait: WaitHours}},
		{"never, and deferred", []queue.Recipient{to("never.example"), next("later.example", time.Hour)}, false, QueueState{Wait: WaitNext, Until: at(13)}},
		{"never, unreachable", []queue.Recipient{to("flush.example")}, false, QueueState{Wait: WaitUnreachable, Server: "flush.example"}},
		{"owed", []queue.Recipient{done, owed}, false, QueueState{Wait: WaitReport}},
	} {
		m := view.Look(&queue.Item{ID: "1", Held: c.held, To: c.to})
		if m.State != c.want || len(m.States) != len(c.to) {
			t.Errorf("%s: %+v, want %+v", c.name, m.State, c.want)
		}
	}
	if m := view.Look(&queue.Item{ID: "3", To: []queue.Recipient{done, to("busy.example")}}); m.State.Wait != WaitTurn || m.Foremost().Address.Domain != "busy.example" {
		t.Errorf("of another message: %+v", m.State)
	}
	concern := view.Concern([]QueuedMessage{view.Look(&queue.Item{To: []queue.Recipient{to("kept.example"), to("isp.example"), done}})})
	if len(concern) != 2 || concern[0].Key != "route:isp.example" || concern[1].Key != "kept.example for kept.example" {
		t.Errorf("%+v", concern)
	}
	for key, want := range map[string]string{"a.example": "a.example", "route:isp.example": isp.String(), "route:gone": "gone", "route:x for b.example": "b.example"} {
		if got := DestinationText(view.Routes, key); got != want {
			t.Errorf("%s: %s", key, got)
		}
	}
}

func TestNamesID(t *testing.T) {
	const id = "P3_20260101000000123400000077"
	for word, want := range map[string]bool{
		id: true, "p3_2026": true, "2026": true, "20260101000000123400000077": true, "00000077": true, "3400000077": true,
		"0000077": false, "77": false, "": false, "P3_": false, "2027": false, id + "0": false,
	} {
		if got := namesID(word, id); got != want {
			t.Errorf("%q: %v", word, got)
		}
	}
}

func TestGivenUp(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	it := &queue.Item{Arrived: at}
	if got := it.Expires(&route.Route{}); !got.Equal(at.Add(48 * time.Hour)) {
		t.Error(got)
	}
	it.Released = at.Add(time.Hour)
	if got := it.Expires(&route.Route{Schedule: route.Schedule{Expire: time.Hour}}); !got.Equal(at.Add(2 * time.Hour)) {
		t.Error(got)
	}
}

func TestRouteVerdict(t *testing.T) {
	ok := func(name string) remote.Step { return remote.Step{Name: name, OK: true} }
	no := func(name, text, hint string) remote.Step { return remote.Step{Name: name, Text: text, Hint: hint} }
	for _, c := range []struct {
		steps         []remote.Step
		ok            bool
		verdict, hint string
	}{
		{[]remote.Step{no("tls", "broken", ""), ok("mail"), ok("rcpt"), ok("quit")}, true, "mail to bob@partner.example would be taken", ""},
		{[]remote.Step{no("connect", "451 refused", "firewall"), no("connect", "451 timed out", "")}, false, "mail to bob@partner.example does not get through: 451 timed out", ""},
		{[]remote.Step{no("auth", "535 wrong", "see the password file")}, false, "mail to bob@partner.example does not get through: 535 wrong", "see the password file"},
		{[]remote.Step{ok("mail"), no("rcpt", "450 later", ""), ok("quit")}, false, "mail to bob@partner.example would wait, and be tried again: 450 later",
			"many servers turn a stranger away at first (greylisting): test again some minutes later"},
		{[]remote.Step{no("mail", "550 not you", ""), ok("quit")}, false, "mail to bob@partner.example would go back to its sender: 550 not you",
			"the other server says why; ask its people, or test with another --from"},
		{nil, false, "the test of the way to bob@partner.example has not come to its end", "try again"},
	} {
		test := RouteReport{To: addr.Address{Local: "bob", Domain: "partner.example"}}
		for _, s := range c.steps {
			test.Add(s)
		}
		test.Judge()
		if test.OK != c.ok || test.Verdict != c.verdict || test.Hint != c.hint || (test.Err("") == nil) != c.ok {
			t.Errorf("%v: %+v", c.steps, test)
		}
	}
}

func TestShortDuration(t *testing.T) {
	var got []string
	for _, d := range []time.Duration{15 * time.Minute, time.Hour, 90 * time.Minute, 48 * time.Hour, 90 * time.Second, 10 * time.Minute} {
		got = append(got, shortDuration(d))
	}
	if want := []string{"15m", "1h", "1h30m", "48h", "1m30s", "10m"}; !slices.Equal(got, want) {
		t.Error(got)
	}
}
