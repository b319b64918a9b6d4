package mailtest

import (
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// Shape is a text of any size, of a form for which some parser has needed quadratic time.
type Shape struct {
	Name string
	Text func(size int) string // about size octets
}

const (
	linearLarge = 128 << 10 // octets of the large text
	linearTimes = 8         // size ratio of the large and the small text
	// linearFloor is the CPU time that the large text may always take. A linear parser takes a few
	// milliseconds.
	linearFloor = 40 * time.Millisecond
	// linearRatio is the largest permitted ratio of the CPU times of the large text and of the small
	// text linearTimes in a row, which is as long. Linear work has the ratio 1, quadratic work 8.
	linearRatio = 3
	maxFailed   = 5 // shapes that are reported
)

// Linear runs parse on each shape, and fails if the work grows faster than the text. It measures
// the CPU time of this process, so that other processes do not count, and takes the minimum of
// several runs. No other test of the process may run meanwhile.
func Linear(t *testing.T, parse func(text string), shapes ...Shape) {
	t.Helper()
	if raceDetector {
		t.Skip("the race detector takes most of the time")
	}
	failed := 0
	for _, s := range shapes {
		if failed == maxFailed {
			return
		}
		text := s.Text(linearLarge)
		if cpuTime(1, parse, text) < linearFloor {
			continue
		}
		text = s.Text(linearLarge / linearTimes)
		small := cpuTime(3, func(text string) { // as long as the large text: some clocks are coarse
			for range linearTimes {
				parse(text)
			}
		}, text)
		large := cpuTime(3, parse, s.Text(linearLarge))
		if large >= linearFloor && large > linearRatio*small {
			failed++
			t.Errorf("%s: %d octets, %d times in a row, cost %v; as many at once cost %v",
				s.Name, linearLarge/linearTimes, linearTimes, small, large)
		}
	}
}

// cpuTime returns the minimum CPU time of several runs.
func cpuTime(runs int, parse func(string), text string) time.Duration {
	// Without this, a collection would fall into the large text only.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	times := make([]time.Duration, runs)
	for i := range times {
		before := processTime()
		parse(text)
		times[i] = processTime() - before
	}
	return slices.Min(times)
}

// clockProcess is CLOCK_PROCESS_CPUTIME_ID of clock_gettime(2), which package syscall lacks.
const clockProcess = 2

// processTime returns the CPU time that the process has used.
func processTime() time.Duration {
	var now syscall.Timespec
	_, _, errno := syscall.RawSyscall(
		syscall.SYS_CLOCK_GETTIME, clockProcess, uintptr(unsafe.Pointer(&now)), 0)
	if errno != 0 {
		panic(errno)
	}
	return time.Duration(now.Nano())
}

// repeated is a Shape that repeats part between begin and end.
func repeated(name, begin, part, end string) Shape {
	return Shape{name, func(size int) string {
		return begin + strings.Repeat(part, max(1, (size-len(begin)-len(end))/len(part))) + end
	}}
}

// numbered is a Shape that repeats part with a running number between begin and end.
func numbered(name, begin, part, end string) Shape {
	return Shape{name, func(size int) string {
		var b strings.Builder
		b.WriteString(begin)
		for i := 0; b.Len()+len(end) < size; i++ {
			fmt.Fprintf(&b, part, i)
		}
		return b.String() + end
	}}
}

// Values returns values of header fields, which also serve as arguments of commands.
func Values() []Shape {
	var all []Shape
	for _, part := range []string{
		",", ";", ":", " ", "\t", "(", ")", "()", `"`, `\`, `\"`, `"a"`, `"a" `, "<", ">", "<>", "<a@b.c>", "[", "]", "[1]", "@", "@a,", "@a:", ".", ". ", " .", "a", "a ", "a.", "a .",
		"a,", "a@b.c,", "a@b.c, ", "a <a@b.c>, ", "<a@b.c> ", "g:a@b.c;", "g: ", "=?", "=?utf-8?q?a?=", "=?utf-8?q?a?= ", "=?utf-8?b?YQ==?= ", "?=",
		"; a=b", ";a=b", "; a*0*=b", `; a="b"`, ";a", "a/b; ", "=", "%", "%41", "ü", "ü.", "u\u0308", "\u0308", "\xff", "\xff,", "\x00", "$", "+", "-", "--", "1", "1 ", "1.", "1.1.1 ",
		"x=1 ", "/", "/a", "'", "''", "{", "rfc822;", "(a)@", "a@", "a!", "a%b",
	} {
		all = append(all, repeated(quote(part), "", part, ""))
		if strings.ContainsAny(part, ",;") || len(part) > 2 {
			all = append(all, repeated(quote(part)+" and an address", "", part, " x@y.example"))
		}
	}
	return append(all,
		repeated("an open quote", `"`, "a ", ""), repeated("an open comment", "x@y.example (", "a ", ""), repeated("an open angle", "<", "a ", ""),
		repeated("nested comments", "x@y.example ", "(", strings.Repeat(")", 1000)), repeated("a long domain", "x@", "a.", "example"),
		repeated("a long international domain", "x@", "ü", ".example"), repeated("labels of an international domain", "x@", "üa.", "example"),
		repeated("a long literal", "x@[", "1", "]"), repeated("a long local part", "", "a", "@y.example"), repeated("a long quoted one", `"`, `\a`, `"@y.example`),
		repeated("a boundary", `multipart/mixed; boundary="`, "b", `"`), repeated("parameters", "multipart/mixed; boundary=b", "; a=b", ""),
		numbered("addresses that differ", "", "a%d@b.c, ", "x@y.example"), numbered("domains that differ", "", "a@b%d.c, ", "x@y.example"),
		numbered("words that differ", "", "a%d ", ""), numbered("parameters that differ", "multipart/mixed; boundary=b", "; a%d=b", ""),
		numbered("continued parameters that differ", "multipart/mixed; boundary*0=b", "; boundary*%d=b", ""),
		numbered("parameters of Unix programs", "", "x%d=1 ", ""),
		Shape{"an international domain of many letters", func(size int) string {
			var b strings.Builder
			b.WriteString("x@")
			for r := rune(0x4e00); b.Len() < size; r++ { // Han letters, starting again after the last
				b.WriteRune(0x4e00 + (r-0x4e00)%0x5000)
			}
			return b.String() + ".example"
		}},
		repeated("continued parameters", "multipart/mixed; boundary*0=b", "; boundary*1=b", ""),
	)
}

func quote(part string) string { return "many " + strings.ToValidUTF8(part, "?") }

// Headers returns whole headers: each value in each of the fields, in one line and in as many as
// fit, and an unlimited number of fields. Each ends with an empty line.
func Headers(fields ...string) []Shape {
	var all []Shape
	for _, field := range fields {
		for _, v := range Values() {
			all = append(all, Shape{field + " with " + v.Name, func(size int) string {
				return field + ": " + v.Text(size) + "\r\n\r\n"
			}})
		}
		for _, part := range []string{",\r\n ", "a\r\n ", "\r\n\t", "(\r\n ", "\"\r\n ", "a@b.c,\r\n ", ";\r\n a=b", "=?utf-8?q?a?=\r\n ", ".\r\n "} {
			all = append(all,
				repeated(field+" folded, "+strings.TrimSpace(part), field+": ", part, "x@y.example\r\n\r\n"),
				repeated(field+" folded after others, "+strings.TrimSpace(part), "To: x@y.example\r\n"+field+": ", part, "\r\n\r\n"))
		}
		all = append(all,
			repeated(field+" many times", "", field+": x@y.example\r\n", "\r\n"), repeated(field+" many times, empty", "", field+":\r\n", "\r\n"),
			repeated(field+" many times, folded", "", field+":\r\n x\r\n", "\r\n"))
	}
	return append(all, numbered("fields that differ", "", "a%d: b\r\n", "\r\n"), repeated("short fields", "", "a:\r\n", "\r\n"), repeated("blank folds", "A: b\r\n", " \r\n", "\r\n"),
		repeated("no header at all", "", "a\r\n", ""), repeated("one line", "", "a", ""), repeated("line feeds", "", "\n", ""), repeated("carriage returns", "", "\r", ""),
		repeated("CR CR LF", "A: b", "\r\r\n ", "\r\n\r\n"), repeated("dots", "A: b\r\n\r\n", ".\r\n", ""), repeated("a long name", "", "a", ": b\r\n\r\n"))
}

// Messages returns messages whose bodies MIME parsers must examine.
func Messages() []Shape {
	const multipart = "MIME-Version: 1.0\r\nContent-Type: multipart/report; boundary=b\r\n\r\n"
	const status = multipart + "--b\r\nContent-Type: message/delivery-status\r\n\r\n"
	var all []Shape
	for _, part := range []string{
		"--b\r\n", "--b\r\n\r\n", "--b--\r\n", "--\r\n", "-", "--b", "--b ", "\r\n", "\r", "\n--b\n", "a\r\n--", "--b\r\nContent-Type: text/plain\r\n\r\nx\r\n",
		"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n", "--b\r\nA: b\r\n", "--b\r\n A: b\r\n", "=\r\n", "=3D", "From a@b.c Mon Jan  1 12:00:00 2024\r\n", ">From \r\n", ">",
	} {
		all = append(all, repeated("a body of "+quote(strings.TrimSpace(part)), multipart, part, ""))
	}
	for _, part := range []string{
		"a\r\n", " a\r\n", "\r\n", "\r\na: b\r\n", "Final-Recipient: rfc822;a@b.c\r\n", "Final-Recipient: rfc822;a@b.c\r\n\r\n", "Action: ", ";", "Diagnostic-Code: smtp; 550\r\n x\r\n",
		"Status: 5.1.1\r\n", "Status: 5.1.1 (", "Arrival-Date: Mon, 1 Jan 2024 12:00:00 +0000 (", "=\r\n",
	} {
		all = append(all, repeated("a status of "+quote(strings.TrimSpace(part)), status, part, "\r\n\r\n--b--\r\n"))
	}
	return append(all, Shape{"a long boundary and lines like it", func(size int) string {
		b := strings.Repeat("b", size/3)
		return "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"" + b + "\"\r\n\r\n" + strings.Repeat("--\r\n--b\r\n", size/15)
	}})
}
