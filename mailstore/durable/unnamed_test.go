package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestUnnamed(t *testing.T) {
	r, dir := open(t)
	must(t, r.MkdirAll("a/b", 0o700))
	must(t, os.Symlink("b", filepath.Join(dir, "a/link")))
	must(t, os.WriteFile(filepath.Join(dir, "a/file"), nil, 0o600))

	f, err := r.Unnamed("a", 0o600)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("this file system has no files without a name")
	}
	must(t, err)
	_, err = f.Write([]byte("content"))
	must(t, err)
	names, err := r.ReadNames("a")
	must(t, err)
	if slices.Sort(names); !slices.Equal(names, []string{"b", "file", "link"}) {
		t.Errorf("a file without a name shows: %q", names)
	}
	must(t, r.LinkFile(f, "a/b/first"))
	must(t, r.LinkFile(f, "a/second"))
	must(t, r.LinkFile(f, "third"))
	if err := r.LinkFile(f, "third"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a name that is taken: %v", err)
	}
	for _, name := range []string{"missing/x", "a/link/x", "a/file/x", "a/missing/x"} {
		if err := r.LinkFile(f, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("LinkFile(%q): %v", name, err)
		}
	}
	for _, name := range []string{"../x", "a/../x", "/x", ""} {
		if err := r.LinkFile(f, name); err == nil {
			t.Errorf("LinkFile(%q) succeeded", name)
		}
	}
	must(t, f.Close())
	for _, name := range []string{"a/b/first", "a/second", "third"} {
		got, err := ReadFile(r, name)
		if string(got) != "content" || err != nil {
			t.Errorf("%s holds %q, %v", name, got, err)
		}
	}
	must(t, r.SyncAll())
}

// TestSlowHandle: the way without openat2 finds and refuses the same.
func TestSlowHandle(t *testing.T) {
	r, dir := open(t)
	must(t, r.MkdirAll("a/b", 0o700))
	must(t, os.Symlink("b", filepath.Join(dir, "a/link")))
	must(t, os.WriteFile(filepath.Join(dir, "a/file"), nil, 0o600))
	for name, ok := range map[string]bool{".": true, "a": true, "a/b": true, "a/link": false, "a/file": false, "x": false} {
		for how, open := range map[string]func(string) (int, error){"fast": r.handle, "slow": r.slowHandle} {
			fd, err := open(name)
			if (err == nil) != ok || !ok && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s way to %q: %v", how, name, err)
			}
			if err == nil {
				must(t, os.NewFile(uintptr(fd), name).Close())
			}
		}
	}
}
