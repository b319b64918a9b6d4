package connlimit

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var services = []string{"smtp", "submission", "smtps", "pop3", "pop3s", "odmr"}

// newLimiter returns a Limiter with all services that trusts 192.168.0.0/16.
func newLimiter(limits Limits) (*Limiter, *bytes.Buffer) {
	log := new(bytes.Buffer)
	limits.Trusted = netip.MustParsePrefix("192.168.0.0/16").Contains
	g := New(limits, slog.New(slog.NewTextHandler(log, nil)))
	for _, s := range services {
		g.addServiceLocked(s)
	}
	return g, log
}

func (l *Limiter) try(service, from string) (*member, bool) {
	ip := netip.MustParseAddr(from)
	m := &member{limiter: l, service: service, key: ip}
	return m, l.enter(m, ip)
}

// crowd tries n connections from each of several addresses, in turn.
func (l *Limiter) crowd(service, network string, addresses, n int) (in int) {
	for range n {
		for a := range addresses {
			if _, ok := l.try(service, fmt.Sprint(network, a>>8, ".", a&255)); ok {
				in++
			}
		}
	}
	return in
}

// Under every crowd the local network can use every service, and a new unknown client can use every
// service that the crowd does not.
func TestRoomUnderACrowd(t *testing.T) {
	for _, limit := range []int{100, 1000, 10_000} {
		for _, crowd := range []struct {
			services  []string
			addresses int
			each      int
		}{
			{[]string{"smtp"}, 10, 100}, {[]string{"smtp"}, 2000, 100},
			{[]string{"pop3"}, 1, 10_000},
			{[]string{"smtp", "submission"}, 5000, 4}, {services, 3000, 10},
		} {
			g, log := newLimiter(Limits{Connections: limit, PerAddress: 100})
			total := 0
			for _, s := range crowd.services {
				total += g.crowd(s, "10.1.", crowd.addresses, crowd.each)
			}
			if total > limit-limit/8 {
				t.Errorf("%d of %d for %v", total, limit, crowd)
			}
			for at, s := range services {
				for i := range limit / 8 / 6 {
					ip := netip.AddrFrom4([4]byte{192, 168, byte(at), byte(i)})
					if _, ok := g.try(s, ip.String()); !ok {
						t.Errorf("the office is refused at %s after %d, crowd %v of %d", s, i,
							crowd, limit)
						break
					}
				}
			}
			if len(crowd.services) < len(services) {
				if _, ok := g.try("smtps", "198.51.100.7"); !ok {
					t.Errorf("an unknown client is refused at smtps, crowd %v of %d", crowd, limit)
				}
			}
			if total < crowd.addresses*crowd.each*len(crowd.services) &&
				!strings.Contains(log.String(), "limit=\"limits.connections") &&
				!strings.Contains(log.String(), "limit=limits.connections") {
				t.Errorf("no log of refusals: %s", log)
			}
		}
	}
}

// A service with a limit of its own has at most so many connections, and one address never has all
// of them. The other services and the local network have room whatever the crowd does there.
func TestRoomBesideAServiceWithALimit(t *testing.T) {
	g, log := newLimiter(Limits{Connections: 1000, Services: map[string]int{"smtp": 80}})
	if in := g.crowd("smtp", "10.1.", 1, 1000); in != 23 {
		t.Errorf("one address has %d connections", in)
	}
	if in := 23 + g.crowd("smtp", "10.2.", 2000, 1); in != 70 {
		t.Errorf("the crowd has %d connections", in)
	}
	if text := log.String(); !strings.Contains(text, "limits.smtp_connections") {
		t.Errorf("no log of the limit: %s", text)
	}
	if in := g.crowd("smtp", "192.168.", 100, 1); in != 10 {
		t.Errorf("the office has %d connections", in)
	}
	for _, s := range services[1:] {
		if in := g.crowd(s, "10.3.", 50, 1); in != 50 {
			t.Errorf("%s: %d of 50", s, in)
		}
	}
	g.SetLimits(Limits{Connections: 1000})
	if _, ok := g.try("smtp", "10.4.0.1"); !ok {
		t.Error("refused by a limit that has gone")
	}
}

// A crowd in a trusted network does not shut out other addresses either.
func TestRoomUnderATrustedCrowd(t *testing.T) {
	g, _ := newLimiter(Limits{Connections: 1000, PerAddress: 100})
	g.crowd("smtp", "192.168.", 10, 100)
	for _, s := range services {
		if _, ok := g.try(s, "192.168.200.1"); !ok {
			t.Errorf("refused at %s", s)
		}
	}
}

// An unknown client that has logged in counts as trusted, and closed connections become free.
func TestLoggedInAndLeft(t *testing.T) {
	g, _ := newLimiter(Limits{Connections: 80})
	var all []*member
	for i := range 200 {
		m, ok := g.try("submission", netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}).String())
		if !ok {
			break
		}
		all = append(all, m)
	}
	before := len(all)
	for _, m := range all[:10] {
		(&conn{member: m}).LoggedIn()
		(&conn{member: m}).LoggedIn()
	}
	for i := range 200 {
		m, ok := g.try("submission", netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}).String())
		if !ok {
			break
		}
		all = append(all, m)
	}
	if len(all) != before+10 {
		t.Errorf("%d after ten logins, %d before", len(all), before)
	}
	for _, m := range all {
		m.leave()
		m.leave()
	}
	if g.total != (count{}) || len(g.from) != 0 || *g.services["submission"] != (count{}) {
		t.Errorf("connections are left: %+v, of the service %+v", g.total, g.services["submission"])
	}
}

// A crowd does not fill the log, and all of its refusals are counted.
func TestRefusalsAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, log := newLimiter(Limits{PerAddress: 1})
		g.try("pop3", "10.0.0.1")
		for range 100 {
			g.try("pop3", "10.0.0.1")
		}
		time.Sleep(time.Minute)
		g.try("pop3", "10.0.0.1")
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0],
			"limit=limits.connections_per_address service=pop3 refused=1 remote_ip=10.0.0.1") ||
			!strings.Contains(lines[1], "refused=100 ") {
			t.Errorf("%q", lines)
		}
	})
}
