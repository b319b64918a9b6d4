package admin

import (
	"cmp"
	"fmt"
	"strings"

	"pillarbox/cmd/internal/logging"
)

// LogLevelToSet is a part of the server, and the level that it gets.
type LogLevelToSet struct {
	Part  string
	Level logging.Word
}

// listLogLevels lists what each part of the running server logs.
func (o *Service) listLogLevels() ([]logging.PartLevel, error) {
	r, err := o.server("answer")
	if err != nil {
		return nil, err
	}
	return r.Levels.List(), nil
}

// setLogLevel changes what a part of the running server logs, until the next reload or start.
func (o *Service) setLogLevel(in LogLevelToSet) (Change, error) {
	r, err := o.server("change what it logs")
	if err != nil {
		return Change{}, err
	}
	part, ok := logging.ParsePart(in.Part)
	if !ok {
		return Change{}, usage(Hint(fmt.Errorf("%q is not a part of the server", in.Part),
			"the parts are %s", strings.Join(logging.PartNames(), ", ")))
	}
	before, err := r.Levels.Set(part, in.Level)
	if err != nil {
		return Change{}, usage(Hint(err, "its levels are %s", wordsOf(part)))
	}
	o.Record("log level of "+in.Part, map[string]any{"level": before}, map[string]any{"level": in.Level})
	return changed(nil, nil, "%s logs %s until the next reload or start (it was %s)",
		part, in.Level, before)
}

// maxLogLines is the number of lines that LogShow shows at most.
const maxLogLines = 1000

// LogQuestion asks for the end of the log.
type LogQuestion struct {
	Lines int    // at most; 0 means 100
	Match string // a text that the lines contain, whatever its case
}

// showLog returns the latest lines of the running server's log, as they were written.
func (o *Service) showLog(q LogQuestion) ([]string, error) {
	r, err := o.server("show its log")
	if err != nil {
		return nil, err
	}
	return r.LogTail.Last(min(cmp.Or(max(q.Lines, 0), 100), maxLogLines), q.Match), nil
}

// wordsOf lists the levels of a part.
func wordsOf(part logging.Part) string {
	var all []string
	for _, w := range logging.WordsOf(part) {
		all = append(all, string(w))
	}
	return strings.Join(all, ", ")
}
