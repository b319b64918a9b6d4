// Package doctor runs checks of a server and judges their findings. It knows no check itself:
// package checks has the list.
//
// A [Check] says in one sentence why it matters. [Run] runs a list and returns a [Report], which
// [Save] keeps in the data directory and [Last] reads. [Compare] says what changed between two.
package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"pillarbox/mailstore/caught"
)

// Severity says how bad a finding is.
type Severity string

// The severities.
const (
	OK      Severity = "ok"
	Skipped Severity = "skipped" // not examined
	Warning Severity = "warning" // works, but deserves a look
	Error   Severity = "error"   // does not work, or soon will not
)

// rank orders severities. An unknown one counts as an error.
func (s Severity) rank() int {
	if i := slices.Index([]Severity{OK, Skipped, Warning, Error}, s); i >= 0 {
		return i
	}
	return len(Error)
}

// Problem reports whether a person should act.
func (s Severity) Problem() bool { return s.rank() >= Warning.rank() }

// Finding is one thing that a check found.
type Finding struct {
	Severity Severity `json:"severity"`
	// Subject is what the finding is about, such as a mailbox, if a check has several findings. It
	// tells findings of two runs apart; Message may contain numbers that always change.
	Subject string `json:"subject,omitempty"`
	Message string `json:"message"`
	Fix     string `json:"fix,omitempty"` // the command to type, or what else to do
}

// Check is one check. Run does not change the server or its mail. It must return at least one
// finding, and must end when ctx does.
type Check struct {
	Name string // short, for --skip
	Why  string // why it matters, one sentence
	Run  func(ctx context.Context) []Finding
	// Rare marks a check that costs other servers, or the disk, some work. Watching does it once an
	// hour.
	Rare bool
}

// Result is what one check found.
type Result struct {
	Check    string    `json:"check"`
	Why      string    `json:"why"`
	Findings []Finding `json:"findings"`
}

// Severity returns the worst severity of the findings. Skipped counts only if nothing else was
// found.
func (r Result) Severity() Severity {
	worst := Skipped
	for _, f := range r.Findings {
		if f.Severity == OK && worst == Skipped || f.Severity.Problem() && f.Severity.rank() > worst.rank() {
			worst = f.Severity
		}
	}
	return worst
}

// Report is the result of all checks.
type Report struct {
	Time    time.Time `json:"time"`
	Results []Result  `json:"results"`
}

// Counts are the numbers of checks that are ok or were skipped, and of findings that are problems.
type Counts struct {
	OK       int `json:"ok"`
	Skipped  int `json:"skipped"`
	Warnings int `json:"warnings"`
	Errors   int `json:"errors"`
}

// Counts counts the results.
func (r Report) Counts() (n Counts) {
	for _, result := range r.Results {
		switch result.Severity() {
		case OK:
			n.OK++
		case Skipped:
			n.Skipped++
		}
		for _, f := range result.Findings {
			switch f.Severity {
			case Warning:
				n.Warnings++
			case Error:
				n.Errors++
			}
		}
	}
	return n
}

// ExitCode returns the exit status of a command: 0 without problems, 1 for warnings, 2 for errors.
func (n Counts) ExitCode() int {
	switch {
	case n.Errors > 0:
		return 2
	case n.Warnings > 0:
		return 1
	}
	return 0
}

// String returns the counts as a sentence: "20 checks ok, 2 skipped, 1 warning, 0 errors".
func (n Counts) String() string {
	return fmt.Sprintf("%s ok, %d skipped, %s, %s", count(n.OK, "check"), n.Skipped,
		count(n.Warnings, "warning"), count(n.Errors, "error"))
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// Options choose checks.
type Options struct {
	Skip []string // names of checks that are left out
	// Keep has results of rare checks that are not done again.
	Keep []Result
	// Timeout limits each check; 0 means 2 minutes.
	Timeout time.Duration
}

const checkTimeout = 2 * time.Minute

// Run runs the checks one after the other. A check that panics is an error of its own, and does not
// end the others.
func Run(ctx context.Context, checks []Check, opts Options, now time.Time) Report {
	report := Report{Time: now.UTC().Truncate(time.Second)}
	for _, c := range checks {
		report.Results = append(report.Results, runOne(ctx, c, opts))
	}
	return report
}

func runOne(ctx context.Context, c Check, opts Options) Result {
	r := Result{Check: c.Name, Why: c.Why}
	if slices.Contains(opts.Skip, c.Name) {
		r.Findings = []Finding{{Severity: Skipped, Message: "left out by --skip"}}
		return r
	}
	if i := slices.IndexFunc(opts.Keep,
		func(k Result) bool { return k.Check == c.Name }); i >= 0 && c.Rare {
		return opts.Keep[i]
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(opts.Timeout, checkTimeout))
	defer cancel()
	err := caught.Do(func() error {
		r.Findings = c.Run(ctx)
		return nil
	})
	if err != nil {
		r.Findings = []Finding{{Severity: Error, Message: err.Error(),
			Fix: "report this, with the version of the program"}}
	}
	return r
}

// Change is a finding that has come or gone between two reports.
type Change struct {
	Check string `json:"check"`
	Why   string `json:"why"`
	Gone  bool   `json:"gone"`
	Finding
}

// Compare lists the problems of after that before has not, and those of before that have gone. Two
// findings of a check are the same if subject and severity are equal, or without a subject the
// message without its digits. A skipped check keeps its earlier problems out of the list: whether
// they have gone is not known.
func Compare(before, after Report) (changes []Change) {
	add := func(from, to Report, gone bool) {
		for _, r := range from.Results {
			other := to.result(r.Check)
			if gone && other.Severity() == Skipped {
				continue
			}
			for _, f := range r.Findings {
				same := func(g Finding) bool { return f.identity() == g.identity() }
				if f.Severity.Problem() && !slices.ContainsFunc(other.Findings, same) {
					changes = append(changes, Change{r.Check, r.Why, gone, f})
				}
			}
		}
	}
	add(after, before, false)
	add(before, after, true)
	return changes
}

func (r Report) result(check string) Result {
	for _, result := range r.Results {
		if result.Check == check {
			return result
		}
	}
	return Result{}
}

func (f Finding) identity() string {
	about := "subject " + f.Subject
	if f.Subject == "" {
		about = strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return -1
			}
			return r
		}, f.Message)
	}
	return string(f.Severity) + " " + about
}
