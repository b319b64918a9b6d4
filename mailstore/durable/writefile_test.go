package durable_test

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/durable"
)

// TestWriteFileFailsAtEveryStep checks that after a failure the file is the old or the new one,
// whole, and that no other file is left.
func TestWriteFileFailsAtEveryStep(t *testing.T) {
	root, err := durable.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := root.Mkdir("d", 0o700); err != nil {
		t.Fatal(err)
	}
	fsys := mailtest.NewFailFS(root)
	content := "old"
	for n := 1; ; n++ {
		fsys.Start(nil)
		if err := durable.WriteFile(fsys, "d/f", []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		fsys.Start(mailtest.Nth(n, syscall.EIO))
		err := durable.WriteFile(fsys, "d/f", []byte("the new content"), 0o600)
		done := fsys.Ops()
		content = read(t, root)
		if len(done) < n {
			if err != nil || content != "the new content" {
				t.Fatalf("without a failure: %q, %v", content, err)
			}
			assertOrder(t, done)
			return
		}
		failed := done[n-1]
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("%v fails: WriteFile returns %v", failed, err)
		}
		if failed.Kind != "syncdir" && content != "old" {
			t.Errorf("%v fails: the file holds %q", failed, content)
		}
		if names, err := root.ReadNames("d"); len(names) != 1 || err != nil {
			t.Errorf("%v fails: the directory holds %q, %v", failed, names, err)
		}
	}
}

func read(t *testing.T, fsys durable.FS) string {
	t.Helper()
	content, err := durable.ReadFile(fsys, "d/f")
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// assertOrder checks the order: sync the content, rename, sync the directory.
func assertOrder(t *testing.T, ops []mailtest.Op) {
	t.Helper()
	var kinds []string
	for _, op := range ops {
		kinds = append(kinds, op.Kind)
	}
	if got, want := strings.Join(kinds, " "), "create write sync close rename syncdir"; got != want {
		t.Errorf("order of operations: %s; want %s", got, want)
	}
}

func TestWriteFileKeepsNoTempAfterRefusal(t *testing.T) {
	root, err := durable.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := durable.WriteFile(root, "missing/f", nil, 0o600); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("into a missing directory: %v", err)
	}
}
