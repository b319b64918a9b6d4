package policy

import (
	"strings"

	"pillarbox/mailstore/addr"
)

// AddressList is a list of addresses and domains. Looking one up takes the same
// time in a list of any length and allocates nothing for addresses in ASCII.
type AddressList struct {
	index
	null    int                  // 1 + the entry "<>"
	exact   map[addr.Address]int // user@domain, folded
	domains map[string]int       // @domain: just it
	trees   map[string]int       // domain: it and all below
	below   map[string]int       // *.domain: all below
}

// ParseAddresses reads a list. Entries: user@domain; @domain for that domain
// alone; domain for it and every domain below it, as Domino matches (but on the
// borders of labels); *.domain for those below; <> for the null sender; * for
// all; group:NAME. Every bad entry is reported.
func ParseAddresses(lines []Line, groups map[string][]Line) (AddressList, []error) {
	l := AddressList{exact: map[addr.Address]int{}, domains: map[string]int{}, trees: map[string]int{}, below: map[string]int{}}
	lines, errs := expand(lines, groups)
	for _, line := range lines {
		if err := l.parse(line); err != nil {
			errs = append(errs, err)
		}
	}
	return l, errs
}

const addressHint = "write user@domain, a domain, @domain for it alone, *.domain for those below it, or *"

func (l *AddressList) parse(line Line) error {
	text := strings.TrimSpace(line.Text)
	table, name := l.trees, text
	switch {
	case text == "*":
		l.all = l.add(line, "*") + 1
		return nil
	case text == "<>":
		l.null = l.add(line, "<>") + 1
		return nil
	case strings.HasPrefix(text, "@"):
		table, name = l.domains, text[1:]
	case strings.HasPrefix(text, "*."):
		table, name = l.below, text[2:]
	case strings.HasPrefix(text, "."):
		table, name = l.below, text[1:]
	case strings.Contains(text, "@"):
		a, err := addr.Parse(text)
		if err != nil {
			return &EntryError{line, "is not an address", addressHint}
		}
		put(l.exact, a.Fold(), l.add(line, a.Fold().String()))
		return nil
	}
	domain, err := addr.ParseDomain(name)
	if err != nil {
		return &EntryError{line, "is neither an address nor a domain", addressHint}
	}
	put(table, string(domain), l.add(line, text[:len(text)-len(name)]+string(domain)))
	return nil
}

// put keeps the first of two equal entries.
func put[K comparable](table map[K]int, key K, entry int) {
	if _, twice := table[key]; !twice {
		table[key] = entry
	}
}

// Match looks an address up; the most specific entry decides. The zero address
// is the null sender.
func (l *AddressList) Match(a addr.Address) (Line, bool) { return l.match(a, nil) }

// match passes over the entries that except has too.
func (l *AddressList) match(a addr.Address, except *index) (Line, bool) {
	if len(l.lines) == 0 {
		return Line{}, false
	}
	if entry, ok := l.find(a, except); ok {
		return l.lines[entry], true
	}
	return l.wildcard(except)
}

func (l *AddressList) find(a addr.Address, except *index) (int, bool) {
	if a.IsZero() {
		return l.null - 1, l.null > 0 && l.counts(l.null-1, except)
	}
	if entry, ok := l.exact[a.Fold()]; ok && l.counts(entry, except) {
		return entry, true
	}
	domain := string(a.Domain)
	if entry, ok := l.domains[domain]; ok && l.counts(entry, except) {
		return entry, true
	}
	if entry, ok := l.trees[domain]; ok && l.counts(entry, except) {
		return entry, true
	}
	if a.Domain.IsLiteral() {
		return 0, false // an address has dots and no parents
	}
	for parent := range parents(domain) {
		if entry, ok := l.trees[parent]; ok && l.counts(entry, except) {
			return entry, true
		}
		if entry, ok := l.below[parent]; ok && l.counts(entry, except) {
			return entry, true
		}
	}
	return 0, false
}
