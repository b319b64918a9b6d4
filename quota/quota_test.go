package quota

import (
	"errors"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const (
	office = "mailbox/office.example"
	anna   = office + "/P3_anna.mbx"
	boss   = office + "/P3_boss.mbx"
)

// house holds the mailboxes that a test fills and counts, their limits, and the ledger's events.
type house struct {
	mu     sync.Mutex
	limits map[string]Limits // by directory, of mailboxes and domains
	boxes  map[string]Usage
	counts map[string]int
	asked  int // for limits
	events []Event
	err    error
	slow   time.Duration // of each count
}

func newHouse(limits map[string]Limits) (*house, *Ledger) {
	h := &house{limits: limits, boxes: map[string]Usage{}, counts: map[string]int{}}
	return h, NewLedger(Options{Limits: h.limitsOf, Usage: h.usage, Members: h.members, Notify: h.notify})
}

func (h *house) limitsOf(dir string) (Limits, Limits, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked++
	return h.limits[dir], h.limits[path.Dir(dir)], nil
}

func (h *house) usage(dir string) (Usage, error) {
	time.Sleep(h.slow)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts[dir]++
	return h.boxes[dir], h.err
}

func (h *house) members(domain string) ([]string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts[domain]++
	var all []string
	for dir := range h.boxes {
		if path.Dir(dir) == domain {
			all = append(all, dir)
		}
	}
	return all, nil
}

func (h *house) notify(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
}

// add puts messages into a mailbox, or takes them away, and returns what is in it and in its
// domain.
func (h *house) add(dir string, more Usage) (box, domain Usage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.boxes[dir] = h.boxes[dir].Add(more)
	for other, held := range h.boxes {
		if path.Dir(other) == path.Dir(dir) {
			domain = domain.Add(held)
		}
	}
	return h.boxes[dir], domain
}

func (h *house) limit(dir string, l Limits) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.limits[dir] = l
}

func mustReserve(t *testing.T, l *Ledger, dir string, bytes int64) func(int64, int) {
	t.Helper()
	settle, err := l.Reserve(dir, bytes)
	if err != nil {
		t.Fatalf("Reserve(%s, %d): %v", dir, bytes, err)
	}
	return settle
}

func wantRoom(t *testing.T, l *Ledger, dir string, bytes int64, want bool) {
	t.Helper()
	err := l.Room(dir, bytes)
	if over, ok := errors.AsType[*Error](err); err != nil && (!ok || !over.OverQuota()) {
		t.Fatalf("Room(%s, %d): %v, want an *Error", dir, bytes, err)
	}
	if got := err == nil; got != want {
		t.Fatalf("room in %s for %d: %v, want %v (%v)", dir, bytes, got, want, err)
	}
}

// store delivers a message to both the ledger and the house.
func (h *house) store(t *testing.T, l *Ledger, dir string, bytes int64) {
	t.Helper()
	settle := mustReserve(t, l, dir, bytes)
	h.add(dir, Usage{bytes, 1})
	settle(bytes, 1)
}

// remove deletes messages.
func (h *house) remove(l *Ledger, dir string, bytes int64, messages int) {
	settle := l.Release(dir)
	h.add(dir, Usage{-bytes, -int64(messages)})
	settle(-bytes, -messages)
}

// told are the events since the last call, each as "warning anna bytes".
func (h *house) told() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var words []string
	for _, e := range h.events {
		name := map[string]string{anna: "anna", boss: "boss", office: "office"}[e.Dir]
		words = append(words, string(e.Kind)+" "+name+" "+string(e.Resource))
	}
	h.events = nil
	return strings.Join(words, ", ")
}

func (h *house) wantTold(t *testing.T, want string) {
	t.Helper()
	if got := h.told(); got != want {
		t.Fatalf("told %q, want %q", got, want)
	}
}

func TestReserveSettleRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, l := newHouse(map[string]Limits{boss: {Bytes: 100}})
		h.add(boss, Usage{60, 1})

		wantRoom(t, l, boss, 40, true)
		first := mustReserve(t, l, boss, 30)
		wantRoom(t, l, boss, 11, false)
		second := mustReserve(t, l, boss, 10)
		wantRoom(t, l, boss, 1, false)
		wantRoom(t, l, boss, 0, true)

		second(0, 0) // the delivery failed
		wantRoom(t, l, boss, 10, true)
		h.add(boss, Usage{30, 1})
		first(30, 1)
		wantRoom(t, l, boss, 10, true)
		wantRoom(t, l, boss, 11, false)

		gone := l.Release(boss)
		wantRoom(t, l, boss, 11, false)
		h.add(boss, Usage{-60, -1})
		gone(-60, -1)
		wantRoom(t, l, boss, 70, true)
		wantRoom(t, l, boss, 71, false)
		if h.counts[boss] != 2 { // the first, and one because the first is in doubt
			t.Errorf("the mailbox was counted %d times, want twice", h.counts[boss])
		}
	})
}

// Each limit refuses messages, and the error names it.
func TestLimits(t *testing.T) {
	const MB = 1_000_000
	for name, tt := range map[string]struct {
		box, domain Limits
		held, other Usage // in anna's mailbox, and in another of the domain
		size        int64
		want        string // the error, "" for none
	}{
		"none":                {held: Usage{1 << 60, 1 << 60}, size: 1 << 60},
		"bytes fit":           {box: Limits{Bytes: 10 * MB}, held: Usage{9 * MB, 5}, size: MB},
		"bytes":               {box: Limits{Bytes: 10 * MB}, held: Usage{9 * MB, 5}, size: MB + 1, want: "quota exceeded: " + anna + " holds 9MB of 10MB, no room for 1000001B more"},
		"messages fit":        {box: Limits{Messages: 6}, held: Usage{9 * MB, 5}, size: 1 << 60},
		"messages":            {box: Limits{Messages: 5}, held: Usage{9 * MB, 5}, want: "quota exceeded: " + anna + " holds 5 messages of 5 messages, no room for 1 message more"},
		"over by hand":        {box: Limits{Bytes: MB}, held: Usage{2 * MB, 5}, want: "quota exceeded: " + anna + " holds 2MB of 1MB, no room for 0 more"},
		"domain fits":         {domain: Limits{Bytes: 10 * MB}, held: Usage{MB, 1}, other: Usage{8 * MB, 1}, size: MB},
		"domain bytes":        {domain: Limits{Bytes: 10 * MB}, held: Usage{MB, 1}, other: Usage{9 * MB, 1}, size: MB, want: "quota exceeded: " + office + " holds 10MB of 10MB, no room for 1MB more"},
		"domain messages":     {domain: Limits{Messages: 2}, held: Usage{MB, 1}, other: Usage{0, 1}, want: "quota exceeded: " + office + " holds 2 messages of 2 messages, no room for 1 message more"},
		"the mailbox's first": {box: Limits{Messages: 1}, domain: Limits{Messages: 1}, held: Usage{1, 1}, want: "quota exceeded: " + anna + " holds 1 message of 1 message, no room for 1 message more"},
		"warnings alone":      {box: Limits{WarnBytes: 1, WarnMessages: 1}, domain: Limits{WarnBytes: 1}, held: Usage{MB, 1}, size: MB},
		"huge":                {box: Limits{Bytes: 1 << 62}, held: Usage{1 << 61, 1}, size: 1<<63 - 1, want: "quota exceeded: " + anna + " holds 2097152TiB of 4194304TiB, no room for 9223372036854775807B more"},
	} {
		t.Run(name, func(t *testing.T) {
			h, l := newHouse(map[string]Limits{anna: tt.box, office: tt.domain})
			h.add(anna, tt.held)
			h.add(boss, tt.other)
			got := ""
			if err := l.Room(anna, tt.size); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if h.asked != 1 {
				t.Errorf("asked %d times for the limits", h.asked)
			}
		})
	}
}

// A mailbox without a limit is not counted and has no account.
func TestNoLimit(t *testing.T) {
	h, l := newHouse(map[string]Limits{boss: {Bytes: 1000}})
	h.store(t, l, anna, 1<<60)
	wantRoom(t, l, anna, 1<<62, true)
	h.remove(l, anna, 1, 1)
	h.store(t, l, boss, 1000)
	if h.counts[anna] != 0 || h.counts[office] != 0 || len(l.accounts) != 1 {
		t.Errorf("counted %v, %d accounts", h.counts, len(l.accounts))
	}
}

// A domain's limit covers the changes of all its mailboxes, including those without limits.
func TestDomain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, l := newHouse(map[string]Limits{office: {Bytes: 100}, anna: {Bytes: 80}})
		h.add(anna, Usage{10, 1})
		h.store(t, l, anna, 30)
		h.store(t, l, boss, 50)
		wantRoom(t, l, boss, 11, false)
		wantRoom(t, l, anna, 10, true)
		refused := mustReserve(t, l, boss, 10)
		wantRoom(t, l, anna, 1, false)
		refused(0, 0)
		h.remove(l, boss, 50, 1)
		wantRoom(t, l, boss, 60, true)
		wantRoom(t, l, boss, 61, false)
		wantRoom(t, l, anna, 41, false) // its own
	})
}

func TestErrorsAreHandedOn(t *testing.T) {
	broken := errors.New("broken")
	h, l := newHouse(map[string]Limits{boss: {Bytes: 1}})
	h.err = broken
	if err := l.Room(boss, 1); !errors.Is(err, broken) {
		t.Errorf("Room with an uncountable mailbox: %v", err)
	}
	if all, err := l.Recount(); err != nil || len(all) != 0 {
		t.Errorf("Recount of what was never counted: %v, %v", all, err)
	}
	h.err = nil
	wantRoom(t, l, boss, 1, true)
	h.err = broken
	if all, err := l.Recount(); !errors.Is(err, broken) || len(all) != 0 {
		t.Errorf("Recount of what cannot be counted: %v, %v", all, err)
	}
	l = NewLedger(Options{Limits: func(string) (Limits, Limits, error) { return Limits{}, Limits{}, broken }})
	if _, err := l.Reserve(boss, 1); !errors.Is(err, broken) {
		t.Errorf("Reserve with an unknown limit: %v", err)
	}
}

func TestCountsAgain(t *testing.T) {
	for name, limited := range map[string]string{"mailbox": boss, "domain": office} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, l := newHouse(map[string]Limits{limited: {Bytes: 100}})
				h.add(boss, Usage{100, 1})
				wantRoom(t, l, boss, 1, false)
				wantRoom(t, l, boss, 1, false)
				h.add(boss, Usage{-50, 0}) // deleted by hand
				wantRoom(t, l, boss, 1, false)
				time.Sleep(refuseFor)
				wantRoom(t, l, boss, 50, true)

				h.add(boss, Usage{50, 1}) // put in by hand
				wantRoom(t, l, boss, 50, true)
				time.Sleep(trustFor)
				wantRoom(t, l, boss, 1, false)
			})
		})
	}
}

// A mailbox that another process adds to a domain or removes from it is noticed.
func TestMembersChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, l := newHouse(map[string]Limits{office: {Bytes: 100}})
		h.add(boss, Usage{50, 1})
		wantRoom(t, l, boss, 50, true)
		h.add(anna, Usage{50, 1})
		time.Sleep(trustFor)
		wantRoom(t, l, boss, 1, false)
		delete(h.boxes, anna)
		time.Sleep(refuseFor)
		wantRoom(t, l, boss, 50, true)
	})
}

// A mailbox that takes long to count is counted less often.
func TestSlowCountsAreRare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, l := newHouse(map[string]Limits{office: {Bytes: 100}})
		h.add(boss, Usage{100, 1})
		h.slow = 3 * time.Second
		for start := time.Now(); time.Since(start) < 10*time.Minute; time.Sleep(time.Second) {
			wantRoom(t, l, boss, 1, false)
		}
		if n := h.counts[office]; n < 5 || n > 11 {
			t.Errorf("counted %d times in ten minutes, each for 3 seconds", n)
		}
	})
}

// A count during a change must not err in the mailbox's favour.
func TestCountDuringChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, l := newHouse(map[string]Limits{boss: {Bytes: 100}})
		h.add(boss, Usage{50, 1})
		delivery := mustReserve(t, l, boss, 20)
		deletion := l.Release(boss)
		h.add(boss, Usage{-50, -1}) // unlinked, not yet settled
		h.add(boss, Usage{20, 1})   // linked, not yet settled
		if _, err := l.Recount(); err != nil {
			t.Fatal(err)
		}
		wantRoom(t, l, boss, 60, true)
		wantRoom(t, l, boss, 61, false) // 20 counted, 20 reserved
		deletion(-50, -1)
		wantRoom(t, l, boss, 61, false)
		delivery(20, 1)
		wantRoom(t, l, boss, 80, true) // no change in progress: counted again
		wantRoom(t, l, boss, 81, false)
	})
}

// A limit is set while the server runs, or removed and set again.
func TestLimitComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, l := newHouse(map[string]Limits{})
		under := mustReserve(t, l, boss, 20) // unlimited, so not announced
		h.limit(boss, Limits{Bytes: 100})
		wantRoom(t, l, boss, 100, true)
		h.add(boss, Usage{20, 1})
		under(20, 1)
		time.Sleep(refuseFor) // the first count is no longer valid
		wantRoom(t, l, boss, 81, false)

		h.limit(boss, Limits{})
		h.store(t, l, boss, 50)
		h.limit(boss, Limits{Bytes: 100})
		wantRoom(t, l, boss, 31, false)
		wantRoom(t, l, boss, 30, true)
	})
}

func TestRecount(t *testing.T) {
	h, l := newHouse(map[string]Limits{boss: {Bytes: 100}, office: {Bytes: 1000}})
	h.store(t, l, anna, 10)
	h.store(t, l, boss, 20)
	h.add(boss, Usage{70, 3})
	got, err := l.Recount()
	want := []Recount{
		{Dir: office, Domain: true, Before: Usage{30, 2}, After: Usage{100, 5}},
		{Dir: boss, Before: Usage{20, 1}, After: Usage{90, 4}},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	wantRoom(t, l, boss, 11, false)
}

// A count during a deletion may be too high. That is known, and no difference to report.
func TestRecountDuringDeletion(t *testing.T) {
	h, l := newHouse(map[string]Limits{anna: {Bytes: 100}})
	h.store(t, l, anna, 10)
	h.store(t, l, anna, 20)
	settle := l.Release(anna)
	if _, err := l.Recount(); err != nil {
		t.Fatal(err)
	}
	h.add(anna, Usage{-20, -1})
	settle(-20, -1)
	got, err := l.Recount()
	want := []Recount{{Dir: anna, Before: Usage{10, 1}, After: Usage{10, 1}}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	h.add(anna, Usage{-10, -1}) // by hand
	if got, err = l.Recount(); err != nil || got[0].Before != (Usage{10, 1}) || got[0].After != (Usage{}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// A deletion may have begun before the mailbox had an account. The first count may then be too high,
// which is known: the ledger counts again before it refuses a message, and reports no difference.
func TestFirstCountDuringDeletion(t *testing.T) {
	h, l := newHouse(map[string]Limits{anna: {Messages: 1}})
	h.add(anna, Usage{10, 1})
	settle := l.Release(anna) // nobody has asked for the mailbox yet
	wantRoom(t, l, anna, 10, false)
	h.add(anna, Usage{-10, -1})
	settle(-10, -1)
	got, err := l.Recount()
	if want := []Recount{{Dir: anna}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	wantRoom(t, l, anna, 10, true)
}

// A warning is sent when its level is reached, and again only after usage was below it.
func TestWarnings(t *testing.T) {
	h, l := newHouse(map[string]Limits{
		anna: {Bytes: 100, WarnBytes: 90, WarnMessages: 10}, office: {WarnBytes: 150},
	})
	h.store(t, l, anna, 89)
	h.wantTold(t, "")
	h.store(t, l, anna, 1)
	h.wantTold(t, "warning anna bytes")
	h.store(t, l, anna, 1)
	h.remove(l, anna, 1, 1)
	h.wantTold(t, "")
	h.remove(l, anna, 1, 1)
	h.store(t, l, anna, 1)
	h.wantTold(t, "warning anna bytes")
	h.remove(l, anna, 80, 0)
	for range 8 {
		h.store(t, l, anna, 1)
	}
	h.wantTold(t, "warning anna messages")
	h.store(t, l, boss, 140)
	h.wantTold(t, "warning office bytes")
	h.remove(l, anna, 10, 1)
	h.wantTold(t, "")
	h.limit(anna, Limits{WarnMessages: 5}) // lowered
	wantRoom(t, l, anna, 1, true)
	h.wantTold(t, "warning anna messages")
}

// After a start it is unknown which warnings were sent before, and none is repeated.
func TestNoWarningAtStart(t *testing.T) {
	h, l := newHouse(map[string]Limits{anna: {WarnBytes: 90}})
	h.add(anna, Usage{95, 1})
	h.store(t, l, anna, 1)
	h.wantTold(t, "")
	h.remove(l, anna, 90, 1)
	h.store(t, l, anna, 90)
	h.wantTold(t, "warning anna bytes")
}

// A full mailbox is reported once, until it has more room again.
func TestFull(t *testing.T) {
	h, l := newHouse(map[string]Limits{anna: {Bytes: 100, WarnBytes: 90}, boss: {Messages: 2}, office: {Messages: 7}})
	h.store(t, l, anna, 80)
	wantRoom(t, l, anna, 101, false) // fits into no mailbox of this size
	h.wantTold(t, "")
	wantRoom(t, l, anna, 21, false)
	h.wantTold(t, "full anna bytes")
	h.store(t, l, anna, 1)
	wantRoom(t, l, anna, 21, false)
	h.wantTold(t, "")
	h.store(t, l, anna, 18)
	h.wantTold(t, "warning anna bytes")
	h.remove(l, anna, 5, 1) // not below the warning
	wantRoom(t, l, anna, 21, false)
	h.wantTold(t, "")
	h.remove(l, anna, 5, 0)
	h.remove(l, anna, 5, 1)
	wantRoom(t, l, anna, 21, false)
	h.wantTold(t, "full anna bytes")

	h.store(t, l, boss, 1)
	h.store(t, l, boss, 1)
	wantRoom(t, l, boss, 1, false)
	wantRoom(t, l, boss, 1, false)
	h.wantTold(t, "full boss messages")
	h.remove(l, boss, 1, 1)
	h.store(t, l, boss, 1)
	wantRoom(t, l, boss, 1, false)
	h.wantTold(t, "full boss messages")
	h.limit(boss, Limits{Messages: 3}) // raised
	h.store(t, l, boss, 1)
	wantRoom(t, l, boss, 1, false)
	h.wantTold(t, "full boss messages")

	for range 3 {
		h.store(t, l, office+"/P3_carla.mbx", 1)
	}
	wantRoom(t, l, office+"/P3_carla.mbx", 1, false)
	h.wantTold(t, "full office messages")
}

// The hook may ask the ledger: no lock is held.
func TestNotifyHoldsNoLock(t *testing.T) {
	h, _ := newHouse(map[string]Limits{anna: {Bytes: 100, WarnBytes: 1}, office: {WarnBytes: 1}})
	var l *Ledger
	told := 0
	l = NewLedger(Options{Limits: h.limitsOf, Usage: h.usage, Members: h.members, Notify: func(e Event) {
		told++
		_ = l.Room(anna, 0)
		l.Release(anna)(0, 0)
	}})
	h.store(t, l, anna, 100)
	if told != 2 {
		t.Errorf("told %d times", told)
	}
}

// crowd runs many deliveries, failing ones, deletions and recounts at once, and returns the
// mailboxes and domains that exceeded a limit.
func crowd(t *testing.T, h *house, l *Ledger, boxes []string) {
	check := func(dir string, held Usage) {
		lim := h.limits[dir]
		if lim.Bytes > 0 && held.Bytes > lim.Bytes || lim.Messages > 0 && held.Messages > lim.Messages {
			t.Errorf("%s holds %+v of %+v", dir, held, lim)
		}
	}
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for range 200 {
				dir, size := boxes[rand.IntN(len(boxes))], rand.Int64N(900)
				settle, err := l.Reserve(dir, size)
				switch {
				case err != nil:
					settle := l.Release(dir)
					gone := h.take(dir)
					settle(-gone.Bytes, -int(gone.Messages))
				case size%7 == 0:
					settle(0, 0)
				default:
					box, domain := h.add(dir, Usage{size, 1})
					check(dir, box)
					check(path.Dir(dir), domain)
					settle(size, 1)
				}
				if size%97 == int64(i) {
					if _, err := l.Recount(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
}

// take deletes about half of what a mailbox holds.
func (h *house) take(dir string) Usage {
	h.mu.Lock()
	defer h.mu.Unlock()
	held := h.boxes[dir]
	gone := Usage{held.Bytes / 2, held.Messages / 2}
	h.boxes[dir] = Usage{held.Bytes - gone.Bytes, held.Messages - gone.Messages}
	return gone
}

// TestNeverExceeded checks that no limit is exceeded by concurrent changes. When all are settled,
// the room left is exact to the byte.
func TestNeverExceeded(t *testing.T) {
	carla := "mailbox/second.example/P3_carla.mbx"
	h, l := newHouse(map[string]Limits{
		anna: {Bytes: 10_000, WarnBytes: 9_000}, boss: {Messages: 20},
		office: {Bytes: 14_000, Messages: 35}, path.Dir(carla): {Bytes: 5_000, WarnMessages: 3},
	})
	crowd(t, h, l, []string{anna, boss, office + "/P3_david.mbx", carla})
	if _, err := l.Recount(); err != nil {
		t.Fatal(err)
	}
	for dir, a := range l.accounts {
		truth := h.boxes[dir]
		if a.domain {
			for box, held := range h.boxes {
				if path.Dir(box) == dir {
					truth = truth.Add(held)
				}
			}
		}
		if a.used != truth || a.reserved != (Usage{}) || a.pending != 0 {
			t.Errorf("%s: used %+v, want %+v; reserved %+v, %d changes", dir, a.used, truth, a.reserved, a.pending)
		}
	}
}

// TestSumsRightWithoutRecount checks that after settle the accounts agree with the mailboxes even
// without a new count.
func TestSumsRightWithoutRecount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, l := newHouse(map[string]Limits{anna: {Bytes: 50_000}, boss: {Messages: 1000}, office: {Bytes: 1 << 40}})
		h.store(t, l, anna, 1)
		h.store(t, l, boss, 1)
		time.Sleep(2 * refuseFor) // the first count is repeated
		wantRoom(t, l, anna, 1, true)
		wantRoom(t, l, boss, 1, true)
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				for range 100 {
					dir, size := []string{anna, boss}[rand.IntN(2)], rand.Int64N(900)
					if settle, err := l.Reserve(dir, size); err == nil {
						h.add(dir, Usage{size, 1})
						settle(size, 1)
					}
					if size%5 == 0 {
						settle := l.Release(dir)
						gone := h.take(dir)
						settle(-gone.Bytes, -int(gone.Messages))
					}
				}
			})
		}
		wg.Wait()
		sum := h.boxes[anna].Add(h.boxes[boss])
		for dir, want := range map[string]Usage{anna: h.boxes[anna], boss: h.boxes[boss], office: sum} {
			if a := l.accounts[dir]; a.used != want || a.counts != 2 {
				t.Errorf("%s: %+v after %d counts, want %+v after 2", dir, a.used, a.counts, want)
			}
		}
	})
}

// New is the ledger of one limit in bytes.
func TestPercent(t *testing.T) {
	for _, tt := range []struct {
		limits Limits
		used   Usage
		want   int
	}{
		{Limits{}, Usage{5, 5}, 0},
		{Limits{Bytes: 1000}, Usage{999, 5}, 99},
		{Limits{Bytes: 1000}, Usage{1000, 5}, 100},
		{Limits{Bytes: 1000, Messages: 4}, Usage{10, 3}, 75},
		{Limits{Bytes: 1}, Usage{1 << 62, 3}, 1<<31 - 1},
	} {
		if got := tt.limits.Percent(tt.used); got != tt.want {
			t.Errorf("%+v of %+v: %d %%, want %d", tt.used, tt.limits, got, tt.want)
		}
	}
}

func BenchmarkReserve(b *testing.B) {
	free := func(string) (Limits, Limits, error) { return Limits{}, Limits{}, nil }
	box := func(string) (Limits, Limits, error) { return Limits{Bytes: 1 << 60, WarnBytes: 1 << 59}, Limits{}, nil }
	both := func(string) (Limits, Limits, error) {
		return Limits{Bytes: 1 << 60, WarnBytes: 1 << 59}, Limits{Bytes: 1 << 60, Messages: 1 << 60}, nil
	}
	for _, bb := range []struct {
		name   string
		limits func(string) (Limits, Limits, error)
	}{{"none", free}, {"mailbox", box}, {"mailbox+domain", both}} {
		l := NewLedger(Options{Limits: bb.limits, Usage: func(string) (Usage, error) { return Usage{}, nil },
			Members: func(string) ([]string, error) { return nil, nil }})
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				settle, err := l.Reserve(anna, 4096)
				if err != nil {
					b.Fatal(err)
				}
				settle(4096, 1)
			}
		})
	}
}

// TestForget covers a counted directory that now belongs to another mailbox.
func TestForget(t *testing.T) {
	held := Usage{Bytes: 900, Messages: 3}
	l := NewLedger(Options{
		Limits: func(string) (Limits, Limits, error) { return Limits{Bytes: 1000}, Limits{}, nil },
		Usage:  func(string) (Usage, error) { return held, nil },
	})
	if l.Room("mailbox/x/a", 200) == nil {
		t.Error("there is room in a mailbox that is nearly full")
	}
	held = Usage{}
	l.Forget()
	if err := l.Room("mailbox/x/a", 200); err != nil {
		t.Error(err)
	}
}
