package daemon

import (
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"
)

// TestExclusiveTakesLong: a command whose change outlasts the server's patience empties the log afterwards; one that does
// not, or fails, does so only if need be.
func TestExclusiveTakesLong(t *testing.T) {
	refused := errors.New("refused")
	for name, c := range map[string]struct {
		patience time.Duration
		change   error
		want     []string
	}{
		"in time":     {time.Hour, nil, []string{"exclusive", "change"}},
		"it fails":    {time.Hour, refused, []string{"exclusive", "change"}},
		"out of time": {time.Nanosecond, nil, []string{"exclusive", "change", "checkpoint"}},
		"both":        {time.Nanosecond, refused, []string{"exclusive", "change", "checkpoint"}},
	} {
		t.Run(name, func(t *testing.T) {
			did, over := []string{}, make(chan struct{})
			mux := http.NewServeMux()
			mux.HandleFunc("POST /checkpoint", func(w http.ResponseWriter, _ *http.Request) {
				did = append(did, "checkpoint")
				answer(w, struct{}{})
			})
			mux.HandleFunc("POST /exclusive", func(w http.ResponseWriter, r *http.Request) {
				defer close(over)
				did = append(did, "exclusive")
				_ = waitForEnd(w, r, c.patience)
			})
			err := askExclusive(t.Context(), serveTest(t, mux), func() error {
				if c.patience < time.Second {
					<-over // all others are let in
				}
				did = append(did, "change")
				return c.change
			})
			if !errors.Is(err, c.change) || !slices.Equal(did, c.want) {
				t.Errorf("%q, %v", did, err)
			}
		})
	}
}
