package directory

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"pillarbox/mailstore/addr"
)

// LoginNames says by which names, beside that of a mailbox, its user may log in.
type LoginNames string

// The values of LoginNames.
const (
	LoginByMailbox LoginNames = "mailbox" // by no other
	LoginByAlias   LoginNames = "alias"   // by an alias of the mailbox, too
	LoginByName    LoginNames = "name"    // by an alias and by the full name, such as "John Doe", too
)

// maxFullName is the longest full name in characters.
const maxFullName = 100

// ErrFullName is the class of errors for a full name that no mailbox can have.
var ErrFullName = errors.New("not a full name")

// ParseFullName returns a full name with single blanks.
func ParseFullName(text string) (string, error) {
	name := strings.Join(strings.Fields(text), " ")
	switch {
	case name == "":
		return "", fmt.Errorf("%q: %w: it is empty", text, ErrFullName)
	case utf8.RuneCountInString(name) > maxFullName:
		return "", fmt.Errorf("%q: %w: it has more than %d characters", text, ErrFullName, maxFullName)
	case strings.ContainsAny(name, `@\"`) || strings.ContainsFunc(name, unicode.IsControl) || !utf8.ValidString(name):
		return "", fmt.Errorf("%q: %w: it may not have @, \\, quotes and control characters", text, ErrFullName)
	}
	return name, nil
}

// FullName returns the full name of a mailbox; "" if it has none.
func (f *DomainFile) FullName(a addr.Address) string {
	for name, all := range f.Names {
		if names(all, a.Fold()) {
			return name
		}
	}
	return ""
}

// holders returns the mailboxes with a full name. Case does not count.
func (f *DomainFile) holders(name string) (all []addr.Address) {
	name = addr.FoldName(name)
	for one, boxes := range f.Names {
		if addr.FoldName(one) == name {
			all = append(all, boxes...)
		}
	}
	return all
}

// SetFullName gives a mailbox a full name, or none if name is "". It returns the other mailboxes that
// have the name: none of them can log in by it then. Errors: ErrNotFound, ErrFullName.
func (d *Directory) SetFullName(a addr.Address, name string) (others []addr.Address, err error) {
	a = a.Fold()
	if name != "" {
		if name, err = ParseFullName(name); err != nil {
			return nil, err
		}
	}
	err = d.change(func() error {
		if _, err := d.Mailbox(a); err != nil {
			return err
		}
		return d.updateDomain(a.Domain, func(f *DomainFile) error {
			f.renameIn(a, addr.Address{})
			if name == "" {
				return nil
			}
			others = f.holders(name)
			if f.Names == nil {
				f.Names = make(map[string][]addr.Address)
			}
			f.Names[name] = append(f.Names[name], a)
			return nil
		})
	})
	return others, err
}

// renameIn replaces a mailbox in Names, which must be a copy. A zero next removes it. It reports
// whether a name has changed.
func (f *DomainFile) renameIn(old, next addr.Address) (changed bool) {
	for name, all := range f.Names {
		if !names(all, old) {
			continue
		}
		changed = true
		if f.Names[name] = replaceIn(all, old, next); len(f.Names[name]) == 0 {
			delete(f.Names, name)
		}
	}
	return changed
}

// cloneNames copies Names.
func (f *DomainFile) cloneNames() map[string][]addr.Address {
	if f.Names == nil {
		return nil
	}
	all := make(map[string][]addr.Address, len(f.Names))
	for name, boxes := range f.Names {
		all[name] = slices.Clone(boxes)
	}
	return all
}

// loginByOtherName finds the mailbox for a login name that is none of a mailbox: an alias, or a full
// name that one mailbox alone has. Errors: ErrNotFound, also for a name that is ambiguous.
func (d *Directory) loginByOtherName(name string) (Mailbox, error) {
	unknown := fmt.Errorf("login name %q: %w", name, ErrNotFound)
	allowed := d.opts.Load().LoginNames
	if allowed != LoginByAlias && allowed != LoginByName {
		return Mailbox{}, unknown
	}
	if a, err := d.loginAddress(name); err == nil {
		chain, err := d.aliasChain(a)
		if err != nil {
			return Mailbox{}, err
		}
		box, err := d.Mailbox(chain[len(chain)-1])
		if len(chain) > 1 && !errors.Is(err, ErrNotFound) {
			return box, err
		}
	}
	if allowed != LoginByName {
		return Mailbox{}, unknown
	}
	domain, full, err := d.fullNameIn(name)
	if err != nil {
		return Mailbox{}, err
	}
	file, err := d.Domain(domain)
	if err != nil {
		return Mailbox{}, err
	}
	holders := file.holders(full)
	if len(holders) != 1 {
		return Mailbox{}, unknown
	}
	return d.Mailbox(holders[0])
}

// fullNameIn returns the domain and the full name in a login name: "John Doe" in the default domain,
// or DOMAIN\John Doe.
func (d *Directory) fullNameIn(name string) (domain addr.Domain, full string, err error) {
	realm, user, ok := strings.Cut(name, `\`)
	if !ok {
		realm, user = "", name
	}
	if full, err = ParseFullName(user); err != nil {
		return "", "", fmt.Errorf("login name %q: %w", name, ErrNotFound)
	}
	if realm != "" {
		if domain, err = d.realm(realm); err != nil {
			return "", "", err
		}
	}
	if domain == "" {
		domain = d.DefaultDomain()
	}
	return domain, full, nil
}
