package logging

import (
	"bytes"
	"io"
	"strings"
	"sync"
)

// tailSize is how many octets of the log a Tail keeps at least, once it has seen them.
const tailSize = 256 << 10

// Tail keeps the end of the log in memory, for an administrator who has no other way to it. The zero
// value is ready for use. It is safe for concurrent use.
type Tail struct {
	mu   sync.Mutex
	text []byte // owner: mu; whole lines, at most 2*tailSize octets
}

// over returns a writer that writes to w and keeps what it writes; w itself if there is no Tail. A
// handler makes one Write for a line.
func (t *Tail) over(w io.Writer) io.Writer {
	if t == nil {
		return w
	}
	return tee{t, w}
}

type tee struct {
	tail *Tail
	to   io.Writer
}

func (w tee) Write(line []byte) (int, error) {
	w.tail.keep(line)
	return w.to.Write(line)
}

func (t *Tail) keep(line []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.text)+len(line) > 2*tailSize {
		old := t.text[max(len(t.text)-tailSize, 0):]
		t.text = append(t.text[:0], old[bytes.IndexByte(old, '\n')+1:]...)
	}
	if len(line) > tailSize {
		line = append(line[:tailSize-1:tailSize-1], '\n')
	}
	t.text = append(t.text, line...)
}

// Last returns the latest lines that contain a text, whatever its case; the oldest first, at most
// limit.
func (t *Tail) Last(limit int, containing string) []string {
	t.mu.Lock()
	text := string(t.text)
	t.mu.Unlock()
	containing = strings.ToLower(containing)
	found := []string{}
	for line := range strings.Lines(text) {
		if strings.Contains(strings.ToLower(line), containing) {
			found = append(found, strings.TrimRight(line, "\n"))
		}
	}
	return found[max(len(found)-limit, 0):]
}
