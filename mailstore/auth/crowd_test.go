package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
)

// guessFor starts n guesses at once and returns when all of them wait.
func guessFor(a *Authenticator, remote netip.Addr, user string, n int) (wait func()) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { try(a, remote, user, fmt.Sprint("guess", i)) })
	}
	synctest.Wait()
	return wg.Wait
}

// Each mechanism that succeeded before logs in at once while others guess for the same account from
// the same address. The guesses are slow all the same.
func TestRememberedNeverWaits(t *testing.T) {
	remote := &backend{password: "secret"}
	for name, logIn := range map[string]func(*Authenticator) error{
		"password": func(a *Authenticator) error { _, err := try(a, here, "anna", "secret"); return err },
		"CRAM-MD5": func(a *Authenticator) error {
			_, err := lead(a, Client{Remote: here}, CRAMMD5, cramClient("anna", "secret"))
			return err
		},
		"directory": func(a *Authenticator) error { _, err := try(a, here, "dora", "secret"); return err },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, boxes, _ := newMechanisms(t)
				boxes.boxes["dora"] = directory.Mailbox{
					Address: addr.Address{Local: "dora", Domain: "office.example"}, Method: "directory",
					Login: addr.Address{Local: "dora", Domain: "office.example"}, Dir: "dora",
				}
				a.Backend = func(directory.Method) Backend { return remote }
				if err := logIn(a); err != nil {
					t.Fatal("before:", err)
				}
				defer guessFor(a, here, "anna", 15)()
				defer guessFor(a, here, "dora", 15)()
				for range 3 {
					start := time.Now()
					if err := logIn(a); err != nil || time.Since(start) != 0 {
						t.Errorf("among guesses: %v after %v", err, time.Since(start))
					}
				}
			})
		})
	}
}

// A guess beyond maxPending takes as long as the slowest guess, and counts towards a ban.
func TestGuessesTooManyAreSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, bans, _ := newBanTest(t)
		defer guessFor(a, outside, "anna", maxPending)()
		took, err := try(a, outside, "anna", "another")
		if took != 8*time.Second || !errors.Is(err, errTooMany) {
			t.Errorf("a guess too many: %v after %v", err, took)
		}
		if bans.Why(outside).Distinct == 0 {
			t.Error("the guess too many is not counted")
		}
	})
}

// After a restart no login is remembered, and the programs of a whole office log in at once.
func TestManyRightLoginsAtOnce(t *testing.T) {
	for name, logIn := range map[string]func(*Authenticator) error{
		"password": func(a *Authenticator) error { _, err := try(a, here, "anna", "secret"); return err },
		"CRAM-MD5": func(a *Authenticator) error {
			_, err := lead(a, Client{Remote: here}, CRAMMD5, cramClient("anna", "secret"))
			return err
		},
		"NTLM": func(a *Authenticator) error {
			_, err := lead(a, Client{Remote: here}, NTLM, ntlmClient("anna", "", "secret"))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, _, _ := newMechanisms(t)
				_, own := networkOf(there)
				for range a.hashing.total { // nothing is judged until all have come
					a.hashing.acquire(t.Context(), own, true)
				}
				start := time.Now()
				var wg sync.WaitGroup
				for range 50 {
					wg.Go(func() {
						if err := logIn(a); err != nil {
							t.Error(err)
						}
					})
				}
				synctest.Wait()
				for range a.hashing.total {
					a.hashing.release()
				}
				wg.Wait()
				if took := time.Since(start); took != 0 {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

// Networks take turns for slots. One with a recent wrong login comes after the others, but is not
// starved.
func TestSlotsAreFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlots(1, nil)
		net := func(i int) netip.Prefix {
			return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 32)
		}
		if err := s.acquire(t.Context(), net(0), true); err != nil {
			t.Fatal(err)
		}
		var order []string
		var wg sync.WaitGroup
		queue := func(name string, network netip.Prefix, preferred bool) {
			wg.Go(func() {
				if err := s.acquire(t.Context(), network, preferred); err != nil {
					t.Error(err)
				}
				order = append(order, name)
				s.release()
			})
			synctest.Wait()
		}
		for range 5 {
			queue("suspect", net(1), false)
		}
		for range 4 {
			queue("busy", net(2), true)
		}
		queue("single", net(3), true)
		s.release()
		wg.Wait()
		want := "[busy single busy suspect busy busy suspect suspect suspect suspect]"
		if got := fmt.Sprint(order); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

// A waiter that gives up keeps no slot, even if it got one at that moment.
func TestSlotsAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		freed := 0
		s := newSlots(1, func() { freed++ })
		_, network := networkOf(here)
		for range 100 {
			if err := s.acquire(t.Context(), network, true); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() {
				if s.acquire(ctx, network, true) == nil {
					s.release()
				}
			})
			synctest.Wait()
			go cancel()
			s.release()
			wg.Wait()
		}
		if s.free != 1 || len(s.queues[0]) != 0 {
			t.Errorf("%d free, %d queues", s.free, len(s.queues[0]))
		}
		time.Sleep(idleDelay + time.Second)
		synctest.Wait()
		if freed != 1 {
			t.Errorf("memory given back %d times", freed)
		}
	})
}

// A flood of guesses from many addresses takes all slots. A login from an address without wrong
// guesses is the next to be checked.
func TestFloodDelaysItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := newTest(t)
		for i := range 100 {
			a.throttle.markNetwork(netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 32))
		}
		_, own := networkOf(there)
		for range a.hashing.total {
			a.hashing.acquire(t.Context(), own, true)
		}
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() { try(a, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), fmt.Sprint("nobody", i), "x") })
		}
		wg.Go(func() {
			if _, err := try(a, here, "anna", "secret"); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		if first, others := len(a.hashing.queues[0]), len(a.hashing.queues[1]); first != 1 || others != 100 {
			t.Errorf("%d networks come first, %d after them", first, others)
		}
		for range a.hashing.total {
			a.hashing.release()
		}
		wg.Wait()
	})
}

// A directory locks accounts after some wrong passwords. A remembered password that was changed
// since is checked there only once for each login.
func TestChangedElsewhereIsAskedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, boxes, _ := newMechanisms(t)
		elsewhere := &backend{password: "secret"}
		a.Backend = func(directory.Method) Backend { return elsewhere }
		dora := addr.Address{Local: "dora", Domain: "office.example"}
		boxes.boxes["dora"] = directory.Mailbox{Address: dora, Method: "directory", Login: dora, Dir: "dora"}
		for i, want := range []error{nil, nil, ErrInvalid, ErrInvalid} {
			if i == 2 {
				elsewhere.password = "changed"
			}
			_, err := try(a, here, "dora", "secret")
			if !errors.Is(err, want) || int(elsewhere.asked.Load()) != i+1 {
				t.Errorf("login %d: %v, asked %d times", i, err, elsewhere.asked.Load())
			}
		}
	})
}
