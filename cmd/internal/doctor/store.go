package doctor

import (
	"fmt"
	"strings"
	"time"

	"pillarbox/mailstore/durable"
)

// File is the name of the last result in the data directory.
const File = "doctor.json"

const (
	maxProblems = 50  // that are stored
	maxText     = 500 // octets of a stored text
	maxFile     = 1 << 20
)

// Summary is the last result as it is stored: the counts, and the problems.
type Summary struct {
	Version  string    `json:"version"` // of the file, see durable.Version
	Time     time.Time `json:"time"`
	Counts   Counts    `json:"counts"`
	Problems []Problem `json:"problems"` // at most 50; Counts has the number
}

// Problem is a stored finding.
type Problem struct {
	Check string `json:"check"`
	Finding
}

// Summarize returns what Save stores of a report.
func Summarize(r Report) Summary {
	s := Summary{
		Version: durable.CurrentVersion().String(), Time: r.Time, Counts: r.Counts(),
		Problems: []Problem{},
	}
	for _, result := range r.Results {
		for _, f := range result.Findings {
			if f.Severity.Problem() && len(s.Problems) < maxProblems {
				f.Subject, f.Message, f.Fix = short(f.Subject), short(f.Message), short(f.Fix)
				s.Problems = append(s.Problems, Problem{result.Check, f})
			}
		}
	}
	return s
}

func short(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + "…"
}

// Save stores a report in a data directory, with mode 0600. It replaces the one before as a whole.
func Save(fsys durable.FS, r Report) error {
	text, err := durable.Encode(Summarize(r), nil)
	if err == nil {
		err = durable.WriteFile(fsys, File, text, 0o600)
	}
	return err
}

// Last returns the last result that was stored in the data directory dir. The error is of the class
// fs.ErrNotExist if there is none yet, and a *durable.NewerError if a newer release wrote it.
func Last(dir string) (Summary, error) {
	root, err := durable.Open(dir)
	if err != nil {
		return Summary{}, err
	}
	defer root.Close()
	return LastOn(root)
}

// LastOn is Last on a file system that is open already.
func LastOn(fsys durable.FS) (s Summary, err error) {
	text, err := durable.ReadSmall(fsys, File, maxFile)
	if err != nil {
		return s, err
	}
	if err := durable.DecodeStrict(text, &s); err != nil {
		return Summary{}, fmt.Errorf("%s: %w", File, err)
	}
	version, err := durable.ParseVersion(s.Version)
	switch {
	case err != nil:
		return Summary{}, fmt.Errorf("%s: %w", File, err)
	case version.Major > durable.CurrentVersion().Major:
		return Summary{}, fmt.Errorf("%s: %w", File, &durable.NewerError{Version: version})
	}
	return s, nil
}
