package quota

import (
	"fmt"
	"path"
	"testing"
	"testing/synctest"
	"time"
)

// stamped is a house whose directories have stamps.
type stamped struct {
	*house
	stamps map[string]int
	fresh  bool // a change now would not change the stamp
}

func newStamped(limits map[string]Limits) (*stamped, *Ledger) {
	h, _ := newHouse(limits)
	s := &stamped{house: h, stamps: map[string]int{}}
	l := NewLedger(Options{Limits: h.limitsOf, Usage: h.usage, Members: h.members, Notify: h.notify, Stamp: s.stamp})
	return s, l
}

func (s *stamped) stamp(dir string) (any, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stamps[dir], !s.fresh
}

// set changes a mailbox by hand; nil removes it.
func (s *stamped) set(dir string, u *Usage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, was := s.boxes[dir]
	s.stamps[dir]++
	if u == nil || !was {
		s.stamps[path.Dir(dir)]++
	}
	if u == nil {
		delete(s.boxes, dir)
	} else {
		s.boxes[dir] = *u
	}
}

func TestEmptiedByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, l := newStamped(map[string]Limits{anna: {Messages: 3}})
		h.set(anna, &Usage{300, 3})
		for range 100 {
			if l.Room(anna, 1) == nil {
				t.Fatal("room in a full mailbox")
			}
			time.Sleep(time.Millisecond)
		}
		if n := h.counts[anna]; n > 2 {
			t.Errorf("a mailbox that is full and does not change was counted %d times", n)
		}
		h.set(anna, &Usage{})
		if err := l.Room(anna, 1); err != nil {
			t.Errorf("emptied: %v", err)
		}
	})
}

// TestChangeThatMayNotShow counts while a further change would leave the stamp as it is, since the
// file system's clock is coarse.
func TestChangeThatMayNotShow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, l := newStamped(map[string]Limits{anna: {Messages: 3}})
		h.set(anna, &Usage{300, 3})
		h.fresh, h.slow = true, time.Millisecond
		l.Room(anna, 1)
		h.boxes[anna] = Usage{} // without another stamp
		time.Sleep(restFactor * time.Millisecond)
		if err := l.Room(anna, 1); err != nil {
			t.Errorf("emptied: %v", err)
		}
		h.boxes[anna] = Usage{300, 3}
		for range 1000 {
			l.Room(anna, 1)
		}
		if n := h.counts[anna]; n > 60 {
			t.Errorf("counted %d times: more than a part of the time", n)
		}
	})
}

// TestDomainFollowsItsMailboxes makes and removes mailboxes without telling the ledger, as a
// selftest does.
func TestDomainFollowsItsMailboxes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, l := newStamped(map[string]Limits{office: {Messages: 100}})
		h.set(anna, &Usage{100, 1})
		if err := l.Room(anna, 1); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			h.set(boss, &Usage{})
			for range 3 {
				settle, err := l.Reserve(boss, 10)
				if err != nil {
					t.Fatal(err)
				}
				h.boxes[boss] = h.boxes[boss].Add(Usage{10, 1})
				settle(10, 1)
			}
			h.set(boss, nil)
		}
		if err := l.Room(anna, 1); err != nil {
			t.Fatal(err)
		}
		if got := l.accounts[office].used; got != (Usage{100, 1}) {
			t.Errorf("the domain holds %+v", got)
		}
		h.set(boss, &Usage{})
		all, err := l.Recount()
		if err != nil || len(all) != 1 || all[0].Before != all[0].After {
			t.Errorf("a difference is told that no delivery would have met: %+v, %v", all, err)
		}
	})
}

// TestFullDomainEmptiedByHand covers the fact that a deleted message leaves no trace in the domain's
// directory.
func TestFullDomainEmptiedByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, l := newStamped(map[string]Limits{office: {Messages: 3}})
		h.set(anna, &Usage{300, 3})
		if l.Room(anna, 1) == nil {
			t.Fatal("room in a full domain")
		}
		h.set(anna, &Usage{})
		time.Sleep(time.Millisecond)
		if err := l.Room(anna, 1); err != nil {
			t.Errorf("emptied: %v", err)
		}
	})
}

// TestAccountsAreBounded asks about more mailboxes than the ledger remembers. One has a change in
// progress, and one is full.
func TestAccountsAreBounded(t *testing.T) {
	h, l := newHouse(map[string]Limits{anna: {Messages: 5}, boss: {Messages: 1}})
	h.boxes[boss] = Usage{1, 1}
	settle, err := l.Reserve(anna, 1)
	if err != nil || l.Room(boss, 1) == nil {
		t.Fatal(err)
	}
	for i := range 3 * maxAccounts {
		dir := fmt.Sprintf("mailbox/d.example/P3_%d.mbx", i)
		h.limits[dir] = Limits{Messages: 5}
		if err := l.Room(dir, 1); err != nil {
			t.Fatal(err)
		}
		delete(h.limits, dir)
	}
	if n := len(l.accounts); n > maxAccounts {
		t.Errorf("%d accounts", n)
	}
	a := l.accounts[anna]
	if settle(1, 1); a == nil || a.used != (Usage{1, 1}) || l.accounts[boss] == nil {
		t.Errorf("an account with a change under way, or one that is full, was dropped: %+v", a)
	}
	gone := newAccount(anna, false, &l.epoch)
	gone.evicted = true
	l.accounts[anna] = gone
	go func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.accounts[anna] = a
	}()
	if p := l.lock(anna, true, false); p.box != a {
		t.Error("a change begins in an account that was dropped")
	} else {
		p.unlock()
	}
}

// TestForgetWaitsForNoCount covers a count that waits for the caller of Forget; its result is
// forgotten too.
func TestForgetWaitsForNoCount(t *testing.T) {
	h, l := newHouse(map[string]Limits{anna: {Messages: 5}})
	counting, forgotten := make(chan struct{}), make(chan struct{})
	usage := l.opts.Usage
	l.opts.Usage = func(dir string) (Usage, error) {
		close(counting)
		<-forgotten
		return usage(dir)
	}
	asked := make(chan error, 1)
	go func() { asked <- l.Room(anna, 1) }()
	<-counting
	l.Forget()
	close(forgotten)
	if err := <-asked; err != nil {
		t.Fatal(err)
	}
	l.opts.Usage = usage
	h.boxes[anna] = Usage{1, 5}
	if err := l.Room(anna, 1); err == nil {
		t.Error("a count that began before Forget is still believed")
	}
}
