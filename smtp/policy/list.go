package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Line is one entry of a list as it is written, with where.
type Line struct {
	Text   string `json:"text"`
	Origin string `json:"origin"`
}

// EntryError is a line that is no entry of its list.
type EntryError struct {
	Line Line
	What string
	Hint string
}

func (e *EntryError) Error() string { return fmt.Sprintf("%q: %s; %s", e.Line.Text, e.What, e.Hint) }

// groupPrefix begins an entry that stands for a group's entries.
const groupPrefix = "group:"

// expand replaces entries that name a group by the group's own, which keep their
// own origin: the line in the group is the one that decides.
func expand(lines []Line, groups map[string][]Line) ([]Line, []error) {
	var out []Line
	var errs []error
	var add func(lines []Line, path []string)
	add = func(lines []Line, path []string) {
		for _, l := range lines {
			name, isGroup := strings.CutPrefix(l.Text, groupPrefix)
			members, known := groups[name]
			switch {
			case !isGroup:
				out = append(out, l)
			case !known:
				errs = append(errs, &EntryError{l, "there is no such group", "[groups] defines groups"})
			case slices.Contains(path, name):
				errs = append(errs, &EntryError{l, "the group contains itself", "take one of the two out"})
			default:
				add(members, append(path, name))
			}
		}
	}
	add(lines, nil)
	return out, errs
}

// index is a list's entries by what they say in normal form, which is how one
// list finds an entry of another in it.
type index struct {
	lines []Line
	canon []string // parallel to lines
	named map[string]struct{}
	all   int // 1 + the entry "*"; 0: none
}

// wildcard is the entry for all, unless except has it too.
func (x *index) wildcard(except *index) (Line, bool) {
	if x.all > 0 && x.counts(x.all-1, except) {
		return x.lines[x.all-1], true
	}
	return Line{}, false
}

func (x *index) add(l Line, canon string) int {
	if x.named == nil {
		x.named = make(map[string]struct{})
	}
	x.lines, x.canon = append(x.lines, l), append(x.canon, canon)
	x.named[canon] = struct{}{}
	return len(x.lines) - 1
}

// names reports whether the list has the very entry.
func (x *index) names(canon string) bool {
	_, ok := x.named[canon]
	return ok
}

// counts reports whether an entry counts where the entries of except do not; nil
// excepts none.
func (x *index) counts(entry int, except *index) bool {
	return except == nil || !except.names(x.canon[entry])
}

// Lines are the entries as they are written, groups expanded.
func (x *index) Lines() []Line { return x.lines }

// Len is the number of entries.
func (x *index) Len() int { return len(x.lines) }
