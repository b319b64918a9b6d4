package ldap

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func timeout(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

func TestPasswordsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		d, _ := w.office(t, nil)
		check := func(what, password string, want error) {
			t.Helper()
			_, err := d.Check(t.Context(), anna, password)
			if !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Errorf("%s: %v, not %v", what, err, want)
			}
		}
		asked := func(what string, want int) {
			t.Helper()
			if binds, _ := w.counts(); binds != want {
				t.Errorf("%s: %d binds, not %d", what, binds, want)
			}
		}
		check("right", "secret", nil)
		asked("the searching account and the user", 2)
		check("again", "secret", nil)
		asked("again", 2)
		check("wrong", "wrong", ErrInvalid)
		check("wrong again", "wrong", ErrInvalid)
		asked("a wrong one is asked about each time", 4)
		check("right after a wrong one", "secret", nil)
		asked("a wrong one does not drive out the right one", 4)

		w.person("anna", "changed")
		check("the new one works at once", "changed", nil)
		check("and the old one no longer", "secret", ErrInvalid)

		w.person("anna", "again")
		check("nobody has used the new one yet", "changed", nil)
		time.Sleep(DefaultFreshPasswords)
		check("the old one is at an end", "changed", ErrInvalid)
		w.set("one", "refused")
		w.set("two", "refused")
		w.cut()
		time.Sleep(2 * time.Second)
		check("what was refused does not come back when the directory is down", "changed", ErrUnavailable)
		d.Close()
	})
}

func TestDirectoryDownForHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		d, _ := w.office(t, nil)
		a := mustParse(t, "anna@office.example")
		w.person("bert", "other")
		if _, err := d.Check(t.Context(), anna, "secret"); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Address(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Address(t.Context(), mustParse(t, "new@office.example")); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		w.set("one", "blackhole")
		w.set("two", "blackhole")
		w.cut()
		time.Sleep(5 * time.Minute)
		for range 2 {
			if p, err := d.Check(t.Context(), anna, "secret"); err != nil || p.Mailbox != a {
				t.Errorf("Check says %v, %v", p, err)
			}
			if p, err := d.Find(t.Context(), anna); err != nil || p.Mailbox != a {
				t.Errorf("Find says %v, %v", p, err)
			}
			if p, err := d.Address(t.Context(), a); err != nil || p.Mailbox != a {
				t.Errorf("Address says %v, %v", p, err)
			}
			time.Sleep(7 * time.Hour)
		}
		if _, err := d.Check(t.Context(), anna, "wrong"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Check says %v of a wrong password", err)
		}
		if _, err := d.Check(t.Context(), Login{"bert", "office.example"}, "other"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Check says %v of one who was not here yet", err)
		}
		if _, err := d.Address(t.Context(), mustParse(t, "new@office.example")); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Address says %v of one who was nobody", err)
		}
		time.Sleep(time.Hour)
		if _, err := d.Check(t.Context(), anna, "secret"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Check says %v after a day", err)
		}
		if _, err := d.Address(t.Context(), a); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Address says %v after a day", err)
		}
		w.set("one", "up")
		time.Sleep(time.Minute)
		if _, err := d.Check(t.Context(), anna, "secret"); err != nil {
			t.Errorf("Check says %v when it is up again", err)
		}
		d.Close()
	})
}

func TestNobodyIsKeptShortly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		d, _ := w.office(t, nil)
		bert := mustParse(t, "bert@office.example")
		nobody := func(what string, want error) {
			t.Helper()
			if _, err := d.Address(t.Context(), bert); !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Errorf("%s: %v, not %v", what, err, want)
			}
		}
		nobody("unknown", ErrNotFound)
		w.person("bert", "x")
		nobody("still", ErrNotFound)
		time.Sleep(negativeTTL)
		nobody("known", nil)
		w.remove("bert")
		nobody("for a minute", nil)
		time.Sleep(DefaultFresh)
		nobody("gone", ErrNotFound)

		// While the directory does not answer, "not found" is not used from the cache.
		w.set("one", "refused")
		w.set("two", "refused")
		w.cut()
		if _, err := d.Find(t.Context(), anna); !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
		nobody("not known now", ErrUnavailable)
		d.Close()
	})
}

func TestSameQuestionsAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		d, _ := w.office(t, nil)
		w.slow = time.Second
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := d.Find(t.Context(), anna); err != nil {
					t.Error(err)
				}
				if _, err := d.Check(t.Context(), anna, "secret"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		// One search for Find, and one for Check, which does not use the cache.
		if binds, searches := w.counts(); searches != 2 || binds > 3 {
			t.Errorf("%d searches, %d binds", searches, binds)
		}
		d.Close()
	})
}

func TestManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		d, _ := w.office(t, nil)
		w.slow = time.Second
		for i := range 100 {
			w.person(fmt.Sprint("user", i), "x")
		}
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				if _, err := d.Find(t.Context(), Login{fmt.Sprint("user", i), "office.example"}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if w.peak != maxConnections {
			t.Errorf("%d connections were in use at once", w.peak)
		}
		if n := w.dialed("one"); n > 80 { // who comes when a connection is just being put back opens another
			t.Errorf("%d connections for 100 searches", n)
		}
		d.Close()
	})
}

func TestMemoryIsBounded(t *testing.T) {
	var k cache[found]
	for i := range 3 * maxCached {
		k.put(fmt.Sprint(i), found{})
	}
	if len(k.all) > maxCached {
		t.Errorf("%d answers are kept", len(k.all))
	}
	if _, ok := k.get(fmt.Sprint(3*maxCached - 1)); !ok {
		t.Error("the last one is not among them")
	}
	for i := range 100 { // one that is there drives out none
		before := len(k.all)
		if k.put(fmt.Sprint(3*maxCached-1), found{missing: i%2 == 0}); len(k.all) != before {
			t.Fatal("an answer is lost")
		}
	}
}

func TestClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if recent(time.Now().Add(time.Hour).Round(0), time.Minute) {
			t.Error("an answer from the future is recent")
		}
	})
}

func TestRefusedAndUnknownTakeTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		d, _ := w.office(t, nil)
		w.slow = 30 * time.Millisecond
		for _, test := range []struct {
			login    Login
			password string
		}{
			{anna, "wrong"}, {anna, ""}, {anna, "\x00secret"}, {Login{"nobody", "office.example"}, "x"}, {Login{"", ""}, "x"}, {Login{"no\nbody", "office.example"}, "x"},
		} {
			began := time.Now()
			if _, err := d.Check(t.Context(), test.login, test.password); !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrNotFound) {
				t.Errorf("Check says %v", err)
			}
			if took := time.Since(began); took != 250*time.Millisecond {
				t.Errorf("%v with %q took %v", test.login, test.password, took)
			}
		}
		for _, name := range w.binds {
			if name == "" {
				t.Error("an unauthenticated bind")
			}
		}
		d.Close()
	})
}

// A panic in a lookup is an unanswered question, for all callers that wait for it.
func TestPanicIsContained(t *testing.T) {
	w := newWorld()
	d, log := w.office(t, nil)
	for range 2 {
		_, err := share(t.Context(), d, "x", func(context.Context) (Person, error) { panic("what is this entry?") })
		if !errors.Is(err, ErrUnavailable) {
			t.Error(err)
		}
	}
	if text := log.String(); !strings.Contains(text, "what is this entry?") {
		t.Error(text)
	}
}
