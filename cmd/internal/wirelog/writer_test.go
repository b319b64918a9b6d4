package wirelog

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// plain is a format without times.
func plain() Format {
	return Format{
		Name: func(at time.Time) string { return at.Format("ex060102.log") },
		Ours: w3cFile.MatchString, Remark: remark,
		Header: func(time.Time) string { return "#h\n" },
	}
}

func read(t *testing.T, parts ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

func TestWriterRollsOverAndGoesOn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	opts := Options{Name: "log", Dir: dir, Log: slog.New(slog.DiscardHandler)}
	w := NewWriter(opts, plain())
	w.Write(begun, "one\n")
	w.Write(begun.AddDate(0, 0, 1), "two\n")
	w.Close()
	w.Write(begun, "too late\n") // must not block or panic
	if err := os.WriteFile(filepath.Join(dir, "ex061118.log"), []byte("#h\none\ntor"), 0o600); err != nil {
		t.Fatal(err)
	}
	w = NewWriter(opts, plain())
	w.Write(begun, "three\n")
	w.Close()
	if got := read(t, dir, "ex061118.log"); got != "#h\none\ntor\n#h\nthree\n" {
		t.Errorf("%q", got)
	}
	if got := read(t, dir, "ex061119.log"); got != "#h\ntwo\n" {
		t.Errorf("%q", got)
	}
}

func TestWriterBySize(t *testing.T) {
	dir := t.TempDir()
	f := plain()
	f.Sized, f.MaxSize = W3C{RollOver: BySize}.Format().Sized, 12
	opts := Options{Name: "log", Dir: dir, Log: slog.New(slog.DiscardHandler)}
	for range 2 {
		w := NewWriter(opts, f)
		for range 3 {
			w.Write(begun, "1234\n")
		}
		w.Close()
	}
	for i, want := range []string{"#h\n1234\n", "#h\n1234\n", "#h\n1234\n"} {
		if got := read(t, dir, fmt.Sprintf("extend%d.log", i+1)); !strings.HasPrefix(got, want) || len(got) > 19 {
			t.Errorf("%d: %q", i+1, got)
		}
	}
}

func TestWriterDeletesOldFiles(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	for i, name := range []string{"ex010101.log", "ex010102.log", "ex010103.log", "notes.txt"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 100), 0o600); err != nil {
			t.Fatal(err)
		}
		at := now.Add(time.Duration(i-4) * 24 * time.Hour)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	w := NewWriter(Options{
		Name: "log", Dir: dir, Keep: 84 * time.Hour, MaxAll: 150, Log: slog.New(slog.DiscardHandler),
	}, plain())
	w.Write(now, "line\n")
	w.Close()
	all, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(all) != 3 { // the third, the new one and notes.txt
		t.Errorf("%q, %v", all, err)
	}
}

// shaky is a disk that fails while full is set.
type shaky struct {
	full   *bool
	text   *bytes.Buffer
	writes *int
}

func (s shaky) Write(p []byte) (int, error) {
	*s.writes++
	if *s.full {
		n := min(3, len(p))
		s.text.Write(p[:n])
		return n, errors.New("no space left on device")
	}
	return s.text.Write(p)
}
func (s shaky) Close() error { return nil }
func (s shaky) Size() (int64, bool) {
	return int64(s.text.Len()), s.text.Len() == 0 || bytes.HasSuffix(s.text.Bytes(), []byte("\n"))
}

// A full disk is said once, and its end too. The file tells how many lines are missing, and a line
// that was torn does not run into the next one.
func TestWriterOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var said, text bytes.Buffer
		full, writes := false, 0
		w := NewWriter(Options{
			Name: "W3C log", Dir: dir, Log: slog.New(slog.NewTextHandler(&said, nil)),
			newFile: func(string) (file, error) { return shaky{&full, &text, &writes}, nil },
		}, plain())
		w.Write(begun, "before\n")
		synctest.Wait()
		full = true
		for range 100 {
			w.Write(begun, "lost\n")
			synctest.Wait()
			time.Sleep(time.Second)
		}
		full = false
		time.Sleep(retryAfter)
		w.Write(begun, "after\n")
		synctest.Wait()
		w.Close()
		if got := strings.Count(said.String(), "cannot be written"); got != 1 {
			t.Errorf("the failure was said %d times:\n%s", got, said.String())
		}
		if got := strings.Count(said.String(), "is written again"); got != 1 {
			t.Errorf("the end was said %d times:\n%s", got, said.String())
		}
		if !strings.HasPrefix(text.String(), "#h\nbefore\n") ||
			!strings.Contains(text.String(), "\nlos\n#h\n") ||
			!strings.HasSuffix(text.String(), "\n#h\n#Remark: 100 lines are missing here\nafter\n") {
			t.Errorf("%q", text.String())
		}
		if writes > 15 {
			t.Errorf("%d writes to a full disk", writes)
		}
	})
}

// blocked is a disk that hangs.
type blocked struct{ release chan struct{} }

func (b blocked) Write(p []byte) (int, error) { <-b.release; return len(p), nil }
func (b blocked) Close() error                { return nil }
func (b blocked) Size() (int64, bool)         { return 0, true }

func TestWriterNeverWaits(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		disk := blocked{make(chan struct{})}
		w := NewWriter(Options{
			Name: "log", Dir: dir, Log: slog.New(slog.NewTextHandler(&said, nil)),
			newFile: func(string) (file, error) { return disk, nil },
		}, plain())
		w.Write(begun, "first\n")
		synctest.Wait() // the disk has it, and hangs
		before := time.Now()
		for range queueLength + 50 {
			w.Write(begun, "line\n")
		}
		if time.Since(before) != 0 || w.dropped.Load() != 50 {
			t.Errorf("%d dropped", w.dropped.Load())
		}
		close(disk.release)
		w.Close()
		if !strings.Contains(said.String(), "lines=50") {
			t.Error(said.String())
		}
	})
}
