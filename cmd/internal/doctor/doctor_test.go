package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pillarbox/mailstore/durable"
)

var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// finds is a check with fixed findings.
func finds(name string, all ...Finding) Check {
	return Check{Name: name, Why: "why " + name, Run: func(context.Context) []Finding { return all }}
}

func f(s Severity, message string) Finding { return Finding{Severity: s, Message: message} }

func TestRun(t *testing.T) {
	for _, test := range []struct {
		name   string
		checks []Check
		opts   Options
		want   Counts
		code   int
	}{
		{"all well", []Check{finds("a", f(OK, "x")), finds("b", f(Skipped, "x"))}, Options{}, Counts{OK: 1, Skipped: 1}, 0},
		{"a warning", []Check{finds("a", f(OK, "x"), f(Warning, "y")), finds("b", f(OK, "x"))}, Options{}, Counts{OK: 1, Warnings: 1}, 1},
		{"an error", []Check{finds("a", f(Warning, "x"), f(Error, "y"), f(Error, "z"))}, Options{}, Counts{Warnings: 1, Errors: 2}, 2},
		{"skipped and ok is ok", []Check{finds("a", f(Skipped, "x"), f(OK, "y"))}, Options{}, Counts{OK: 1}, 0},
		{"left out", []Check{finds("a", f(Error, "x")), finds("b", f(OK, "y"))}, Options{Skip: []string{"a"}}, Counts{OK: 1, Skipped: 1}, 0},
		{"a panic ends only its check", []Check{
			{Name: "a", Run: func(context.Context) []Finding { panic("bug") }}, finds("b", f(OK, "x")),
		}, Options{}, Counts{OK: 1, Errors: 1}, 2},
		{"out of time", []Check{{Name: "a", Run: func(ctx context.Context) []Finding {
			<-ctx.Done()
			return []Finding{f(Warning, "late")}
		}}}, Options{Timeout: time.Nanosecond}, Counts{Warnings: 1}, 1},
		{"kept, because rare", []Check{{Name: "a", Rare: true, Run: finds("", f(Error, "x")).Run}},
			Options{Keep: []Result{{Check: "a", Findings: []Finding{f(OK, "old")}}}}, Counts{OK: 1}, 0},
		{"done again, because not rare", []Check{finds("a", f(Error, "x"))},
			Options{Keep: []Result{{Check: "a", Findings: []Finding{f(OK, "old")}}}}, Counts{Errors: 1}, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := Run(t.Context(), test.checks, test.opts, noon).Counts()
			if n != test.want || n.ExitCode() != test.code {
				t.Errorf("%+v, exit status %d; want %+v, %d", n, n.ExitCode(), test.want, test.code)
			}
		})
	}
}

func TestCountsString(t *testing.T) {
	if got, want := (Counts{OK: 1, Skipped: 2, Warnings: 1}).String(), "1 check ok, 2 skipped, 1 warning, 0 errors"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestCompare(t *testing.T) {
	report := func(check string, all ...Finding) Report {
		return Report{Results: []Result{{Check: check, Findings: all}}}
	}
	box := func(s Severity, subject, message string) Finding {
		return Finding{Severity: s, Subject: subject, Message: message}
	}
	for _, test := range []struct {
		name          string
		before, after Report
		want          []string // "+" or "-" and the message
	}{
		{"the first", Report{}, report("a", f(Warning, "x"), f(OK, "y")), []string{"+x"}},
		{"no change", report("a", f(Error, "x")), report("a", f(Error, "x")), nil},
		{"gone", report("a", f(Error, "x")), report("a", f(OK, "y")), []string{"-x"}},
		{"only numbers differ", report("a", f(Error, "3 MB free")), report("a", f(Error, "2 MB free")), nil},
		{"another text", report("a", f(Error, "x")), report("a", f(Error, "y")), []string{"+y", "-x"}},
		{"another subject", report("a", box(Error, "anna", "full")), report("a", box(Error, "ben", "full")), []string{"+full", "-full"}},
		{"same subject", report("a", box(Error, "anna", "full, 100 %")), report("a", box(Error, "anna", "full, again")), nil},
		{"worse", report("a", box(Warning, "anna", "near")), report("a", box(Error, "anna", "full")), []string{"+full", "-near"}},
		{"skipped says nothing", report("a", f(Error, "x")), report("a", f(Skipped, "y")), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, c := range Compare(test.before, test.after) {
				mark := "+"
				if c.Gone {
					mark = "-"
				}
				got = append(got, mark+c.Message)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

func TestLast(t *testing.T) {
	dir := t.TempDir()
	if _, err := Last(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a result: %v", err)
	}
	root, err := durable.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	long := strings.Repeat("x", 3*maxText)
	var many []Finding
	for range 2 * maxProblems {
		many = append(many, f(Warning, long))
	}
	report := Run(t.Context(), []Check{finds("a", f(OK, "fine")), finds("b", many...)}, Options{}, noon)
	if err := Save(root, report); err != nil {
		t.Fatal(err)
	}
	s, err := Last(dir)
	if err != nil {
		t.Fatal(err)
	}
	if s.Counts != report.Counts() || !s.Time.Equal(noon) || len(s.Problems) != maxProblems {
		t.Errorf("%+v at %v with %d problems", s.Counts, s.Time, len(s.Problems))
	}
	if p := s.Problems[0]; p.Check != "b" || len(p.Message) > maxText+len("…") {
		t.Errorf("check %q, a message of %d octets", p.Check, len(p.Message))
	}
	file := filepath.Join(dir, File)
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	for text, want := range map[string]string{
		`{"version":"2.0"}`: "newer release",
		`{"version":"1.0"`:  "incomplete",
		`{}`:                "not a version",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Last(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
