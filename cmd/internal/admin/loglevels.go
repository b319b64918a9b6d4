package admin

import (
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

// wordsOf lists the levels of a part.
func wordsOf(part logging.Part) string {
	var all []string
	for _, w := range logging.WordsOf(part) {
		all = append(all, string(w))
	}
	return strings.Join(all, ", ")
}
