package dns

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestCacheForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache[string, int]()
		asked := 0
		failure := errors.New("no answer")
		ask := func(err error) func() (int, error) {
			return func() (int, error) { asked++; return asked, err }
		}
		for _, step := range []struct {
			key  string
			err  error
			wait time.Duration
			want int
		}{
			{"a", nil, 0, 1},
			{"a", nil, keepAnswer - time.Second, 1},
			{"a", nil, time.Second, 2},
			{"b", failure, 0, 3},
			{"b", nil, keepFailure - time.Second, 3},
			{"b", nil, time.Second, 4},
			{"a", nil, 0, 2},
		} {
			time.Sleep(step.wait)
			if got, _ := c.get(t.Context(), step.key, ask(step.err)); got != step.want {
				t.Errorf("%+v: got %d", step, got)
			}
		}
	})
}

func TestCacheWaitsTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache[string, int]()
		asked := 0
		ask := func() (int, error) { asked++; time.Sleep(10 * time.Second); return asked, nil }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := c.get(ctx, "a", ask); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if got, err := c.get(t.Context(), "a", ask); got != 1 || err != nil || time.Since(start) != 10*time.Second {
			t.Errorf("%d %v after %v", got, err, time.Since(start))
		}
	})
}

func TestCacheIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache[int, int]()
		for i := range maxAnswers + 500 {
			if got, err := c.get(t.Context(), i, func() (int, error) { return i, nil }); got != i || err != nil {
				t.Fatalf("%d: %d %v", i, got, err)
			}
		}
		if len(c.answers) > maxAnswers {
			t.Errorf("%d answers", len(c.answers))
		}
		slow := newCache[int, int]()
		hurry, cancel := context.WithCancel(t.Context())
		cancel()
		release := make(chan struct{})
		for i := range maxAnswers {
			slow.get(hurry, i, func() (int, error) { <-release; return i, nil })
		}
		if _, err := slow.get(t.Context(), -1, func() (int, error) { return 0, nil }); !errors.Is(err, errBusy) {
			t.Errorf("with %d look-ups under way: %v", maxAnswers, err)
		}
		close(release)
		synctest.Wait()
		if _, err := slow.get(t.Context(), -1, func() (int, error) { return 0, nil }); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}
