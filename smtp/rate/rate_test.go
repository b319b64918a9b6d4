package rate

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(10)
		for i, step := range []struct {
			wait time.Duration
			n    int
			want Use
		}{
			{0, 60, Use{OK: true, Used: 60}},
			{30 * time.Minute, 40, Use{OK: true, Used: 100}},
			{0, 1, Use{Used: 100, First: true}},
			{29 * time.Minute, 1, Use{Used: 100}},                 // reported already
			{time.Minute, 60, Use{OK: true, Used: 100}},           // the first 60 are out of the window
			{30 * time.Minute, 41, Use{Used: 60, First: true}},    // an hour after the last report
			{0, 40, Use{OK: true, Used: 100}},                     // a smaller number still fits
			{Window + time.Minute, 100, Use{OK: true, Used: 100}}, // all are out of the window
			{1000 * Window, 101, Use{Used: 0, First: true}},       // more than ever fits
		} {
			time.Sleep(step.wait)
			if got := l.Take("anna", step.n, 100); got != step.want {
				t.Errorf("step %d: %+v, want %+v", i, got, step.want)
			}
		}
	})
}

func TestNoLimit(t *testing.T) {
	l := New(10)
	for _, none := range []int{0, -1} {
		if got := l.Take("anna", 1000, none); !got.OK {
			t.Errorf("limit %d: %+v", none, got)
		}
	}
	// Recipients counted without a limit count once there is one.
	if got := l.Take("anna", 1, 2000); got != (Use{Used: 2000, First: true}) {
		t.Errorf("%+v", got)
	}
	if got := l.Used("anna"); got != 2000 {
		t.Errorf("used %d", got)
	}
	l.Forget("anna")
	if got := l.Take("anna", 1, 2000); !got.OK || l.Used("anna") != 1 || l.Used("boss") != 0 {
		t.Errorf("after Forget: %+v, used %d", got, l.Used("anna"))
	}
}

func TestUsedFades(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(10)
		l.Take("anna", 5, 100)
		time.Sleep(Window)
		if got := l.Used("anna"); got != 0 {
			t.Errorf("after an hour %d", got)
		}
	})
}

func TestBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(3)
		for i := range 3 {
			l.Take(fmt.Sprint(i), 1, 1)
			time.Sleep(time.Minute)
		}
		l.Take("0", 1, 1) // over the limit, but used
		l.Take("new", 1, 1)
		for key, want := range map[string]int{"0": 1, "1": 0, "2": 1, "new": 1} {
			if got := l.Used(key); got != want {
				t.Errorf("%s has used %d, want %d", key, got, want)
			}
		}
		time.Sleep(Window)
		l.Take("later", 1, 1)
		if len(l.keys) != 1 {
			t.Errorf("%d keys are left after an hour", len(l.keys))
		}
	})
}

// With many concurrent callers exactly the limit gets through, and exactly one sees First.
func TestConcurrent(t *testing.T) {
	l := New(10)
	var wg sync.WaitGroup
	var mu sync.Mutex
	ok, first := 0, 0
	for range 8 {
		wg.Go(func() {
			for range 50 {
				use := l.Take("anna", 1, 100)
				mu.Lock()
				if use.OK {
					ok++
				}
				if use.First {
					first++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if ok != 100 || first != 1 {
		t.Errorf("%d got through, %d were told first", ok, first)
	}
}
