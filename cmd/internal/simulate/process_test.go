package simulate

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Histories are lived through in a process of their own: one that hangs, or panics, is found too and can be shortened, and
// with one processor and without preemption a history goes the same way each time.

const (
	answerMark = "@@ "
	patience   = 30 * time.Second // for one history, in real time
)

// verdict is what a process says of a history.
type verdict struct {
	Wrong []string `json:"wrong"`
	Trace []string `json:"trace"` // what happened
}

// TestLive is the process: it reads histories, a line of JSON each, and answers each with a verdict.
func TestLive(t *testing.T) {
	if os.Getenv("SIMULATE_LIVE") == "" {
		t.Skip("this is the other half of the other tests")
	}
	level, verbose := "error", io.Writer(nil)
	if os.Getenv("SIMULATE_VERBOSE") != "" {
		level, verbose = "debug", os.Stderr
	}
	b := newBase(t, level)
	b.failed = func(w *world) { answer(w.verdict()) }
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var h History
		must(t, json.Unmarshal(line, &h))
		v := b.run(t, h, verbose)
		if n%50 == 0 {
			if held := heap(); held > mostHeap {
				v.Wrong = append(v.Wrong, fmt.Sprintf("after %d histories %d octets of memory are in use", n, held))
			}
		}
		answer(v)
	}
}

// mostHeap is how much memory a process may hold between two histories. Servers that have ended hold none.
const mostHeap = 48 << 20

func heap() uint64 {
	runtime.GC()
	runtime.GC() // what a pool or a finalizer still held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func answer(v verdict) {
	text, _ := json.Marshal(v)
	fmt.Printf("%s%s\n", answerMark, text)
}

// process runs histories.
type process struct {
	binary  string
	verbose bool
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	said    *tail
}

// tail keeps the beginning of what a process says before it dies.
type tail struct {
	mu   sync.Mutex
	text strings.Builder
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.text.Len() < 64<<10 {
		t.text.Write(p)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

func (p *process) start() error {
	p.cmd = exec.Command(p.binary, "-test.run=^TestLive$", "-test.timeout=0")
	p.cmd.Env = append(os.Environ(), "SIMULATE_LIVE=1", "GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1,madvdontneed=0", "GOGC=off", "GOMEMLIMIT=512MiB")
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.said = new(tail)
	p.cmd.Stderr = p.said
	if p.verbose {
		p.cmd.Env = append(p.cmd.Env, "SIMULATE_VERBOSE=1")
		p.cmd.Stderr = os.Stderr
	}
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	p.in, p.out = in, bufio.NewReaderSize(out, 1<<20)
	return p.cmd.Start()
}

func (p *process) stop() {
	if p.cmd == nil {
		return
	}
	p.in.Close()
	p.cmd.Process.Kill()
	p.cmd.Wait()
	p.cmd = nil
}

// run lives through a history and returns what was wrong, the first first.
func (p *process) run(h History) (wrong []string) { return p.live(h).Wrong }

// live lives through a history.
func (p *process) live(h History) verdict {
	broken := func(text string) verdict { return verdict{Wrong: []string{text}} }
	if p.cmd == nil {
		if err := p.start(); err != nil {
			return broken(err.Error())
		}
	}
	line, _ := json.Marshal(h)
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		p.stop()
		return broken("the process is gone: " + err.Error())
	}
	hung := time.AfterFunc(patience, func() { p.cmd.Process.Signal(syscall.SIGQUIT) })
	defer hung.Stop()
	var said strings.Builder
	for {
		line, err := p.out.ReadString('\n')
		if text, ok := strings.CutPrefix(line, answerMark); ok {
			var v verdict
			if err := json.Unmarshal([]byte(text), &v); err != nil {
				return broken(err.Error())
			}
			return v
		}
		said.WriteString(line)
		if err != nil {
			p.cmd.Wait()
			text := said.String() + p.said.String()
			p.cmd = nil
			if !hung.Stop() {
				return broken("the server hangs: " + waiting(text))
			}
			return broken("the server died: " + text)
		}
	}
}

var functionForm = regexp.MustCompile(`(?m)^(?:.*/)?([^\s/]+)\(.*\)$`)

// waiting is what a dump of all goroutines says of those that virtual time does not wait for, each in a line: one of them
// is to blame. Without any it is the dump.
func waiting(dump string) string {
	var lines []string
	for _, one := range strings.Split(dump, "\n\n") {
		head, _, _ := strings.Cut(one, "\n")
		if !strings.Contains(head, "synctest bubble") || strings.Contains(head, "(durable)") {
			continue
		}
		var calls []string
		for _, call := range functionForm.FindAllStringSubmatch(one, -1) {
			if !strings.HasPrefix(call[1], "runtime.") && !strings.HasPrefix(call[1], "sync.") {
				calls = append(calls, call[1])
			}
		}
		lines = append(lines, strings.Join(calls, " < "))
	}
	if len(lines) == 0 {
		return dump
	}
	return strings.Join(lines, "\n")
}

func first(wrong []string) string {
	if len(wrong) == 0 {
		return ""
	}
	return wrong[0]
}
