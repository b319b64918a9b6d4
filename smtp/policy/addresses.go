package policy

import (
	"strings"

	"pillarbox/mailstore/addr"
)

// AddressList is a list of addresses and domains. A look-up takes the same time in a list of any
// length, and allocates no memory for an ASCII address.
type AddressList struct {
	index
	null    int                  // 1 + the index of the entry "<>"; 0 means none
	exact   map[addr.Address]int // user@domain, folded
	domains map[string]int       // @domain: this domain alone
	trees   map[string]int       // domain: this domain and its subdomains
	below   map[string]int       // *.domain: its subdomains
}

// ParseAddresses reads a list and reports every bad entry. Entries are
//
//	user@domain
//	@domain     this domain alone
//	domain      this domain and its subdomains; unlike in Domino, whole labels must match
//	*.domain    its subdomains
//	<>          the null sender
//	*           every address
//	group:NAME  the entries of the group
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

// put adds an entry unless the table has an equal one: the first counts.
func put[K comparable](table map[K]int, key K, entry int) {
	if _, twice := table[key]; !twice {
		table[key] = entry
	}
}

// Match looks up an address. The most specific entry decides. The zero address is the null
// sender.
func (l *AddressList) Match(a addr.Address) (Line, bool) { return l.match(a, nil) }

// match is Match without the entries that except has too. except may be nil.
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
		return 0, false // an IP address has dots, but no parent domains
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
