package pickup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/smtp"
)

const sample = "From: anna@office.example\nTo: bert@else.example\nDate: x\nMessage-ID: <y>\n\nText\n"

// house is a pickup folder with the injected messages.
type house struct {
	t    *testing.T
	dir  string
	log  bytes.Buffer
	fail func() error // result of Inject; nil: success

	begun atomic.Int32

	mu       sync.Mutex
	sent     []string
	accepted []string // IDs of sent
}

func newHouse(t *testing.T) *house {
	return &house{t: t,
		dir: filepath.Join(t.TempDir(), "pickup")}
}

func (h *house) folder() *Folder {
	return New(Options{
		Dir: h.dir, MaxSize: func() int64 { return 1000 }, Hostname: func() string { return "mail.office.example" },
		Inject: h.inject, Log: slog.New(slog.NewTextHandler(&h.log, nil)),
	})
}

func (h *house) inject(env *smtp.Envelope, from string, message io.Reader, begun func(string) error) (string, error) {
	text, err := io.ReadAll(message)
	if err != nil {
		return "", err
	}
	id := fmt.Sprintf("P3_%d", h.begun.Add(1))
	if err := begun(id); err != nil {
		return "", err
	}
	if h.fail != nil {
		if err := h.fail(); err != nil {
			return "", err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sent = append(h.sent, addressesOf(env)+"\n"+string(text))
	h.accepted = append(h.accepted, id)
	return id, nil
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) path(name string) string { return filepath.Join(h.dir, name) }

// put writes a file with an old modification time.
func (h *house) put(name, text string) {
	h.t.Helper()
	h.putAged(name, text, time.Hour)
}

// putAged writes a file that was last changed some time ago. It appears with this age at once,
// since a scan may run at this moment.
func (h *house) putAged(name, text string, age time.Duration) {
	h.t.Helper()
	h.must(os.MkdirAll(filepath.Dir(h.path(name)), 0o700))
	h.must(os.WriteFile(h.path(name+".tmp"), []byte(text), 0o600))
	h.age(name+".tmp", age)
	h.must(os.Rename(h.path(name+".tmp"), h.path(name)))
}

func (h *house) age(name string, d time.Duration) {
	h.t.Helper()
	at := time.Now().Add(-d)
	h.must(os.Chtimes(h.path(name), at, at))
}

// files returns all names that are left below the folder.
func (h *house) files() string {
	var all []string
	filepath.WalkDir(h.dir, func(path string, d os.DirEntry, err error) error {
		h.must(err)
		if !d.IsDir() {
			name, _ := filepath.Rel(h.dir, path)
			all = append(all, name)
		}
		return nil
	})
	slices.Sort(all)
	return strings.Join(all, " ")
}

func (h *house) wantFiles(want string) {
	h.t.Helper()
	if got := h.files(); got != want {
		h.t.Errorf("files %q, want %q\n%s", got, want, &h.log)
	}
}

func (h *house) wantSent(n int) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.sent) != n {
		h.t.Fatalf("%d messages were sent, want %d: %q\n%s", len(h.sent), n, h.sent, &h.log)
	}
}

func TestScan(t *testing.T) {
	h := newHouse(t)
	h.put("a.eml", sample)
	h.put("b", "X-Sender: x@office.example\nX-Receiver: y@else.example\nFrom: a@b.example\n\nText")
	for _, name := range []string{".hidden", "c.tmp", "d.PART", ".taking/x.old.eml", "bad/e.eml"} {
		h.put(name, sample)
	}
	h.put("e.eml", "no message")
	h.folder().Scan(t.Context())
	h.wantSent(3)
	h.wantFiles(".hidden bad/e.eml bad/e.eml-2 bad/e.eml-2.reason.txt c.tmp d.PART")
	slices.Sort(h.sent)
	want := "anna@office.example: bert@else.example\n" + strings.ReplaceAll(sample, "\n", "\r\n")
	if h.sent[0] != want || h.sent[1] != want {
		t.Errorf("%q, want %q", h.sent[0], want)
	}
	if got := h.sent[2]; !strings.HasPrefix(got,
		"x@office.example: y@else.example\nFrom: a@b.example\r\nDate: ") ||
		!strings.Contains(got, "\r\nMessage-ID: <") ||
		!strings.HasSuffix(got, "@mail.office.example>\r\n\r\nText\r\n") {
		t.Errorf("%q", got)
	}
	reason, _ := os.ReadFile(h.path("bad/e.eml-2.reason.txt"))
	if !strings.Contains(string(reason), `Why: line 1 is not a header field ("no message")`) {
		t.Errorf("%q", reason)
	}
}

func TestBadFiles(t *testing.T) {
	h := newHouse(t)
	h.put("large", sample+strings.Repeat("x", 1000))
	h.put("lines", sample+strings.Repeat("\n", 990-len(sample)))
	h.put("empty", "")
	h.put("secret", sample)
	h.must(os.Chmod(h.path("secret"), 0))
	h.put("refused", sample)
	h.must(os.MkdirAll(h.path("folder/below"), 0o700))
	h.age("folder", time.Hour)
	h.must(os.Symlink("/etc/passwd", h.path("link")))
	h.must(syscall.Mkfifo(h.path("pipe"), 0o600))
	h.age("pipe", time.Hour)
	h.fail = func() error { return smtp.NewReply(552, [3]int{5, 2, 2}, "The mailbox is full") }
	f := h.folder()
	h.watched(f, "link") // its own time is now
	f.Scan(t.Context())
	reasons := map[string]string{
		"large": "messages may have 1000", "lines": "more than 1000 octets with its line ends", "empty": "is empty",
		"refused": "552 5.2.2 The mailbox is full", "folder": "it is a folder", "link": "symbolic link", "pipe": "not a regular file",
	}
	if os.Geteuid() != 0 {
		reasons["secret"] = "may not read"
	}
	for name, want := range reasons {
		text, err := os.ReadFile(h.path("bad/" + name + ".reason.txt"))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %q, %v; want %q", name, text, err, want)
		}
	}
	if left, _ := os.ReadDir(h.path(".taking")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	h.wantSent(0)
}

// watched marks a file as watched for a long time.
func (h *house) watched(f *Folder, name string) {
	info, err := os.Lstat(h.path(name))
	h.must(err)
	f.seen[name] = sighting{size: info.Size(), changed: info.ModTime(), since: time.Now().Add(-time.Hour)}
}

// A file is taken once it has not changed for some time, whatever clock set its time.
func TestWaitsForWriter(t *testing.T) {
	h := newHouse(t)
	synctest.Test(t, func(t *testing.T) {
		var running sync.WaitGroup
		ctx, stop := context.WithCancel(t.Context())
		running.Go(func() { h.folder().Run(ctx) })
		synctest.Wait()
		time.Sleep(10 * time.Second)
		h.must(os.RemoveAll(h.dir))                             // it may appear later
		time.Sleep(10*time.Second - pollEvery/2)                // the following happens between two scans
		h.putAged("growing", "From: a@b.example\n", -time.Hour) // in the future
		h.putAged("empty", "", 0)
		for i := range 3 {
			time.Sleep(pollEvery)
			synctest.Wait()
			h.wantSent(0)
			h.putAged("growing", "From: a@b.example\nTo: c@d.example\n"+strings.Repeat("X: x\n", i),
				-time.Hour-time.Duration(i))
		}
		time.Sleep(settleTime + pollEvery)
		synctest.Wait()
		h.wantSent(1)
		h.wantFiles("empty")
		h.putAged("fresh", sample, 0)
		time.Sleep(pollEvery / 2)
		h.put("moved.tmp", sample)
		h.must(os.Rename(h.path("moved.tmp"), h.path("moved")))
		time.Sleep(pollEvery)
		synctest.Wait()
		h.wantSent(3)
		time.Sleep(emptyTime)
		synctest.Wait()
		h.wantFiles("bad/empty bad/empty.reason.txt")
		stop()
		running.Wait()
	})
}

// A message that fails temporarily is retried at growing intervals. It delays other messages only
// if the disk is full.
func TestBackOff(t *testing.T) {
	h := newHouse(t)
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int32
		var mended atomic.Bool
		h.fail = func() error {
			if tries.Add(1); mended.Load() {
				return nil
			}
			return errors.New("disk full")
		}
		for i := range 8 {
			h.put(fmt.Sprintf("%d.eml", i), sample)
		}
		f := h.folder()
		if more := f.Scan(t.Context()); more || tries.Load() != maxInRow {
			t.Fatalf("%d tries, more %v", tries.Load(), more)
		}
		f.Scan(t.Context()) // takes the others
		if tries.Load() != 2*maxInRow {
			t.Fatalf("%d tries", tries.Load())
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { f.Run(ctx) })
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := tries.Load(); n > 8*14 {
			t.Errorf("%d tries in an hour", n)
		}
		mended.Store(true)
		time.Sleep(lastRetry + pollEvery)
		synctest.Wait()
		h.wantSent(8)
		h.wantFiles("")
		stop()
		running.Wait()
		if len(f.waiting) > 0 {
			t.Errorf("%v are still waited for", f.waiting)
		}
	})
}

// A file that grows while it is read is not sent in part.
func TestGrowsWhileRead(t *testing.T) {
	h := newHouse(t)
	h.put("a.eml", sample)
	f := h.folder()
	grown := false
	f.opts.Inject = func(env *smtp.Envelope, from string, message io.Reader, begun func(string) error) (string, error) {
		if !grown {
			grown = true
			names, _ := filepath.Glob(h.path(".taking/*"))
			h.must(os.WriteFile(names[0], []byte(sample+"more\n"), 0o600))
		}
		return h.inject(env, from, message, begun)
	}
	f.Scan(t.Context())
	h.wantSent(0)
	for name, w := range f.waiting {
		w.next = time.Time{}
		f.waiting[name] = w
	}
	f.Scan(t.Context())
	h.wantSent(1)
	if !strings.HasSuffix(h.sent[0], "Text\r\nmore\r\n") {
		t.Errorf("%q", h.sent[0])
	}
	h.wantFiles("")
}

// A stop in mid-message leaves the file for the next start.
func TestStop(t *testing.T) {
	h := newHouse(t)
	h.put("a.eml", sample)
	ctx, stop := context.WithCancel(t.Context())
	h.fail = func() error { stop(); return errors.New("the store is closed") }
	h.folder().Scan(ctx)
	if h.wantSent(0); !strings.HasPrefix(h.files(), ".taking/") {
		t.Errorf("files %q", h.files())
	}
	h.fail = nil
	h.folder().Scan(t.Context())
	h.wantSent(1)
	h.wantFiles("")
}

func TestManyFiles(t *testing.T) {
	h := newHouse(t)
	for i := range perScan + 10 {
		h.put(fmt.Sprint(i), sample)
	}
	f := h.folder()
	if !f.Scan(t.Context()) {
		t.Error("the first scan took everything")
	}
	h.wantSent(perScan)
	if f.Scan(t.Context()) {
		t.Error("there is more after the second")
	}
	h.wantSent(perScan + 10)
}

// A file that causes a panic is moved to badDir; the others are sent.
func TestPanicIsContained(t *testing.T) {
	h := newHouse(t)
	h.must(os.Mkdir(h.dir, 0o755))
	h.fail = func() error {
		if strings.Contains(h.log.String(), "now") {
			return nil
		}
		h.log.WriteString("now ")
		panic("what is this header?")
	}
	h.put("a.eml", sample)
	h.put("b.eml", sample)
	f := h.folder()
	for range 3 {
		f.Scan(t.Context())
	}
	if len(h.sent) != 1 {
		t.Errorf("%d sent", len(h.sent))
	}
	bad, err := os.ReadDir(h.path("bad"))
	if err != nil || len(bad) != 2 || !strings.Contains(h.log.String(), "scan.go") {
		t.Errorf("aside: %v, %v\n%s", bad, err, h.log.String())
	}
}

// TestCrash checks that a message is sent once if the server stops between its acceptance and the
// removal of the file, and also if it stops before the acceptance.
func TestCrash(t *testing.T) {
	for _, accepted := range []bool{false, true} {
		h := newHouse(t)
		h.put("a.eml", sample)
		ctx, crash := context.WithCancel(t.Context())
		f := h.folder()
		f.opts.Inject = func(env *smtp.Envelope, from string, message io.Reader, begun func(string) error) (string, error) {
			crash()
			if !accepted {
				begun("P3_0")
			} else if _, err := h.inject(env, from, message, begun); err != nil {
				t.Error(err)
			}
			return "", errors.New("crash")
		}
		f.Scan(ctx)
		if files := h.files(); !strings.HasPrefix(files, ".taking/P3_") || !strings.HasSuffix(files, ".a.eml") {
			t.Errorf("files %q", files)
		}
		next := h.folder()
		next.opts.Accepted = func(id string) bool { return slices.Contains(h.accepted, id) }
		next.Scan(t.Context())
		h.wantSent(1)
		h.wantFiles("")
	}
}
