package ldap

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	ldapv3 "github.com/go-ldap/ldap/v3"

	"pillarbox/mailstore/addr"
)

var anna = Login{User: "anna", Domain: "office.example"}

func mustParse(t *testing.T, s string) addr.Address {
	t.Helper()
	a, err := addr.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// never turns the cache off, so that each lookup is a question.
func never(c *Config) { c.Fresh, c.FreshPasswords, c.Stale = 1, 1, 1 }

func TestDeadServerCostsOnce(t *testing.T) {
	for _, state := range []string{"refused", "blackhole", "hanging"} {
		t.Run(state, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				d, log := w.office(t, never)
				w.set("one", state)
				find := func() time.Duration {
					t.Helper()
					began := time.Now()
					if p, err := d.Find(t.Context(), anna); err != nil || p.Mailbox.String() != "anna@office.example" {
						t.Fatalf("Find says %v, %v", p, err)
					}
					return time.Since(began)
				}
				if took := find(); took > DefaultTimeout+time.Second {
					t.Errorf("the first look-up took %v", took)
				}
				for range 100 {
					time.Sleep(time.Second)
					if took := find(); took > 0 {
						t.Fatalf("a later look-up took %v", took)
					}
				}
				synctest.Wait()
				// 1, 2, 4, 8, 16 s, then every half minute.
				if n := w.dialed("one"); n < 5 || n > 10 {
					t.Errorf("the dead server was tried %d times", n)
				}
				if n := strings.Count(log.String(), "directory server down"); n != 1 {
					t.Errorf("%d lines say that it is down:\n%s", n, log)
				}
				w.set("one", "up")
				time.Sleep(time.Minute)
				find()
				time.Sleep(time.Second)
				if n := strings.Count(log.String(), "up again"); n != 1 {
					t.Errorf("%d lines say that it is up:\n%s", n, log)
				}
				for _, s := range d.Servers() {
					if s.Down {
						t.Errorf("%s is down: %v", s.URL, s.Failure)
					}
				}
				d.Close()
			})
		})
	}
}

func TestAllServersDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		d, _ := w.office(t, never)
		w.set("one", "blackhole")
		w.set("two", "hanging")
		began := time.Now()
		_, err := d.Find(t.Context(), anna)
		if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "ldap://one: ") || !strings.Contains(err.Error(), "ldap://two: ") {
			t.Errorf("Find says %v", err)
		}
		if took := time.Since(began); took > 2*DefaultTimeout+time.Second {
			t.Errorf("it took %v", took)
		}
		if all := d.Servers(); !all[0].Down || !all[1].Down {
			t.Errorf("the servers are %v", all)
		}
		w.set("two", "up")
		time.Sleep(longPause)
		if _, err := d.Find(t.Context(), anna); err != nil {
			t.Errorf("Find says %v when one is back", err)
		}
		d.Close()
	})
}

func TestDroppedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		d, log := w.office(t, never)
		for range 3 {
			if _, err := d.Check(t.Context(), anna, "secret"); err != nil {
				t.Fatal(err)
			}
			w.cut()
			time.Sleep(time.Second)
		}
		if log.String() != "" {
			t.Errorf("it is logged:\n%s", log)
		}
		d.Close()
	})
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		d, _ := w.office(t, never)
		for range 10 {
			time.Sleep(time.Second)
			if _, err := d.Check(t.Context(), anna, "secret"); err != nil {
				t.Fatal(err)
			}
		}
		if n := w.dialed("one"); n != 2 {
			t.Errorf("%d connections were made", n)
		}
		time.Sleep(2 * maxIdleTime)
		if _, err := d.Find(t.Context(), anna); err != nil {
			t.Fatal(err)
		}
		if n := w.dialed("one"); n != 3 {
			t.Errorf("%d connections were made: an old one must not be used", n)
		}
		// A connection that was bound as a user must not search: each search used the
		// search account.
		binds, searches := w.counts()
		if binds != 10+2 || searches != 11 {
			t.Errorf("%d binds, %d searches", binds, searches)
		}
		d.Close()
	})
}

func TestSearchingAccountIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		d, log := w.office(t, never)
		w.password["cn=search"] = "another"
		for range 20 {
			_, err := d.Check(t.Context(), anna, "secret")
			if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrInvalid) {
				t.Fatalf("Check says %v", err)
			}
		}
		if binds, _ := w.counts(); binds != 2 { // more might lock the account out
			t.Errorf("%d attempts to log in", binds)
		}
		if !strings.Contains(log.String(), "login as cn=search: the directory refuses the password") {
			t.Errorf("the log says:\n%s", log)
		}
		d.Close()
	})
}

func TestBusyServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		d, _ := w.office(t, never)
		w.refuse["uid=anna,dc=office"] = ldapv3.Error{ResultCode: ldapv3.LDAPResultBusy, Err: errors.New("later")}
		if _, err := d.Check(t.Context(), anna, "secret"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Check says %v", err)
		}
		if w.dialed("two") == 0 {
			t.Error("the other server was not asked")
		}
		d.Close()
	})
}

func TestCallerGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		d, _ := w.office(t, nil)
		w.slow = 3 * time.Second
		ctx, cancel := timeout(t, time.Second)
		defer cancel()
		if _, err := d.Find(ctx, anna); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Find says %v", err)
		}
		time.Sleep(3 * time.Second)
		began := time.Now()
		if _, err := d.Find(t.Context(), anna); err != nil || time.Since(began) > 0 {
			t.Errorf("Find says %v after %v: the answer came meanwhile", err, time.Since(began))
		}
		d.Close()
	})
}
