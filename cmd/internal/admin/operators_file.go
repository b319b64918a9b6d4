package admin

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/durable"
)

const (
	operatorsFile = "operators.json"
	operatorsLock = ".operators.lock"
)

// Classes of errors of operators.json.
var (
	ErrOperatorNotFound = errors.New("not found")
	ErrOperatorExists   = errors.New("exists already")
	ErrOperatorName     = errors.New("not a permitted name")
	ErrOperatorsDamaged = errors.New("damaged file") // operators.json cannot be parsed, or has an invalid grant
)

// operators reads and changes operators.json. It is safe for concurrent use, also by several
// processes.
type operators struct{ file *durable.JSONFile[[]Grant] }

func newOperators(fsys durable.FS, damages *durable.DamageReporter) *operators {
	return &operators{durable.NewJSONFile(fsys, operatorsFile, operatorsLock, parseOperators).Report(damages)}
}

// operatorsContent is the content of operators.json.
type operatorsContent struct {
	Operators []Grant `json:"operators"`
}

// list returns the grants in alphabetical order; the caller must not change them. With
// ErrOperatorsDamaged there are no operators.
func (s *operators) list() ([]Grant, error) { return s.file.Load() }

func parseOperators(data []byte) ([]Grant, error) {
	var c operatorsContent
	err := durable.DecodeStrict(data, &c)
	names := make(map[string]bool)
	for i, g := range c.Operators {
		if err == nil && names[g.Name] {
			err = fmt.Errorf("%q stands twice", g.Name)
		}
		names[g.Name] = true
		err = cmp.Or(err, checkGrant(&c.Operators[i]))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", operatorsFile, ErrOperatorsDamaged, err)
	}
	return c.Operators, nil
}

// checkGrant returns an error unless the name is in its normal form and the scope is either all
// domains or a list of them.
func checkGrant(g *Grant) error {
	name, err := parseGrantName(g.Name)
	switch {
	case err != nil:
		return err
	case name != g.Name:
		return fmt.Errorf("operator %q: %w: write it as %q", g.Name, ErrOperatorName, name)
	case g.All == (len(g.Domains) > 0):
		return fmt.Errorf("operator %q: set either \"all\" or \"domains\"", g.Name)
	}
	for _, d := range g.Domains {
		if norm, err := addr.ParseDomain(string(d)); err != nil || norm != d {
			return fmt.Errorf("operator %q: %q is not a domain", g.Name, d)
		}
	}
	return nil
}

const (
	unixPrefix  = "unix:"
	unixGroupAt = "@"
	maxUnixName = 64
)

// parseGrantName parses a name of operators.json: an address, "unix:carol" or "unix:@mailadmins".
func parseGrantName(text string) (string, error) {
	account, isUnix := strings.CutPrefix(text, unixPrefix)
	if !isUnix {
		a, err := addr.Parse(text)
		if err != nil {
			return "", fmt.Errorf("operator %q: %w: %w", text, ErrOperatorName, err)
		}
		return a.Fold().String(), nil
	}
	bare := strings.TrimPrefix(account, unixGroupAt)
	odd := strings.ContainsFunc(bare, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`/:@,"`, r) })
	if bare == "" || len(bare) > maxUnixName || odd {
		return "", fmt.Errorf("operator %q: %w", text, ErrOperatorName)
	}
	return text, nil
}

// change replaces the file with the result of edit, which gets a copy of the grants.
func (s *operators) change(edit func([]Grant) ([]Grant, error)) error {
	return s.file.Change(func(old []Grant) (any, error) {
		next, err := edit(cloneGrants(old))
		if err != nil || reflect.DeepEqual(old, next) {
			return nil, err
		}
		slices.SortFunc(next, func(a, b Grant) int { return cmp.Compare(a.Name, b.Name) })
		return operatorsContent{next}, nil
	})
}

func cloneGrants(all []Grant) []Grant {
	next := slices.Clone(all)
	for i := range next {
		next[i].Domains = slices.Clone(next[i].Domains)
	}
	return next
}

// follow changes the grants after a change of the directory, and returns what it changed. A removed
// object loses its grants, so that a later object with the same name does not inherit them.
func (s *operators) follow(c directory.Change) (changed []grantChange, err error) {
	if all, err := s.list(); len(all) == 0 {
		return nil, err
	}
	edit := followChange(c)
	if edit == nil {
		return nil, nil
	}
	err = s.change(func(all []Grant) ([]Grant, error) {
		next := edit(cloneGrants(all))
		changed = diffGrants(all, next)
		return next, nil
	})
	return changed, err
}

// grantChange is a grant before and after a change; nil: there is none.
type grantChange struct {
	name          string
	before, after any
}

// diffGrants returns the grants that differ.
func diffGrants(before, after []Grant) (changed []grantChange) {
	for _, g := range before {
		if i := findGrant(after, g.Name); i < 0 {
			changed = append(changed, grantChange{name: g.Name, before: g})
		} else if !reflect.DeepEqual(g, after[i]) {
			changed = append(changed, grantChange{g.Name, g, after[i]})
		}
	}
	for _, g := range after {
		if findGrant(before, g.Name) < 0 {
			changed = append(changed, grantChange{name: g.Name, after: g})
		}
	}
	return changed
}

// followChange returns the edit of the grants for a change of the directory; nil if there is none.
// A grant to a name that is new is dropped too: its former owner was removed by hand.
func followChange(c directory.Change) func([]Grant) []Grant {
	switch {
	case c.What == directory.Renamed:
		old, next := c.Address().String(), c.Next.String()
		return func(all []Grant) []Grant {
			all = dropNames(all, next)
			if i := findGrant(all, old); i >= 0 {
				all[i].Name = next
			}
			return all
		}
	case c.What != directory.Edited && c.User != "":
		return func(all []Grant) []Grant { return dropNames(all, c.Address().String()) }
	case c.What != directory.Edited:
		return func(all []Grant) []Grant { return dropDomain(all, c.Domain) }
	case c.User == "":
		return followGroups(c)
	}
	return nil
}

// followGroups drops the grants of groups that were added or removed.
func followGroups(c directory.Change) func([]Grant) []Grant {
	var names []string
	for _, part := range changedParts("group", c.DomainBefore.Groups, c.DomainAfter.Groups) {
		if part.before == nil || part.after == nil {
			names = append(names, addr.Address{Local: part.local, Domain: c.Domain}.String())
		}
	}
	if names == nil {
		return nil
	}
	return func(all []Grant) []Grant { return dropNames(all, names...) }
}

func findGrant(all []Grant, name string) int {
	return slices.IndexFunc(all, func(g Grant) bool { return g.Name == name })
}

func dropNames(all []Grant, names ...string) []Grant {
	return slices.DeleteFunc(all, func(g Grant) bool { return slices.Contains(names, g.Name) })
}

// dropDomain drops the grants of names in a domain, and removes the domain from the other grants. A
// grant without a domain left is dropped.
func dropDomain(all []Grant, domain addr.Domain) []Grant {
	for i := range all {
		all[i].Domains = slices.DeleteFunc(all[i].Domains, func(d addr.Domain) bool { return d == domain })
	}
	return slices.DeleteFunc(all, func(g Grant) bool {
		a, err := addr.Parse(g.Name)
		inDomain := !strings.HasPrefix(g.Name, unixPrefix) && err == nil && a.Domain == domain
		return inDomain || !g.All && len(g.Domains) == 0
	})
}
