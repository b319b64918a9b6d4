package quota

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// box is a mailbox that a test fills and counts.
type box struct {
	mu       sync.Mutex
	bytes    int64
	messages int
	counts   int
	err      error
}

func (b *box) usage(string) (int64, int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts++
	return b.bytes, b.messages, b.err
}

func (b *box) add(bytes int64, messages int) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bytes += bytes
	b.messages += messages
	return b.bytes
}

func fixed(limit int64) func(string) (int64, error) {
	return func(string) (int64, error) { return limit, nil }
}

func mustReserve(t *testing.T, l *Ledger, bytes int64) func(int64, int) {
	t.Helper()
	settle, err := l.Reserve("box", bytes)
	if err != nil {
		t.Fatalf("Reserve(%d): %v", bytes, err)
	}
	return settle
}

func wantRoom(t *testing.T, l *Ledger, bytes int64, want bool) {
	t.Helper()
	err := l.Room("box", bytes)
	if over, ok := errors.AsType[*Error](err); err != nil && (!ok || !over.OverQuota()) {
		t.Fatalf("Room(%d): %v, want an *Error", bytes, err)
	}
	if got := err == nil; got != want {
		t.Fatalf("room for %d: %v, want %v (%v)", bytes, got, want, err)
	}
}

func TestReserveSettleRelease(t *testing.T) {
	b := &box{bytes: 60, messages: 1}
	l := New(fixed(100), b.usage)

	wantRoom(t, l, 40, true)
	wantRoom(t, l, 41, false)
	first := mustReserve(t, l, 30)
	wantRoom(t, l, 11, false)
	second := mustReserve(t, l, 10)
	wantRoom(t, l, 1, false)
	wantRoom(t, l, 0, true)

	second(0, 0) // the delivery failed
	wantRoom(t, l, 10, true)
	first(30, 1)
	wantRoom(t, l, 10, true)
	wantRoom(t, l, 11, false)

	gone := l.Release("box")
	wantRoom(t, l, 11, false)
	gone(-60, -1)
	wantRoom(t, l, 70, true)
	wantRoom(t, l, 71, false)
	if b.counts != 1 {
		t.Errorf("the mailbox was counted %d times, want once", b.counts)
	}
}

func TestNoLimit(t *testing.T) {
	b := &box{bytes: 1 << 60}
	l := New(fixed(0), b.usage)
	mustReserve(t, l, 1<<60)(1<<60, 1)
	wantRoom(t, l, 1<<62, true)
	if b.counts != 0 {
		t.Errorf("a mailbox without limit was counted %d times", b.counts)
	}
}

func TestErrorsAreHandedOn(t *testing.T) {
	broken := errors.New("broken")
	b := &box{err: broken}
	if err := New(fixed(1), b.usage).Room("box", 1); !errors.Is(err, broken) {
		t.Errorf("Room with an uncountable mailbox: %v", err)
	}
	noLimit := func(string) (int64, error) { return 0, broken }
	if _, err := New(noLimit, b.usage).Reserve("box", 1); !errors.Is(err, broken) {
		t.Errorf("Reserve with an unknown limit: %v", err)
	}
}

func TestCountsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &box{bytes: 100}
		l := New(fixed(100), b.usage)
		wantRoom(t, l, 1, false)
		b.add(-50, 0) // deleted by hand
		wantRoom(t, l, 1, false)
		time.Sleep(refuseFor)
		wantRoom(t, l, 50, true)

		b.add(50, 1) // put in by hand
		wantRoom(t, l, 50, true)
		time.Sleep(trustFor)
		wantRoom(t, l, 1, false)
	})
}

// A count that meets a change must not take it for done or undone to the mailbox's advantage.
func TestCountDuringChange(t *testing.T) {
	b := &box{bytes: 50, messages: 1}
	limit := int64(0)
	l := New(func(string) (int64, error) { return limit, nil }, b.usage)

	delivery := mustReserve(t, l, 20)
	deletion := l.Release("box")
	b.add(-50, -1) // unlinked, not yet settled
	b.add(20, 1)   // linked, not yet settled
	limit = 100    // only now somebody wants to know: the first count
	wantRoom(t, l, 60, true)
	wantRoom(t, l, 61, false) // 20 counted, 20 reserved
	deletion(-50, -1)
	wantRoom(t, l, 61, false)
	delivery(20, 1)
	wantRoom(t, l, 80, true) // nothing under way: counted again
	wantRoom(t, l, 81, false)
}

// TestNeverExceeded lets many deliveries, failing ones, and deletions loose on one mailbox.
func TestNeverExceeded(t *testing.T) {
	const limit = 10_000
	b := &box{}
	l := New(fixed(limit), b.usage)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 300 {
				size := rand.Int64N(900)
				settle, err := l.Reserve("box", size)
				switch {
				case err != nil:
					settle := l.Release("box")
					b.add(-size, -1)
					if b.add(0, 0) < 0 { // nothing of that size was there
						b.add(size, 1)
						size = 0
					}
					settle(-size, -1)
				case size%7 == 0:
					settle(0, 0)
				default:
					if held := b.add(size, 1); held > limit {
						t.Errorf("the mailbox holds %d", held)
					}
					settle(size, 1)
				}
			}
		})
	}
	wg.Wait()
	bytes, _, _ := l.Usage("box")
	wantRoom(t, l, limit-bytes, true)
	wantRoom(t, l, limit-bytes+1, false)
}
