package simulate

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// openFaults are the kinds of faults that the server does not bear yet. They are left out unless SIMULATE_WITHOUT says
// otherwise.
const openFaults = ""

// settings come from the environment; see "The simulation" in etc/docs/storage.md.
type settings struct {
	seed    uint64          // of the first history
	count   int             // histories; 0: until stopped
	steps   int             // of each, at least
	workers int             // processes
	without map[string]bool // kinds of faults that do not happen
}

func readSettings(t *testing.T) settings {
	s := settings{seed: uint64(number(t, "SIMULATE_SEED", int(time.Now().UnixNano()/1000%1_000_000_000))), without: make(map[string]bool)}
	s.count, s.steps, s.workers = number(t, "SIMULATE_COUNT", 60), number(t, "SIMULATE_STEPS", 100), number(t, "SIMULATE_WORKERS", 1)
	without, set := os.LookupEnv("SIMULATE_WITHOUT")
	if !set {
		without = openFaults
	}
	for _, kind := range strings.Fields(without) {
		s.without[kind] = true
	}
	return s
}

func number(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

func self(t *testing.T) string {
	path, err := os.Executable()
	must(t, err)
	return path
}

// TestSimulation lives through new histories.
func TestSimulation(t *testing.T) {
	s := readSettings(t)
	t.Logf("seeds from %d", s.seed)
	fmt.Printf("simulation: seeds from %d\n", s.seed)
	found := newFindings(t, s)
	var next, done atomic.Uint64
	began := time.Now()
	told := time.NewTicker(10 * time.Second)
	defer told.Stop()
	var workers sync.WaitGroup
	for range s.workers {
		workers.Go(func() {
			p := &process{binary: self(t)}
			defer p.stop()
			for n := next.Add(1); s.count == 0 || n <= uint64(s.count); n = next.Add(1) {
				h := generate(s.seed+n-1, s.steps, s.without)
				if v := p.live(h); len(v.Wrong) > 0 {
					found.add(p, h, v)
				}
				done.Add(1)
			}
		})
	}
	over := make(chan struct{})
	go func() { workers.Wait(); close(over) }()
	for {
		select {
		case <-told.C:
			n := done.Load()
			fmt.Printf("simulation: %d histories, %.1f a second, %d kinds of failures\n", n, float64(n)/time.Since(began).Seconds(), found.kinds())
		case <-over:
			found.tell()
			return
		}
	}
}

// findings are the failures that were found, one of each kind shortened.
type findings struct {
	t     *testing.T
	limit time.Duration
	mu    sync.Mutex
	count map[string]int // by kind
}

func newFindings(t *testing.T, s settings) *findings {
	return &findings{t: t, limit: time.Duration(number(t, "SIMULATE_SHRINK", 60)) * time.Second, count: make(map[string]int)}
}

func (f *findings) kinds() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.count)
}

func (f *findings) add(p *process, h History, v verdict) {
	kind := kindOf(v.Wrong[0])
	f.mu.Lock()
	f.count[kind]++
	known := f.count[kind] > 1
	f.mu.Unlock()
	if known {
		return
	}
	fails := func(h History) string {
		last := p.live(h)
		if kindOf(first(last.Wrong)) == kind {
			v = last
		}
		return first(last.Wrong)
	}
	note := ""
	if kindOf(fails(h)) == kind {
		h = shrink(h, f.limit, fails)
	} else {
		note = "It did not fail a second time."
	}
	text := comment(v.Wrong...) + comment(note) + h.String() + comment("What happened:") + comment(v.Trace...)
	name := filepath.Join(os.TempDir(), fmt.Sprintf("simulate-%d.history", h.Seed))
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		f.t.Error(err)
	}
	f.t.Errorf("seed %d: %s\nThe history, shortened, is in %s; SIMULATE_HISTORY=%s make simulate replays it:\n%s", h.Seed, first(v.Wrong), name, name, text)
}

func comment(lines ...string) (text string) {
	for _, line := range lines {
		text += "# " + strings.ReplaceAll(line, "\n", "\n# ") + "\n"
	}
	return text
}

func (f *findings) tell() {
	for kind, n := range f.count {
		f.t.Logf("%d × %s", n, kind)
	}
}

// TestKnownHistories lives through all histories that ever failed.
func TestKnownHistories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.history")
	must(t, err)
	p := &process{binary: self(t)}
	defer p.stop()
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		h, err := parseHistory(text)
		must(t, err)
		if wrong := p.run(h); len(wrong) > 0 {
			t.Errorf("%s: %s", file, strings.Join(wrong, "\n"))
		}
	}
}

// TestReplay lives through the history in the file that SIMULATE_HISTORY names, and tells what happens.
func TestReplay(t *testing.T) {
	file := os.Getenv("SIMULATE_HISTORY")
	if file == "" {
		t.Skip("SIMULATE_HISTORY names no history")
	}
	text, err := os.ReadFile(file)
	must(t, err)
	h, err := parseHistory(text)
	must(t, err)
	p := &process{binary: self(t), verbose: true}
	defer p.stop()
	for _, wrong := range p.run(h) {
		t.Error(wrong)
	}
}

// TestHistoryText: a history is what its text says.
func TestHistoryText(t *testing.T) {
	for seed := range uint64(20) {
		h := generate(seed, 50, nil)
		again, err := parseHistory([]byte("# a comment\n" + h.String()))
		must(t, err)
		if again.String() != h.String() || len(again.Steps) != len(h.Steps) {
			t.Fatalf("%s\nbecame\n%s", h, again)
		}
	}
}

// TestShrink: what does not matter goes, what matters stays.
func TestShrink(t *testing.T) {
	h := generate(1, 60, nil)
	h.Steps = slices.Insert(h.Steps, 30, Step{Do: "add", Box: "needed"})
	fails := func(h History) string {
		if slices.ContainsFunc(h.Steps, func(s Step) bool { return s.Box == "needed" }) {
			return "wrong"
		}
		return ""
	}
	if h = shrink(h, time.Minute, fails); len(h.Steps) != 1 || h.Steps[0].Box != "needed" {
		t.Errorf("left are\n%s", h)
	}
}

// TestWaiting: of a dump, what holds virtual time up is told.
func TestWaiting(t *testing.T) {
	dump := `SIGQUIT: quit

goroutine 1 [chan receive]:
testing.(*T).Run(0xc000)
	/go/testing.go:1 +0x1

goroutine 7 gp=0x1 m=nil [sync.Mutex.Lock, synctest bubble 5]:
sync.(*Mutex).Lock(...)
	/go/mutex.go:46
pillarbox/quota.(*Ledger).Forget(0x1)
	/src/quota.go:9 +0x1
pillarbox/cmd/internal/admin.(*Service).exclusively(0x1, {0x2, 0x3})
	/src/admin.go:9 +0x1

goroutine 8 gp=0x1 m=nil [select (durable), synctest bubble 5]:
pillarbox/mailstore.(*keeper).run(0x1)
	/src/keeper.go:1 +0x1
`
	if got := waiting(dump); got != "quota.(*Ledger).Forget < admin.(*Service).exclusively" {
		t.Errorf("%q", got)
	}
}
