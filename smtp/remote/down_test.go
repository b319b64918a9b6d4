package remote

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/smtp/route"
)

// twoRoutes returns a Remote with two routes to x.example, the first of them cheaper.
func twoRoutes(t *testing.T, cheap, dear *peer, change func(table *route.Table)) *Remote {
	t.Helper()
	table := &route.Table{}
	for i, ip := range []string{"192.0.2.1", "192.0.2.2"} {
		host, err := route.ParseHost(ip)
		if err != nil {
			t.Fatal(err)
		}
		table.Routes = append(table.Routes, route.Route{Name: fmt.Sprint(i), Domains: []string{"x.example"}, Cost: i,
			SmartHost: []route.Host{host}, PerConnection: 1})
	}
	if change != nil {
		change(table)
	}
	peers := network{"192.0.2.2:25": dear}
	if cheap != nil {
		peers["192.0.2.1:25"] = cheap
	}
	r := New(Options{Routes: func() *route.Table { return table }, Hostname: "us.example", Dial: peers.dial})
	t.Cleanup(func() {
		r.Close()
		dear.running.Wait()
		if cheap != nil {
			cheap.running.Wait()
		}
	})
	return r
}

// If the cheaper route is down, the next one takes the mail. A refusal is the last word.
func TestNextRoute(t *testing.T) {
	for name, tt := range map[string]struct {
		cheap       *peer
		want        string
		first, next int // connections
	}{
		"up":       {&peer{}, "delivered 250 2.0.0", 1, 0},
		"refuses":  {&peer{behaviour: behaviour{answers: map[string]string{"RCPT": "550 5.1.1 who"}}}, "failed 550 5.1.1", 1, 0},
		"greylist": {&peer{behaviour: behaviour{answers: map[string]string{"RCPT": "450 4.2.0 later"}}}, "deferred 450 4.2.0", 1, 0},
		"busy":     {&peer{behaviour: behaviour{greeting: "421 4.3.2 later"}}, "delivered 250 2.0.0", 1, 1},
		"down":     {nil, "delivered 250 2.0.0", 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			dear := &peer{}
			r := twoRoutes(t, tt.cheap, dear, nil)
			if got := summary(r.Deliver(t.Context(), attempt(letter, "b@x.example"))); got != tt.want {
				t.Errorf("got %s", got)
			}
			if dear.conns != tt.next || tt.cheap != nil && tt.cheap.conns != tt.first {
				t.Errorf("%d connections to the next", dear.conns)
			}
		})
	}
}

// A route that failed comes last for some minutes.
func TestDownRouteIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cheap := &peer{behaviour: behaviour{greeting: "421 4.3.2 later"}}
		r := twoRoutes(t, cheap, &peer{}, nil)
		for _, want := range []int{1, 1, 2} {
			r.Deliver(t.Context(), attempt(letter, "b@x.example"))
			if cheap.conns != want {
				t.Errorf("%d connections, want %d", cheap.conns, want)
			}
			time.Sleep(downPause/2 + time.Second)
		}
	})
}

// A message that is too large for a route is returned at once.
func TestMaxSize(t *testing.T) {
	cheap := &peer{}
	r := twoRoutes(t, cheap, &peer{}, func(table *route.Table) { table.Routes[0].MaxSize = int64(len(letter)) - 1 })
	outcome := r.Deliver(t.Context(), attempt(letter, "b@x.example"))
	if got := summary(outcome); got != "failed 554 5.3.4 ours" || cheap.conns != 0 {
		t.Errorf("got %s: %s", got, outcome.Results[0].Reply.Text)
	}
}
