package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	outside = netip.MustParseAddr("198.51.100.7")
	private = netip.MustParsePrefix("192.168.0.0/16")
)

// newBanTest bans after five wrong logins, and trusts the private network.
func newBanTest(t *testing.T) (*Authenticator, *Bans, *bytes.Buffer) {
	t.Helper()
	a, _, log := newTest(t)
	a.Bans = NewBans(BanOptions{After: 5, Trusted: private.Contains}, a.Log)
	return a, a.Bans, log
}

func guessAll(a *Authenticator, remote netip.Addr, user string, n int) (err error) {
	for i := range n {
		_, err = try(a, remote, user, fmt.Sprint("guess", i))
	}
	return err
}

func TestBan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, bans, log := newBanTest(t)
		guessAll(a, outside, "anna", 3)
		guessAll(a, outside, "nobody", 1)
		if _, banned := bans.Until(outside); banned || len(bans.List()) != 0 {
			t.Error("banned after four")
		}
		if took, err := try(a, outside, "anna", "secret"); err != nil || took == 0 {
			t.Errorf("the right password: %v", err)
		}
		guessAll(a, outside, "nobody", 2) // one of them known
		until, banned := bans.Until(outside)
		if ends := time.Now().Add(time.Hour); !banned || until.Before(ends.Add(-10*time.Second)) || until.After(ends) {
			t.Errorf("until %v, %v", until, banned)
		}
		for _, password := range []string{"secret", "guess0", "new"} {
			if took, err := try(a, outside, "anna", password); took != 0 || !errors.Is(err, ErrBanned) || !errors.Is(err, ErrTemporary) || errors.Is(err, ErrInvalid) {
				t.Errorf("%s: %v after %v", password, err, took)
			}
		}
		if _, err := try(a, there, "anna", "secret"); err != nil {
			t.Errorf("another address: %v", err)
		}
		if r := bans.Why(outside); r.Distinct != 5 || !r.Banned() {
			t.Errorf("%+v", r)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if _, err := try(a, outside, "anna", "secret"); err != nil {
			t.Errorf("after the ban: %v", err)
		}
		if r := bans.Why(outside); r.Distinct != 0 || r.Banned() || bans.pairs != 0 {
			t.Errorf("afterwards %+v, %d pairs", r, bans.pairs)
		}
		for text, want := range map[string]int{"address banned": 1, "ban ended": 1, "lifted": 0} {
			if got := strings.Count(log.String(), "msg=\""+text); got != want {
				t.Errorf("%d lines of %q, want %d:\n%s", got, text, want, log)
			}
		}
		if want := `address=198.51.100.7 until=2000-01-01T01:`; !strings.Contains(log.String(), want) {
			t.Errorf("no %s in the log:\n%s", want, log)
		}
		if want := `distinct=5 accounts="anna, nobody"`; !strings.Contains(log.String(), want) {
			t.Errorf("no %s in the log:\n%s", want, log)
		}
	})
}

func TestNobodyIsBannedWho(t *testing.T) {
	for name, do := range map[string]func(a *Authenticator, bans *Bans) netip.Addr{
		"repeats a stale password": func(a *Authenticator, _ *Bans) netip.Addr {
			for range 100 {
				try(a, outside, "anna", "last year's")
				try(a, outside, "Anna@office.example", "last year's")
			}
			return outside
		},
		"is trusted": func(a *Authenticator, _ *Bans) netip.Addr {
			guessAll(a, here, "anna", 30)
			return netip.MustParseAddr("::ffff:" + here.String())
		},
		"is slow": func(a *Authenticator, _ *Bans) netip.Addr {
			for i := range 30 {
				try(a, outside, "anna", fmt.Sprint("guess", i))
				time.Sleep(5 * time.Minute)
			}
			return outside
		},
		"has no address": func(a *Authenticator, _ *Bans) netip.Addr {
			guessAll(a, netip.Addr{}, "anna", 30)
			return netip.Addr{}
		},
		"guesses where bans are off": func(a *Authenticator, bans *Bans) netip.Addr {
			bans.SetOptions(BanOptions{})
			guessAll(a, outside, "anna", 30)
			return outside
		},
		"is right": func(a *Authenticator, _ *Bans) netip.Addr {
			for range 30 {
				try(a, outside, "anna", "secret")
				try(a, outside, "boss", "secret")
			}
			return outside
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, bans, log := newBanTest(t)
				if until, banned := bans.Until(do(a, bans)); banned || strings.Contains(log.String(), "banned") {
					t.Errorf("until %v; log: %s", until, log)
				}
			})
		})
	}
}

// The whole /64 is one client, and guesses that wait are not checked after the ban.
func TestBanOfANetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, bans, _ := newBanTest(t)
		var all sync.WaitGroup
		var mu sync.Mutex
		var refused, wrong int
		for i := range 30 {
			all.Go(func() {
				remote := netip.MustParseAddr(fmt.Sprintf("2001:db8:1:2::%x", i))
				_, err := try(a, remote, fmt.Sprint("user", i%5), fmt.Sprint("guess", i))
				mu.Lock()
				defer mu.Unlock()
				if errors.Is(err, ErrBanned) {
					refused++
				} else if errors.Is(err, ErrInvalid) {
					wrong++
				}
			})
		}
		all.Wait()
		if refused+wrong != 30 || refused < 15 {
			t.Errorf("%d refused, %d wrong", refused, wrong)
		}
		list := bans.List()
		if len(list) != 1 || list[0].Address != "2001:db8:1:2::/64" {
			t.Fatalf("%+v", list)
		}
		if _, banned := bans.Until(netip.MustParseAddr("2001:db8:1:2:ffff::1%eth0")); !banned {
			t.Error("a neighbour in the /64 is not banned")
		}
		if _, banned := bans.Until(netip.MustParseAddr("2001:db8:1:3::1")); banned {
			t.Error("the next /64 is banned")
		}
		friend := netip.MustParseAddr("2001:db8:1:2::f00")
		bans.SetOptions(BanOptions{After: 5, Trusted: func(ip netip.Addr) bool { return ip == friend }})
		if _, banned := bans.Until(friend); banned || bans.Why(friend).Banned() {
			t.Error("a trusted address in the /64 is banned")
		}
		if len(bans.List()) != 1 {
			t.Error("with it, the others are not banned any more")
		}
	})
}

func TestLift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, bans, log := newBanTest(t)
		if bans.Lift(outside) {
			t.Error("lifted what is not there")
		}
		guessAll(a, outside, "anna", 4)
		if bans.Lift(outside) || bans.Why(outside).Distinct != 0 {
			t.Error("no ban, or not forgotten")
		}
		if strings.Contains(log.String(), "lifted") {
			t.Error("a lift is logged where no ban was")
		}
		guessAll(a, outside, "boss", 5)
		if !bans.Lift(outside) || bans.Lift(outside) {
			t.Error("not lifted, or twice")
		}
		if _, err := try(a, outside, "anna", "secret"); err != nil {
			t.Errorf("afterwards: %v", err)
		}
		time.Sleep(30 * time.Minute)
		if guessAll(a, outside, "boss", 6); len(bans.List()) != 1 {
			t.Error("not banned again")
		}
		time.Sleep(45 * time.Minute) // the first ban would have ended by now
		synctest.Wait()
		if len(bans.List()) != 1 || strings.Count(log.String(), `msg="ban lifted"`) != 1 || strings.Contains(log.String(), "ended") {
			t.Errorf("%v; log: %s", bans.List(), log)
		}
	})
}

func TestOptionsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, bans, _ := newBanTest(t)
		other := netip.MustParseAddr("203.0.113.1")
		guessAll(a, outside, "anna", 5)
		guessAll(a, other, "anna", 5)
		trusted := netip.MustParsePrefix("198.51.100.0/24")
		bans.SetOptions(BanOptions{After: 5, Duration: time.Minute, Trusted: trusted.Contains})
		if _, banned := bans.Until(outside); banned {
			t.Error("trusted now, and still banned")
		}
		if list := bans.List(); len(list) != 1 || list[0].Until.Sub(list[0].Since) != time.Hour {
			t.Errorf("%+v", list)
		}
		if r := bans.Why(outside); !r.Trusted {
			t.Errorf("%+v", r)
		}
		bans.SetOptions(BanOptions{})
		if len(bans.List()) != 0 {
			t.Error("bans are off, and some last")
		}
	})
}

func TestRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, bans, _ := newBanTest(t)
		for i, name := range []string{"anna", "Anna", "boss@x", "evil\x1b[2J\n", "", strings.Repeat("x", 500)} {
			bans.wrong(outside, strings.ToLower(name), name, uint64(i))
			time.Sleep(time.Minute)
		}
		text, err := json.Marshal(bans.Why(outside))
		if err != nil {
			t.Fatal(err)
		}
		want := `{"address":"198.51.100.7","trusted":false,"since":"2000-01-01T00:04:00Z","until":"2000-01-01T01:04:00Z","distinct":6,"limit":5,"accounts":[` +
			`{"name":"anna","passwords":2,"last":"2000-01-01T00:01:00Z"},` +
			`{"name":"\"\"","passwords":1,"last":"2000-01-01T00:04:00Z"},` +
			`{"name":"\"evil\\x1b[2J\\n\"","passwords":1,"last":"2000-01-01T00:03:00Z"},` +
			`{"name":"boss@x","passwords":1,"last":"2000-01-01T00:02:00Z"},` +
			`{"name":"` + strings.Repeat("x", maxNameShown) + `","passwords":1,"last":"2000-01-01T00:05:00Z"}]}`
		if got := strings.ReplaceAll(string(text), `+00:00"`, `Z"`); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

func TestBansAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bans := NewBans(BanOptions{After: 3}, slog.New(slog.DiscardHandler))
		for i := range 3 {
			bans.wrong(outside, "anna", "anna", uint64(i))
		}
		for i := range maxPairs + 1000 {
			remote := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
			bans.wrong(remote, "anna", "anna", 1)
		}
		total := 0
		for _, s := range bans.records {
			total += len(s.wrong)
		}
		if total != bans.pairs || total > maxPairs {
			t.Errorf("%d pairs, counted as %d", total, bans.pairs)
		}
		if _, banned := bans.Until(outside); !banned {
			t.Error("a flood of others has lifted the ban")
		}
		bans.SetOptions(BanOptions{After: 1_000_000})
		for i := range 2 * maxBanAfter {
			bans.wrong(here, "anna", "anna", uint64(i))
		}
		if r := bans.Why(here); r.Distinct != maxBanAfter || !r.Banned() {
			t.Errorf("%d distinct, %v", r.Distinct, r.Banned())
		}
	})
}

func TestNoBans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := newTest(t)
		guessAll(a, outside, "anna", 30)
		if _, err := a.Password(context.Background(), Client{Remote: outside}, "anna", "secret"); err != nil {
			t.Error(err)
		}
	})
}
