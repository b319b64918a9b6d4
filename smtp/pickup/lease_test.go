package pickup

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// writer is a program that has a file in the folder open for writing.
func (h *house) writer(name string) (in io.WriteCloser, wait func()) {
	h.t.Helper()
	h.must(os.MkdirAll(h.dir, 0o700))
	cmd := exec.Command("sh", "-c", `exec cat > "$0"`, h.path(name))
	in, err := cmd.StdinPipe()
	h.must(err)
	h.must(cmd.Start())
	return in, func() { in.Close(); cmd.Wait() }
}

// holds waits until a file has a content.
func (h *house) holds(name, text string) {
	h.t.Helper()
	for range 5000 {
		if got, _ := os.ReadFile(h.path(name)); string(got) == text {
			return
		}
		time.Sleep(time.Millisecond)
	}
	h.t.Fatalf("%s does not get its content", name)
}

// TestOpenFileIsNotTaken checks that a file is not taken while a program has it open for writing,
// however long ago it wrote.
func TestOpenFileIsNotTaken(t *testing.T) {
	h := newHouse(t)
	in, wait := h.writer("a.eml")
	defer wait()
	io.WriteString(in, sample)
	h.holds("a.eml", sample)
	h.age("a.eml", time.Hour)
	f := h.folder()
	for range 2 {
		f.Scan(t.Context())
		h.wantSent(0)
		h.wantFiles("a.eml")
	}
	if n := strings.Count(h.log.String(), "open for writing"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, &h.log)
	}
	io.WriteString(in, "second half\n")
	wait()
	h.age("a.eml", time.Hour)
	f.Scan(t.Context())
	h.wantSent(1)
	if !strings.HasSuffix(h.sent[0], "second half\r\n") {
		t.Errorf("sent %q", h.sent[0])
	}
	h.wantFiles("")
}

// TestOpenClaimedFileWaits checks that a file is not sent either if it was claimed while a program
// had it open.
func TestOpenClaimedFileWaits(t *testing.T) {
	h := newHouse(t)
	in, wait := h.writer("a.eml")
	defer wait()
	io.WriteString(in, sample)
	h.holds("a.eml", sample)
	h.must(os.Mkdir(h.path(takingDir), 0o700))
	h.must(os.Rename(h.path("a.eml"), h.path(".taking/x.a.eml")))
	f := h.folder()
	f.Scan(t.Context())
	h.wantSent(0)
	h.wantFiles(".taking/x.a.eml")
	wait()
	f.waiting = map[string]retry{}
	f.Scan(t.Context())
	h.wantSent(1)
	h.wantFiles("")
}
