package backup

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/durable"
)

// tree reads all files of a directory.
func tree(t *testing.T, fsys durable.FS) map[string]string {
	t.Helper()
	all := map[string]string{}
	var look func(dir string)
	look = func(dir string) {
		entries, err := fsys.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			name := path.Join(dir, e.Name())
			if e.IsDir() {
				look(name)
				continue
			}
			text, err := durable.ReadFile(fsys, name)
			if err != nil {
				t.Fatal(err)
			}
			all[name] = string(text)
		}
	}
	look(".")
	return all
}

func everything(*Entry) bool { return true }

func TestRestore(t *testing.T) {
	data, r := open(t, t.TempDir()), initialised(t, open(t, t.TempDir()))
	files := office()
	name, text := message(6)
	second := "mailbox/office.example/P3_ben.mbx/" + path.Base(name)
	put(t, data, files)
	put(t, data, map[string]string{"mailbox/office.example/P3_ben.mbx/account.json": "{}"})
	if err := data.Link(name, second); err != nil {
		t.Fatal(err)
	}
	maps.Copy(files, map[string]string{second: text, "mailbox/office.example/P3_ben.mbx/account.json": "{}"})
	if err := data.Mkdir("mailbox/office.example/P3_empty.mbx", 0o700); err != nil {
		t.Fatal(err)
	}
	s := create(t, r, data)

	to := open(t, t.TempDir())
	put(t, to, map[string]string{"x": "y"})
	if _, err := r.Restore(t.Context(), &s, to, "lock", everything, nil); !errors.Is(err, ErrNotEmpty) {
		t.Fatalf("a restore into a directory with files: %v", err)
	}
	if err := to.Remove("x"); err != nil {
		t.Fatal(err)
	}
	report, err := r.Restore(t.Context(), &s, to, "lock", everything, nil)
	if err != nil || report.Damaged > 0 {
		t.Fatal(report, err)
	}
	want := maps.Clone(files)
	want[ConfigDir+"/pillarbox.toml"] = "data = 1\n"
	if got := tree(t, to); !maps.Equal(got, want) {
		t.Errorf("restored %q", slices.Sorted(maps.Keys(got)))
	}
	for _, same := range []string{name, "devices.json"} {
		was, _ := data.Lstat(same)
		is, err := to.Lstat(same)
		if err != nil || is.Mode() != was.Mode() ||
			is.ModTime().Sub(was.ModTime()).Abs() > time.Millisecond {
			t.Errorf("%s: %v, %v; it was %v, %v", same, is.Mode(), is.ModTime(), was.Mode(), was.ModTime())
		}
	}
	if _, linked := severalNames(stat(t, to, second)); !linked {
		t.Error("a message to two mailboxes is two files")
	}
	if fi := stat(t, to, "mailbox/office.example/P3_empty.mbx"); !fi.IsDir() {
		t.Error("an empty mailbox is missing")
	}
}

func stat(t *testing.T, fsys durable.FS, name string) fs.FileInfo {
	t.Helper()
	fi, err := fsys.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	return fi
}

// TestRestoreCutOff cuts the power during a restore. The same call then finishes it; until then the
// mark is there.
func TestRestoreCutOff(t *testing.T) {
	data, r := open(t, t.TempDir()), initialised(t, open(t, t.TempDir()))
	files := map[string]string{"version": "1.0"}
	for i := range 5 {
		name, text := message(i)
		files[name] = text
	}
	put(t, data, files)
	s := create(t, r, data)
	files[ConfigDir+"/pillarbox.toml"] = "data = 1\n"
	rng := rand.New(rand.NewPCG(1, 2))
	for n := 1; ; n++ {
		disk := mailtest.NewPowerFS()
		disk.Start(func(i int, _ mailtest.Op) error {
			if i == n {
				return mailtest.ErrPowerCut
			}
			return nil
		})
		_, err := r.Restore(t.Context(), &s, disk, "lock", everything, nil)
		if !disk.Off() {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		disk = disk.Restart(mailtest.PowerMode(n%3), rng)
		left := tree(t, disk)
		if _, marked := left[RestoreMark]; !marked && len(left) > 0 && !maps.Equal(left, files) &&
			!slices.ContainsFunc(slices.Collect(maps.Keys(left)), durable.IsTemp) {
			t.Fatalf("cut at %d: %q look like a whole office", n, slices.Sorted(maps.Keys(left)))
		}
		for name := range left {
			if durable.IsTemp(name) {
				_ = disk.Remove(name)
			}
		}
		if maps.Equal(tree(t, disk), files) {
			continue // only the last sync was missing
		}
		if _, err := r.Restore(t.Context(), &s, disk, "lock", everything, nil); err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		if got := tree(t, disk); !maps.Equal(got, files) {
			t.Fatalf("cut at %d: restored %q", n, slices.Sorted(maps.Keys(got)))
		}
	}
}

func TestPutBack(t *testing.T) {
	data, r := open(t, t.TempDir()), initialised(t, open(t, t.TempDir()))
	name, text := message(1)
	put(t, data, map[string]string{name: text})
	s := create(t, r, data)
	back := func() (same bool, err error) {
		_, err = r.Extract(t.Context(), &s, Wanted{
			Take: func(e *Entry) bool { return strings.HasSuffix(e.Path, ".eml") },
			To: func(e *Entry, copy func(io.Writer) error) (err error) {
				err = PutBack(data, name, e, copy)
				same, _ = Same(data, name, e)
				return err
			},
		}, nil)
		return same, err
	}
	if same, err := back(); !errors.Is(err, fs.ErrExist) || !same {
		t.Errorf("over the message itself: %v, %v", same, err)
	}
	if err := data.Remove(name); err != nil {
		t.Fatal(err)
	}
	if same, err := back(); err != nil || !same {
		t.Errorf("after its deletion: %v, %v", same, err)
	}
	if got := tree(t, data); !maps.Equal(got, map[string]string{name: text}) {
		t.Errorf("the directory has %q", got)
	}
}
