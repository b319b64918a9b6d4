package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
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

// TestSlowHandle checks that handles without openat2 find and refuse the same names.
func TestSlowHandle(t *testing.T) {
	r, dir := open(t)
	must(t, r.MkdirAll("a/b", 0o700))
	must(t, os.Symlink("b", filepath.Join(dir, "a/link")))
	must(t, os.WriteFile(filepath.Join(dir, "a/file"), nil, 0o600))
	for name, ok := range map[string]bool{".": true, "a": true, "a/b": true, "a/link": false, "a/file": false, "x": false} {
		for how, open := range map[string]func(string) (int, error){
			"fast": func(name string) (int, error) { return r.handle(name, unix.O_PATH) },
			"slow": r.slowHandle,
		} {
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

// TestLstat compares Lstat with package os.
func TestLstat(t *testing.T) {
	r, dir := open(t)
	must(t, r.MkdirAll("a/dir", 0o750))
	must(t, os.WriteFile(filepath.Join(dir, "a/file"), []byte("12345"), 0o640))
	must(t, os.Chmod(filepath.Join(dir, "a/file"), 0o640|fs.ModeSetgid|fs.ModeSticky))
	must(t, os.Symlink("file", filepath.Join(dir, "a/link")))
	must(t, unix.Mkfifo(filepath.Join(dir, "a/pipe"), 0o600))
	for _, name := range []string{".", "a", "a/dir", "a/file", "a/link", "a/pipe"} {
		got, err := r.Lstat(name)
		must(t, err)
		want, err := os.Lstat(filepath.Join(dir, name))
		must(t, err)
		if got.Mode() != want.Mode() || got.Size() != want.Size() || !got.ModTime().Equal(want.ModTime()) ||
			got.IsDir() != want.IsDir() || !SameFile(got, want) || name != "." && got.Name() != want.Name() {
			t.Errorf("%s: %v, want %v", name, fs.FormatFileInfo(got), fs.FormatFileInfo(want))
		}
	}
	x, _ := r.Lstat("a/file")
	y, _ := r.Lstat("a/dir")
	if SameFile(x, y) {
		t.Error("two files are the same")
	}
	for name, want := range map[string]error{"x": fs.ErrNotExist, "a/file/x": syscall.ENOTDIR, "../x": fs.ErrInvalid, "/": fs.ErrInvalid} {
		if _, err := r.Lstat(name); !errors.Is(err, want) {
			t.Errorf("Lstat(%q): %v", name, err)
		}
	}
}

func TestFilesystem(t *testing.T) {
	r, _ := open(t)
	if name, _, err := r.Filesystem(); name == "" || err != nil {
		t.Errorf("this one: %q, %v", name, err)
	}
	for magic, want := range map[uint32]string{
		0xef53: "ext4 true", 0x58465342: "xfs true", 0x6969: "nfs false", 0xfe534d42: "smb false", 0x65735546: "fuse false",
		0x01021997: "9p false", 0x4d44: "fat false", 0x12345678: "type 0x12345678 false",
	} {
		name, trusted := filesystem(magic)
		if got := fmt.Sprint(name, " ", trusted); got != want {
			t.Errorf("0x%x: %s, want %s", magic, got, want)
		}
	}
}
