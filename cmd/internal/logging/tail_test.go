package logging

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
)

func TestTail(t *testing.T) {
	var tail Tail
	var out bytes.Buffer
	log := slog.New(Lines(&out, &tail, false))
	for n := range 10_000 {
		log.Info("message", "number", n, "text", strings.Repeat("x", 100))
	}
	log.Warn("Something else")
	lines := tail.Last(3, "")
	if len(lines) != 3 || !strings.Contains(lines[0], "number=9998") || !strings.Contains(lines[2], "Something else") {
		t.Errorf("the last lines are %q", lines)
	}
	if found := tail.Last(10, "something ELSE"); len(found) != 1 {
		t.Errorf("found %q", found)
	}
	all := tail.Last(1_000_000, "")
	if size := len(strings.Join(all, "\n")); size < tailSize-1000 || size > 2*tailSize {
		t.Errorf("%d octets are kept, want about %d", size, tailSize)
	}
	if !strings.HasPrefix(all[0], "time=") {
		t.Errorf("the first line is not whole: %q", all[0])
	}
	if !strings.HasSuffix(out.String(), strings.Join(all, "\n")+"\n") {
		t.Error("the tail is not the end of the output")
	}
}

// A line without end, longer than the tail, takes no more room than the tail.
func TestTailLongLine(t *testing.T) {
	var tail Tail
	for range 5 {
		fmt.Fprintln(tail.over(new(bytes.Buffer)), strings.Repeat("y", 3*tailSize))
	}
	if n := len(tail.text); n > 2*tailSize {
		t.Errorf("%d octets are kept", n)
	}
	if got := slices.Concat(tail.Last(1, "")); len(got) != 1 {
		t.Errorf("%d lines", len(got))
	}
}
