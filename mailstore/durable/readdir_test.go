package durable

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestReadDir compares ReadDir with package os in a directory of several parts.
func TestReadDir(t *testing.T) {
	r, dir := open(t)
	must(t, r.Mkdir("d", 0o700))
	at := filepath.Join(dir, "d")
	for i := range 2000 {
		must(t, os.WriteFile(filepath.Join(at, fmt.Sprint(strings.Repeat("n", i%200), i)), nil, 0o600))
	}
	must(t, os.WriteFile(filepath.Join(at, "ä\xff"+strings.Repeat("m", 250)), nil, 0o600))
	must(t, os.Symlink("nowhere", filepath.Join(at, "link")))
	must(t, os.Mkdir(filepath.Join(at, "dir"), 0o700))
	must(t, syscall.Mkfifo(filepath.Join(at, "pipe"), 0o600))

	want := make(map[string]string)
	entries, err := os.ReadDir(at)
	must(t, err)
	for _, e := range entries {
		want[e.Name()] = fs.FormatDirEntry(e)
	}
	got, err := r.ReadDir("d")
	must(t, err)
	for _, e := range got {
		if s := fmt.Sprint(e); want[e.Name()] != s {
			t.Errorf("%q, want %q", s, want[e.Name()])
		}
		if fi, err := e.Info(); err != nil || fi.Mode().Type() != e.Type() || e.IsDir() != fi.IsDir() {
			t.Errorf("%v: its status is %v, %v", e, fi, err)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d entries, want %d", len(got), len(want))
	}
}

// TestUnknownType checks that the type comes from the status if the listing has none.
func TestUnknownType(t *testing.T) {
	r, dir := open(t)
	must(t, os.Symlink("nowhere", filepath.Join(dir, "link")))
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	var part []byte
	must(t, r.scan(".", func(p []byte) error { part = append(part, p...); return nil }))
	for rest := part; len(rest) > 0; rest = rest[direntSize(rest):] {
		rest[direntType] = syscall.DT_UNKNOWN
	}
	must(t, os.WriteFile(filepath.Join(dir, "late"), nil, 0o600))
	entries, err := (&listedDir{root: r, dir: "."}).parse(part)
	must(t, err)
	types := make(map[string]fs.FileMode)
	for _, e := range entries {
		types[e.name] = e.kind
	}
	if len(types) != 2 || types["file"] != 0 || types["link"] != fs.ModeSymlink {
		t.Errorf("types: %v", types)
	}
	must(t, os.Remove(filepath.Join(dir, "link")))
	if entries, err := (&listedDir{root: r, dir: "."}).parse(part); len(entries) != 1 || err != nil {
		t.Errorf("after one is gone: %v, %v", entries, err)
	}
}

// BenchmarkReadDir lists 100,000 names.
func BenchmarkReadDir(b *testing.B) {
	dir := b.TempDir()
	r, err := Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	for i := range 100_000 {
		if err := os.WriteFile(fmt.Sprintf("%s/P3_20260101%06d4711%08d_4096.eml", dir, i/10, i), nil, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("os", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f, err := os.Open(dir)
			if err != nil {
				b.Fatal(err)
			}
			if all, err := f.ReadDir(-1); err != nil || len(all) != 100_000 {
				b.Fatal(len(all), err)
			}
			f.Close()
		}
	})
	b.Run("durable", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if all, err := r.ReadDir("."); err != nil || len(all) != 100_000 {
				b.Fatal(len(all), err)
			}
		}
	})
}
