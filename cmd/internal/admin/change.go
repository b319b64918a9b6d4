package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/durable"
)

// Change is the result of a verb. Verbs take names as typed: a name without a domain is in the
// default domain, or, after a first name with a domain, in that domain.
type Change struct {
	Text     string   `json:"text"`     // one line, such as "mailbox anna@office.example added"
	Warnings []string `json:"warnings"` // side effects to consider
}

// changed returns the Change of a verb, or its error.
func changed(err error, warnings []string, format string, args ...any) (Change, error) {
	if err != nil {
		return Change{}, err
	}
	return Change{Text: fmt.Sprintf(format, args...), Warnings: orEmpty(warnings)}, nil
}

// orEmpty returns a list that is [] in JSON, never null.
func orEmpty[T any](list []T) []T { return append([]T{}, list...) }

// findDomains is the command that lists the objects of a verb about a domain as a whole.
const findDomains = "domain list"

// explain adds a hint to an error. domain is the domain that the verb is about; find is the command
// that lists the objects.
func (o *Service) explain(err error, domain addr.Domain, find string) error {
	if err == nil || errors.As(err, new(*HintError)) {
		return err
	}
	if nobody, ok := errors.AsType[*directory.UnknownTargetError](err); ok {
		return Hint(err, "'pillarbox admin mailbox add %s' makes a mailbox of that name", nobody.Target)
	}
	hosted, _ := o.Dir.Hosts(domain)
	switch {
	case errors.Is(err, directory.ErrNotFound) && !hosted && find == findDomains:
		return Hint(err, "'pillarbox admin %s' shows the domains", findDomains)
	case errors.Is(err, directory.ErrNotFound) && !hosted:
		return Hint(err, "'pillarbox admin domain add %s' makes the domain; 'pillarbox admin domain list' shows those there are", domain)
	case errors.Is(err, directory.ErrNotFound), errors.Is(err, directory.ErrExists):
		return Hint(err, "'pillarbox admin %s' shows what there is", find)
	case errors.Is(err, directory.ErrName):
		return Hint(err, "a name is 1 to %d letters, digits and . _ - ' & = ~ #", addr.MaxLocal)
	case errors.Is(err, directory.ErrInUse):
		return Hint(err, "--with-mailboxes removes them too, with all their mail")
	case errors.Is(err, directory.ErrDamaged):
		return Hint(err, "repair the file (below %s) with an editor, or restore it from a backup", o.Root.Name())
	case errors.Is(err, auth.ErrPassword):
		return Hint(err, "'pillarbox admin mailbox add' and 'passwd' make a good one with --generate")
	case errors.Is(err, durable.ErrLocked):
		return Hint(err, "another command is running; try again")
	case errors.Is(err, fs.ErrPermission):
		if owned := OwnerError(o.Root.Name(), err); errors.As(owned, new(*HintError)) {
			return owned
		}
		return Hint(err, "run this as root, or as the user that the server runs as")
	}
	return err
}

// cannotRead tells the caller of a list about an entry that is damaged or may not be read.
func (o *Service) cannotRead(what string, d addr.Domain, err error) {
	err = o.explain(err, d, "domain list")
	hint := ""
	if hinted, ok := errors.AsType[*HintError](err); ok {
		hint = "; " + hinted.Hint
	}
	o.note("%s cannot be read: %v%s", what, err, hint)
}

// unreadable reports whether an error concerns one domain or mailbox, so that a list goes on.
func unreadable(err error) bool {
	return errors.Is(err, directory.ErrDamaged) || errors.Is(err, fs.ErrPermission)
}

// parseNames parses the first name of a command and the names after it.
func (o *Service) parseNames(first string, next ...string) (addr.Address, []addr.Address, error) {
	a, err := o.ParseUser(first)
	if err != nil {
		return addr.Address{}, nil, err
	}
	all := make([]addr.Address, len(next))
	for i, name := range next {
		if all[i], err = o.parseNext(name, a.Domain); err != nil {
			return addr.Address{}, nil, err
		}
	}
	return a.Fold(), all, nil
}

// parseNext parses a name after a domain or another name.
func (o *Service) parseNext(name string, domain addr.Domain) (addr.Address, error) {
	if local, err := addr.ParseLocal(name); err == nil {
		return addr.Address{Local: local, Domain: domain}, nil
	}
	return o.ParseUser(name)
}

// elsewhere returns warnings about remote targets to which mail cannot be sent, in general or for
// some users. whom describes the mail that such a target refuses.
func (o *Service) elsewhere(whom string, targets ...addr.Address) []string {
	cfg := o.Config()
	how := ""
	switch {
	case !cfg.Outbound.Enabled:
		how = "and outbound.enabled is off: mail to %s is refused"
	case !cfg.Policy.Outside.Send.Value:
		how = "and outside.send is off: people here who may not send to other servers cannot write to %s"
	default:
		return nil
	}
	var warnings []string
	for _, t := range targets {
		if hosted, err := o.Dir.Hosts(t.Domain); err == nil && !hosted {
			warnings = append(warnings, fmt.Sprintf("%s is on another server, "+how, t, whom))
		}
	}
	return warnings
}

// RemoteTarget returns the note about a target whose domain is on another server, which may be
// meant or mistyped.
func RemoteTarget(d addr.Domain) string {
	return fmt.Sprintf("%s is not hosted here: this mail goes to another server", d)
}

// domains returns the domain with the name, or all domains for "".
func (o *Service) domains(name string) ([]addr.Domain, error) {
	if name == "" {
		all, err := o.Dir.Domains()
		all = slices.DeleteFunc(all, func(d addr.Domain) bool { return !o.mayRead(d) })
		return all, o.explain(err, "", "domain list")
	}
	d, err := o.parseDomain(name)
	if err != nil {
		return nil, err
	}
	if err := o.Require(d, false); err != nil {
		return nil, err
	}
	_, err = o.Dir.Domain(d)
	return []addr.Domain{d}, o.explain(err, d, "domain list")
}

// files calls fn for the domain with the name, or for all domains for "", in alphabetical order. It
// tells the caller which of all domains cannot be read, and goes on with the others.
func (o *Service) files(name string, fn func(addr.Domain, *directory.DomainFile) error) error {
	all, err := o.domains(name)
	if err != nil {
		return err
	}
	for _, d := range all {
		file, err := o.Dir.Domain(d)
		if errors.Is(err, directory.ErrNotFound) {
			continue // removed since the listing
		}
		if name == "" && err != nil && unreadable(err) {
			o.cannotRead("domain "+string(d), d, err)
			continue
		}
		if err == nil {
			err = fn(d, file)
		}
		if err != nil {
			return o.explain(err, d, "domain list")
		}
	}
	return nil
}
