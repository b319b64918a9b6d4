package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Line is one entry of a list as written, with its origin.
type Line struct {
	Text   string `json:"text"`
	Origin string `json:"origin"`
}

// EntryError reports a line that is not a valid entry of its list.
type EntryError struct {
	Line Line
	What string
	Hint string
}

func (e *EntryError) Error() string { return fmt.Sprintf("%q: %s; %s", e.Line.Text, e.What, e.Hint) }

// groupPrefix begins an entry that stands for the entries of a group.
const groupPrefix = "group:"

// expand replaces each entry that names a group by the entries of the group. Each keeps the origin
// of its line in the group.
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

// index finds an entry of a list by its normal form. An allow list and a deny list are compared by
// it.
type index struct {
	lines []Line
	canon []string // parallel to lines
	named map[string]struct{}
	all   int // 1 + the index of the entry "*"; 0 means none
}

// wildcard returns the entry "*", unless except has it too.
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

// names reports whether the list has exactly this entry.
func (x *index) names(canon string) bool {
	_, ok := x.named[canon]
	return ok
}

// counts reports whether an entry counts. It does unless except, which may be nil, has the same
// entry.
func (x *index) counts(entry int, except *index) bool {
	return except == nil || !except.names(x.canon[entry])
}

// Lines returns the entries as written, with groups expanded.
func (x *index) Lines() []Line { return x.lines }

// Len returns the number of entries.
func (x *index) Len() int { return len(x.lines) }

// entryRemedy is the remedy for a refusal by the deny list of a section, or by the lack of an
// allow entry if line is zero. It offers an allow entry only against a wider deny entry: an entry
// in both lists is denied.
func entryRemedy(section string, line Line, entry string) string {
	add := "add \"" + entry + "\" to " + section + ".allow"
	if line.Text == "" {
		return add
	}
	take := "take \"" + line.Text + "\" (" + line.Origin + ") out of " + section + ".deny"
	if strings.EqualFold(strings.Trim(line.Text, "[] "), entry) {
		return take
	}
	return take + ", or " + add
}
