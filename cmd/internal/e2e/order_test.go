//go:build e2e

package e2e

import (
	"regexp"
	"strings"
	"testing"
)

// call is one system call, with the lines of the trace where it began and ended.
type call struct {
	name, args string
	begin, end int
}

var (
	wholeCall   = regexp.MustCompile(`^(\d+) +(\w+)\((.*)\) += \d+`)
	begunCall   = regexp.MustCompile(`^(\d+) +(\w+)\((.*) <unfinished \.\.\.>`)
	resumedCall = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>.*\) += \d+`)
)

// calls parses the output of strace -f: the successful calls, in the order of their beginning.
func calls(trace string) []call {
	var all []call
	begun := make(map[string]int) // by thread: index in all
	n := 0
	for line := range strings.Lines(trace) {
		n++
		if m := wholeCall.FindStringSubmatch(line); m != nil {
			all = append(all, call{m[2], m[3], n, n})
		} else if m := begunCall.FindStringSubmatch(line); m != nil {
			begun[m[1]] = len(all)
			all = append(all, call{m[2], m[3], n, 0})
		} else if m := resumedCall.FindStringSubmatch(line); m != nil {
			all[begun[m[1]]].end = n
		}
	}
	return all
}

// step is a call that a delivery must make.
type step struct{ what, name, args string }

// syncAgain is a step that may have happened earlier too, at the start.
var syncAgain = step{"everything is synced later", "syncfs", ""}

// TestOrderOfCalls traces deliveries with strace. A kill does not show whether data was synced,
// because written data survives it; the order of the calls does. A small message must be in the
// log, which is opened with O_DSYNC, before it is linked. A large one must be on disk before the
// log names it.
func TestOrderOfCalls(t *testing.T) {
	needs(t, "strace")
	o := newOffice(t)
	mailbox := regexp.QuoteMeta(o.mailbox(anna))
	incoming := regexp.QuoteMeta(o.path("data", "incoming"))
	data := regexp.QuoteMeta(o.path("data"))
	told := step{"the client is told", "write", `^\d+<.*>, "250 2\.6\.0 `}
	tests := []struct {
		name, body string
		order      []step
	}{
		{"small", letter("watched"), []step{
			{"the log is opened for synced writes", "openat2", `^\d+<` + data + `>, "log/log0", \{flags=O_RDWR.*\|O_DSYNC`},
			{"the message is in the log", "pwrite64", `^\d+<` + data + `/log/log0>, "PBGR`},
			{"it is linked into the mailbox", "linkat", `"/proc/self/fd/\d+", \d+<` + mailbox + `>, "P3_\d+_\d+d?\.eml", AT_SYMLINK_FOLLOW`},
			told,
			syncAgain,
		}},
		{"large", letter("watched") + strings.Repeat("a line of text\r\n", 10_000), []step{
			{"the message is synced", "fsync|fdatasync", `^\d+<` + incoming + `/P3_\d+>$`},
			{"its name is in the log", "pwrite64", `^\d+<` + data + `/log/log\d>, "PBGR`},
			{"it is linked into the mailbox", "linkat", `"/proc/self/fd/\d+", \d+<` + mailbox + `>, "P3_\d+_\d+d?\.eml", AT_SYMLINK_FOLLOW`},
			told,
		}},
	}
	for _, test := range tests {
		file := o.path("trace")
		// -D keeps the server our own child. -y prints descriptors with their paths.
		s := o.serve(t, "strace", "-D", "-f", "-y", "-s", "80", "-o", file, "-e", "trace=openat2,fsync,fdatasync,syncfs,linkat,write,pwrite64")
		o.deliver(t, test.body, anna)
		s.stop(t)
		assertOrder(t, test.name, read(t, file), test.order)
	}
}

// assertOrder expects one call for each step. Each call must begin after the end of the previous
// one.
func assertOrder(t *testing.T, test, trace string, order []step) {
	t.Helper()
	all, after := calls(trace), 0
	for _, step := range order {
		name, args := regexp.MustCompile("^("+step.name+")$"), regexp.MustCompile(step.args)
		var found []call
		for _, c := range all {
			if name.MatchString(c.name) && args.MatchString(c.args) && !(step == syncAgain && c.begin <= after) {
				found = append(found, c)
			}
		}
		if len(found) != 1 || found[0].begin <= after || found[0].end == 0 {
			t.Fatalf("%s: %s: found %v, want one call after line %d of\n%s", test, step.what, found, after, trace)
		}
		after = found[0].end
	}
}

// TestSendfile checks that a message without a line that begins with a dot is sent by sendfile.
func TestSendfile(t *testing.T) {
	needs(t, "strace")
	o := newOffice(t)
	file := o.path("trace")
	s := o.serve(t, "strace", "-D", "-f", "-y", "-s", "80", "-o", file, "-e", "trace=sendfile")
	body := "Subject: no dots\r\n\r\n" + strings.Repeat("a line of text\r\n", 10_000)
	o.deliver(t, body, anna)
	messages, _ := o.fetched(t, anna, annaPassword)
	s.stop(t)
	if len(messages) != 1 || !strings.HasSuffix(messages[0], body) {
		t.Errorf("%d messages, or not the one", len(messages))
	}
	if trace := read(t, file); !regexp.MustCompile(`sendfile\(\d+<.*>, \d+<.*/P3_\d+_\d+\.eml>`).MatchString(trace) {
		t.Errorf("no sendfile:\n%.2000s", trace)
	}
}
