package caught

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

func TestDo(t *testing.T) {
	other := errors.New("other")
	if err := Do(func() error { return other }); err != other || Is(err) {
		t.Error(err)
	}
	if err := Do(func() error { return nil }); err != nil {
		t.Error(err)
	}
	var mu sync.Mutex
	var nothing []int
	err := fmt.Errorf("message 7: %w", Do(func() error {
		mu.Lock()
		defer mu.Unlock()
		return errors.New(fmt.Sprint(nothing[3]))
	}))
	if !Is(err) || !strings.Contains(err.Error(), "index out of range") || !mu.TryLock() {
		t.Error(err)
	}
	var log bytes.Buffer
	to := slog.New(slog.NewTextHandler(&log, nil))
	Log(to, other, "nothing")
	Log(to, err, "set aside", "id", 7)
	if text := log.String(); strings.Contains(text, "nothing") || !strings.Contains(text, "caught_test.go") || !strings.Contains(text, "id=7") {
		t.Error(text)
	}
}
