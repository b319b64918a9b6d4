package durable

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func TestJSONFile(t *testing.T) {
	dir := t.TempDir()
	root, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	parsed := 0
	errBad := errors.New("bad")
	file := func() *JSONFile[map[string]int] {
		return NewJSONFile(root, "f.json", ".f.lock", func(text []byte) (m map[string]int, err error) {
			parsed++
			if json.Unmarshal(text, &m) != nil {
				err = errBad
			}
			return m, err
		})
	}
	f, other := file(), file() // other is another process
	add := func(f *JSONFile[map[string]int], key string) error {
		return f.Change(func(m map[string]int) (any, error) {
			next := map[string]int{key: 1}
			for k, v := range m {
				next[k] += v
			}
			return next, nil
		})
	}
	if m, err := f.Load(); err != nil || len(m) != 0 || parsed != 0 {
		t.Errorf("no file: %v, %v", m, err)
	}
	if err := errors.Join(add(f, "a"), add(other, "b"), add(f, "c")); err != nil {
		t.Fatal(err)
	}
	if m, err := other.Load(); err != nil || len(m) != 3 {
		t.Errorf("%v, %v", m, err)
	}
	old := time.Now().Add(-time.Hour) // settled: a recent change is read again
	if err := os.Chtimes(filepath.Join(dir, "f.json"), old, old); err != nil {
		t.Fatal(err)
	}
	f.Load()
	before := parsed
	if m, err := f.Load(); err != nil || len(m) != 3 || parsed != before {
		t.Errorf("%v, %v, read %d times more though nothing has changed", m, err, parsed-before)
	}
	if err := f.Change(func(map[string]int) (any, error) { return nil, errBad }); !errors.Is(err, errBad) {
		t.Errorf("%v", err)
	}
	if err := f.Change(func(map[string]int) (any, error) { return nil, nil }); err != nil {
		t.Errorf("%v", err)
	}
	if m, err := other.Load(); err != nil || len(m) != 3 {
		t.Errorf("changed by nothing: %v, %v", m, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "f.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Load(); !errors.Is(err, errBad) {
		t.Errorf("damaged: %v", err)
	}
	if err := add(f, "d"); !errors.Is(err, errBad) {
		t.Errorf("a damaged file is replaced: %v", err)
	}
}

func TestJSONFileConcurrently(t *testing.T) {
	root, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	parse := func(text []byte) (n int, err error) { return n, json.Unmarshal(text, &n) }
	var wg sync.WaitGroup
	errs := make(chan error, 40)
	for range 4 {
		f := NewJSONFile(root, "n.json", ".n.lock", parse)
		for range 10 {
			wg.Go(func() { errs <- f.Change(func(n int) (any, error) { return n + 1, nil }) })
		}
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	if n, err := NewJSONFile(root, "n.json", ".n.lock", parse).Load(); err != nil || n != 40 {
		t.Errorf("%d changes, %v", n, err)
	}
}

func TestDecodeStrict(t *testing.T) {
	var v struct{ A int }
	if err := DecodeStrict([]byte(`{"a": 1}`), &v); err != nil || v.A != 1 {
		t.Errorf("%+v, %v", v, err)
	}
	if err := DecodeStrict([]byte(`{"aa": 1}`), &v); err == nil {
		t.Error(fmt.Sprint("an unknown member is taken: ", v))
	}
}
