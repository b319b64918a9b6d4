package pickup

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

type endless struct{ given int }

func (e *endless) Read(p []byte) (int, error) {
	if e.given > 1e6 {
		return 0, errors.New("there was no limit")
	}
	e.given += len(p)
	return len(p), nil
}

// TestLimitIsOne reads too large a message in all the ways that the server reads messages.
func TestLimitIsOne(t *testing.T) {
	copied := func(r io.Reader) (int, error) {
		var b bytes.Buffer
		_, err := io.Copy(&b, r)
		return b.Len(), err
	}
	for _, limit := range []int64{1, 64, 65, 1000} {
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"plain":            func(r io.Reader) io.Reader { return r },
			"a buffer":         func(r io.Reader) io.Reader { return bufio.NewReaderSize(r, 64) },
			"several of those": func(r io.Reader) io.Reader { return io.MultiReader(bufio.NewReaderSize(r, 64)) },
		} {
			n, err := copied(wrap(&limited{r: &endless{}, limit: limit}))
			if err == nil || !strings.Contains(err.Error(), "more than") || int64(n) > limit {
				t.Errorf("%s, limit %d: got %d octets, %v", name, limit, n, err)
			}
			just := strings.NewReader(strings.Repeat("x", int(limit)))
			if n, err := copied(wrap(&limited{r: just, limit: limit})); err != nil ||
				int64(n) != limit {
				t.Errorf("%s, as much as the limit %d: %d octets, %v", name, limit, n, err)
			}
		}
	}
}
