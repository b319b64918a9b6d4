package config

import (
	"slices"
	"strings"
)

// schema is the names that a file may use, and guesses what a wrong one meant.
type schema struct {
	keys     []string
	sections []string
}

func newSchema(all []key) schema {
	var s schema
	for _, k := range all {
		s.keys = append(s.keys, k.name)
		if sec := section(k.name); sec != "" && !s.isSection(sec) {
			s.sections = append(s.sections, sec)
		}
	}
	return s
}

func (s schema) isKey(name string) bool     { return slices.Contains(s.keys, name) }
func (s schema) isSection(name string) bool { return slices.Contains(s.sections, name) }

// suggestKey says what an unknown key may have meant, or else which keys
// there are in its section.
func (s schema) suggestKey(name string) string {
	meant := filter(s.keys, func(k string) bool { return leaf(k) == leaf(name) })
	if meant == nil {
		meant = nearest(name, s.keys)
	}
	siblings := filter(s.keys, func(k string) bool { return section(k) == section(name) })
	if meant == nil {
		meant = filter(siblings, func(k string) bool { return strings.Contains(leaf(k), leaf(name)) })
	}
	if meant != nil {
		return "did you mean " + join(meant, "or") + "?"
	}
	where := "known here are "
	if siblings == nil {
		siblings = s.sections
		where = "the sections are "
	}
	names := make([]string, len(siblings))
	for i, k := range siblings {
		names[i] = leaf(k)
	}
	return where + join(names, "and")
}

// suggestSection does the same for the name of a section.
func (s schema) suggestSection(name string) string {
	if meant := nearest(name, s.sections); meant != nil {
		return "did you mean [" + join(meant, "or") + "]?"
	}
	return "the sections are " + join(s.sections, "and")
}

func filter(names []string, keep func(string) bool) (kept []string) {
	for _, name := range names {
		if keep(name) {
			kept = append(kept, name)
		}
	}
	return kept
}

// nearest returns the candidates that are the fewest slips of the keyboard away
// from name, or none when even they are no likely slip.
func nearest(name string, candidates []string) (best []string) {
	limit := 1 + min(len(name)/5, 2)
	for _, c := range candidates {
		switch n := slips(strings.ToLower(name), c); {
		case n < limit || n == limit && best == nil:
			limit, best = n, []string{c}
		case n == limit:
			best = append(best, c)
		}
	}
	return best
}

// slips is the optimal string alignment distance of two names: letters left
// out, added, mistaken, and neighbours swapped.
func slips(a, b string) int {
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
