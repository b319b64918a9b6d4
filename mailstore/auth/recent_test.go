package auth

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/mailstore/addr"
)

func TestRecent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRecent()
		user := func(name string) addr.Address { return addr.Address{Local: name, Domain: "office.example"} }
		pc, other := netip.MustParseAddr("192.168.1.10"), netip.MustParseAddr("10.0.0.1")
		want := func(client netip.Addr, sender, name string) {
			t.Helper()
			got, ok := r.Find(client, user(sender))
			if ok != (name != "") || ok && got != user(name) {
				t.Errorf("%s as %s: %v, %v, want %q", client, sender, got, ok, name)
			}
		}
		r.Add(pc, user("anna"))
		want(pc, "anna", "") // no network is named
		r.SetNetworks([]netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")})
		r.Add(pc, user("anna"))
		r.Add(other, user("anna"))
		want(pc, "anna", "anna")
		want(netip.MustParseAddr("::ffff:192.168.1.10"), "anna", "anna")
		want(other, "anna", "")
		time.Sleep(10 * time.Minute)
		r.Add(pc, user("boss"))
		want(pc, "Anna", "anna")
		want(pc, "boss", "boss")
		want(pc, "carl", "boss") // the latest
		r.Add(pc, user("anna"))
		want(pc, "carl", "anna")
		time.Sleep(20 * time.Minute)
		r.Add(pc, user("boss"))
		time.Sleep(10 * time.Minute)
		want(pc, "anna", "boss") // hers is half an hour old
		r.SetNetworks(nil)
		want(pc, "boss", "")
	})
}

// The memory is bounded, and old entries make room.
func TestRecentIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRecent()
		r.SetNetworks([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")})
		client := netip.MustParseAddr("10.0.0.0")
		for range 2 * recentClients {
			client = client.Next()
			for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r"} {
				r.Add(client, addr.Address{Local: name, Domain: "office.example"})
			}
		}
		if n := len(r.logins); n != recentClients {
			t.Errorf("%d clients", n)
		}
		for client, logins := range r.logins {
			if len(logins) != recentPerClient {
				t.Errorf("%s: %d users", client, len(logins))
			}
		}
		if _, ok := r.Find(client, addr.Address{}); ok {
			t.Error("the last client found room")
		}
		time.Sleep(recentFor)
		r.Add(client, addr.Address{Local: "a", Domain: "office.example"})
		if _, ok := r.Find(client, addr.Address{}); !ok || len(r.logins) != 1 {
			t.Errorf("%d clients after half an hour", len(r.logins))
		}
	})
}
