package config

import (
	"iter"
	"regexp"
	"slices"
	"strings"
)

// schema is the names that a file may use; it guesses the meaning of a wrong one. It
// has the keys of a table once, as route[].tls.
type schema struct {
	keys     []string
	sections []string
	tables   []string
}

// groupsSection is the section whose keys the administrator names.
const groupsSection = "groups"

func newSchema(all []key) schema {
	var s schema
	for _, k := range all {
		s.keys = append(s.keys, k.name)
		for sec := range sectionsOf(k.name) {
			if !s.isSection(sec) {
				s.sections = append(s.sections, sec)
			}
		}
	}
	s.sections = append(s.sections, groupsSection)
	for _, t := range tables() {
		s.tables = append(s.tables, t.name)
		s.sections = append(s.sections, t.name+"[]")
		for _, k := range t.keys(t.name+"[]", 0) {
			s.keys = append(s.keys, k.name)
		}
	}
	return s
}

// sectionsOf yields the sections of a key, the outermost first: sites and sites.smtp
// for sites.smtp.anonymous.
func sectionsOf(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i, c := range name {
			if c == '.' && !yield(name[:i]) {
				return
			}
		}
	}
}

func (s schema) isKey(name string) bool {
	return slices.Contains(s.keys, general(name)) || isGroup(name)
}

func (s schema) isSection(name string) bool { return slices.Contains(s.sections, general(name)) }

// isTable reports whether a name, or the section that it begins with, is a table.
func (s schema) isTable(name string) bool {
	name, _, _ = strings.Cut(name, ".")
	return slices.Contains(s.tables, name)
}

var groupKey = regexp.MustCompile(`^` + groupsSection + `\.[a-z0-9][a-z0-9_-]*$`)

// isGroup reports whether a key is a group.
func isGroup(name string) bool { return groupKey.MatchString(name) }

// suggestKey returns a hint for an unknown key: similar names, or else the keys of
// its section.
func (s schema) suggestKey(name string) string {
	if strings.HasPrefix(name, groupsSection+".") {
		return "name a group in small letters, digits, - and _"
	}
	name = general(name)
	siblings := filter(s.keys, func(k string) bool { return section(k) == section(name) })
	meant := filter(siblings, func(k string) bool { return strings.Contains(leaf(k), leaf(name)) })
	if meant == nil {
		meant = filter(s.keys, func(k string) bool { return leaf(k) == leaf(name) })
	}
	if meant == nil {
		meant = nearest(name, s.keys)
	}
	switch {
	case meant != nil:
		return "did you mean " + join(spoken(meant), "or") + "?"
	case siblings == nil:
		return "the sections are " + join(spoken(s.sections), "and")
	}
	for i, k := range siblings {
		siblings[i] = leaf(k)
	}
	return "known here are " + join(siblings, "and")
}

// suggestSection returns a hint for an unknown section.
func (s schema) suggestSection(name string) string {
	switch meant := nearest(name, s.sections); {
	case meant == nil:
		return "the sections are " + join(spoken(s.sections), "and")
	case strings.HasSuffix(meant[0], "[]"):
		return "did you mean " + spoken(meant)[0] + "?"
	default:
		return "did you mean [" + join(meant, "or") + "]?"
	}
}

// spoken returns names for a message: [[route]], and tls of [[route]].
func spoken(names []string) []string {
	var all []string
	for _, name := range names {
		if table, key, ok := strings.Cut(name, "[]"); ok {
			name = "[[" + table + "]]"
			if key != "" {
				name = key[1:] + " of " + name
			}
		}
		all = append(all, name)
	}
	return all
}

func filter(names []string, keep func(string) bool) (kept []string) {
	for _, name := range names {
		if keep(name) {
			kept = append(kept, name)
		}
	}
	return kept
}

// nearest returns the candidates with the fewest typing errors from name, or none if
// even those have too many.
func nearest(name string, candidates []string) (best []string) {
	limit := 1 + min(len(name)/5, 2)
	for _, c := range candidates {
		switch n := typos(strings.ToLower(name), c); {
		case n < limit || n == limit && best == nil:
			limit, best = n, []string{c}
		case n == limit:
			best = append(best, c)
		}
	}
	return best
}

// typos is the optimal string alignment distance of two names: it counts omitted,
// added, wrong and swapped letters.
func typos(a, b string) int {
	previous, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(next[j-1]+1, row[j]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], previous[j-2]+1)
			}
		}
		previous, row = row, next
	}
	return row[len(b)]
}
