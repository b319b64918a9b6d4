package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// environment is Problem.File if the mistake is in an environment variable.
const environment = "environment"

// Problem is one mistake in the configuration.
type Problem struct {
	File string // as given to Load, or "environment"
	Line int    // 0 if the problem has no line
	Key  string // the key or the section, or the variable's name; "" for neither
	What string // the mistake
	Hint string // how to correct it, may be empty
	Err  error  // the cause, nil for a mistake in the text itself
}

// Error is the problem on one line: "file:line: key: what; hint".
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Key != "" {
		b.WriteString(": " + p.Key)
	}
	b.WriteString(": " + p.What)
	if p.Hint != "" {
		b.WriteString("; " + p.Hint)
	}
	return b.String()
}

// Unwrap returns the cause.
func (p Problem) Unwrap() error { return p.Err }

// Errors is every mistake that Load found: those of the file in the order of
// its lines, then those of the environment.
type Errors []Problem

// Error is one problem a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the problems.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, p := range e {
		errs[i] = p
	}
	return errs
}

func (e Errors) sort() {
	rank := func(p Problem) int {
		switch {
		case p.File == environment:
			return 2
		case p.Line == 0:
			return 1
		}
		return 0
	}
	slices.SortStableFunc(e, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Line, b.Line))
	})
}

// mistake is a wrong value and a hint.
type mistake struct{ what, hint string }

func (m mistake) Error() string { return m.what + "; " + m.hint }

func wrong(what, hint string) error { return mistake{what, hint} }
