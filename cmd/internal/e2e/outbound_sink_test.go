//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// sink is a running smtp-sink, which stores received messages in files.
type sink struct {
	dir  string
	port string
	cmd  *exec.Cmd
}

// newSink starts smtp-sink on a port, or on a free one for "". It runs until the end of the test or
// until stop.
func newSink(t *testing.T, port string, options ...string) *sink {
	t.Helper()
	needs(t, "smtp-sink")
	if port == "" {
		port = freePort(t)
	}
	k := &sink{dir: t.TempDir(), port: port}
	args := append([]string{"-4", "-d", filepath.Join(k.dir, "m."), "-u", "root"}, options...)
	k.cmd = exec.Command("smtp-sink", append(args, "127.0.0.1:"+port, "100")...)
	k.cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	k.cmd.Stderr = os.Stderr
	if err := k.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.stop)
	listening(t, port)
	return k
}

func (k *sink) stop() {
	if k.cmd.ProcessState == nil {
		k.cmd.Process.Signal(syscall.SIGTERM)
		k.cmd.Wait()
	}
}

// dump is a message that smtp-sink has stored.
type dump struct {
	mail    string   // arguments of MAIL
	rcpt    []string // arguments of each RCPT
	message string   // with LF line ends
}

// wantDumps waits until the sink has this number of messages.
func (k *sink) wantDumps(t testing.TB, count int) []dump {
	t.Helper()
	var dumps []dump
	eventually(t, "messages in the sink", func() bool {
		dumps = k.dumps(t)
		return len(dumps) >= count
	})
	if len(dumps) != count {
		t.Fatalf("the sink has %d messages, want %d", len(dumps), count)
	}
	return dumps
}

// dumps returns the complete messages, the oldest first.
func (k *sink) dumps(t testing.TB) []dump {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(k.dir, "m.*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(files, func(a, b string) int { return written(t, a).Compare(written(t, b)) })
	var all []dump
	for _, file := range files {
		if d, ok := parseDump(read(t, file)); ok {
			all = append(all, d)
		}
	}
	return all
}

// parseDump parses the format of smtp-sink(1): its own fields, which end with a Received field of
// three lines, the message, and an empty line.
func parseDump(text string) (d dump, whole bool) {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "X-Mail-Args":
			d.mail = value
		case "X-Rcpt-Args":
			d.rcpt = append(d.rcpt, value)
		}
		if name == "Received" {
			break
		}
	}
	_, after, found := strings.Cut(text, "\nReceived: from ")
	for range 3 {
		_, after, _ = strings.Cut(after, "\n")
	}
	d.message, whole = strings.CutSuffix(after, "\n\n")
	d.message += "\n"
	return d, found && whole
}

// memory returns the memory of a process in KiB.
func (s *server) memory(t testing.TB) int {
	t.Helper()
	return s.status(t, "VmRSS")
}

// status returns a number from /proc/PID/status.
func (s *server) status(t testing.TB, name string) (number int) {
	t.Helper()
	for line := range strings.Lines(read(t, "/proc/"+strconv.Itoa(s.cmd.Process.Pid)+"/status")) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			for _, c := range strings.TrimSpace(value) {
				if c < '0' || c > '9' {
					break
				}
				number = number*10 + int(c-'0')
			}
		}
	}
	return number
}
