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
	ErrOperatorsDamaged = errors.New("damaged file") // operators.json does not parse, or holds what cannot be granted
)

// operators reads and changes operators.json. Safe for concurrent use, also by
// several processes on one data directory.
type operators struct{ file *durable.JSONFile[[]Grant] }

func newOperators(fsys durable.FS, damages *durable.DamageReporter) *operators {
	return &operators{durable.NewJSONFile(fsys, operatorsFile, operatorsLock, parseOperators).Report(damages)}
}

// operatorsContent is what operators.json holds.
type operatorsContent struct {
	Operators []Grant `json:"operators"`
}

// list returns the grants in alphabetical order; read them only. With
// ErrOperatorsDamaged nobody has any.
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

// checkGrant wants a name in its one spelling, and a scope that is said.
func checkGrant(g *Grant) error {
	name, err := parseGrantName(g.Name)
	switch {
	case err != nil:
		return err
	case name != g.Name:
		return fmt.Errorf("operator %q: %w: it is written %q", g.Name, ErrOperatorName, name)
	case g.All == (len(g.Domains) > 0):
		return fmt.Errorf("operator %q: either all domains are said, or which", g.Name)
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

// parseGrantName reads a name of operators.json: an address, "unix:carol" or
// "unix:@mailadmins".
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

// change replaces the file. edit gets a copy.
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

// follow makes the grants follow a change of the directory: what is gone has
// none, and whoever has its name later inherits nothing.
func (s *operators) follow(c directory.Change) error {
	if all, err := s.list(); len(all) == 0 {
		return err
	}
	edit := followChange(c)
	if edit == nil {
		return nil
	}
	return s.change(func(all []Grant) ([]Grant, error) { return edit(all), nil })
}

// followChange is what a change of the directory does to the grants; nil for
// nothing. A name that is new is dropped as well: a grant of that name is of one
// that was removed by hand.
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

// followGroups drops groups that have come or gone.
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

// dropDomain drops those who are in a domain, and the domain from the scopes of
// the others. Whoever had no other has nothing left.
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
