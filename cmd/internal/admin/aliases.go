package admin

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
)

// Alias is another name for an address.
type Alias struct {
	Alias  addr.Address `json:"alias"`
	Target addr.Address `json:"target"`
}

// Group is a name for several addresses.
type Group struct {
	Group   addr.Address   `json:"group"`
	Members []addr.Address `json:"members"`
	Accept  string         `json:"accept"` // permitted senders: anyone, inside, members or nobody
}

// GroupDetails describes one group.
type GroupDetails struct {
	Group   addr.Address   `json:"group"`
	Members []addr.Address `json:"members"`
	Reaches []addr.Address `json:"reaches"` // final recipients of its mail, without duplicates
	Accept  string         `json:"accept"`  // permitted senders: anyone, inside, members or nobody
	// DefaultAccept: it has no setting of its own for Accept.
	DefaultAccept bool  `json:"default_accept"`
	Outside       Right `json:"outside"` // the right of its members to send to other servers
	Inbound       Right `json:"inbound"` // the right of it and its members to get mail from other servers
}

// AddAlias adds another name for a local or remote address.
func (o *Service) AddAlias(alias, target string) (Change, error) {
	a, targets, err := o.parseNames(alias, target)
	if err != nil {
		return Change{}, err
	}
	t := targets[0]
	if err := errors.Join(o.requireMembers(a), o.requireTargets(t)); err != nil {
		return Change{}, err
	}
	err = o.Dir.AddAlias(a, t)
	warnings := o.elsewhere(a.String(), t)
	if hosted, err := o.Dir.Hosts(t.Domain); err == nil && !hosted && len(warnings) == 0 {
		warnings = []string{RemoteTarget(t.Domain)}
	}
	return changed(o.explain(err, a.Domain, "domain show "+string(a.Domain)), warnings, "alias %s added, for %s", a, t)
}

// RemoveAlias removes an alias. Its target stays.
func (o *Service) RemoveAlias(alias string) (Change, error) {
	a, _, err := o.parseNames(alias)
	if err != nil {
		return Change{}, err
	}
	if err := o.requireMembers(a); err != nil {
		return Change{}, err
	}
	err = o.Dir.RemoveAlias(a)
	return changed(o.explain(err, a.Domain, "alias list "+string(a.Domain)), nil, "alias %s removed", a)
}

// ListAliases lists the aliases of a domain, or of all domains for "".
func (o *Service) ListAliases(domain string) ([]Alias, error) {
	return listOf(o, domain, aliasesOf)
}

// listOf joins the results of the function of for the domain with that name, or for all domains.
func listOf[T any](o *Service, name string, of func(addr.Domain, *directory.DomainFile) []T) ([]T, error) {
	all := []T{}
	err := o.files(name, func(d addr.Domain, file *directory.DomainFile) error {
		all = append(all, of(d, file)...)
		return nil
	})
	return all, err
}

func aliasesOf(d addr.Domain, file *directory.DomainFile) []Alias {
	all := []Alias{}
	for _, local := range slices.Sorted(maps.Keys(file.Aliases)) {
		all = append(all, Alias{addr.Address{Local: local, Domain: d}, file.Aliases[local]})
	}
	return all
}

// AddGroup adds a group, with or without members.
func (o *Service) AddGroup(group string, members ...string) (Change, error) {
	return o.changeGroup(group, members, "added", func(g addr.Address, all []addr.Address) ([]string, error) {
		// What has the name already need not be a group.
		err := o.explain(o.Dir.AddGroup(g, all), g.Domain, "domain show "+string(g.Domain))
		return o.elsewhere(g.String(), all...), err
	})
}

// RemoveGroup removes a group. The mailboxes and other targets in it stay.
func (o *Service) RemoveGroup(group string) (Change, error) {
	return o.changeGroup(group, nil, "removed", func(g addr.Address, _ []addr.Address) ([]string, error) {
		if err := o.requireMembers(g); err != nil { // the members lose the group's rights
			return nil, err
		}
		return nil, o.Dir.RemoveGroup(g)
	})
}

// AddMembers adds addresses to a group: all of them or, after an error, none. A member may be a
// mailbox, an alias, a group, or a remote address.
func (o *Service) AddMembers(group string, members ...string) (Change, error) {
	return o.changeGroup(group, members, "has new members", func(g addr.Address, all []addr.Address) ([]string, error) {
		return o.elsewhere(g.String(), all...), o.Dir.AddMember(g, all...)
	})
}

// RemoveMembers removes addresses from a group: all of them or, after an error, none.
func (o *Service) RemoveMembers(group string, members ...string) (Change, error) {
	return o.changeGroup(group, members, "lost members", func(g addr.Address, all []addr.Address) ([]string, error) {
		return nil, o.Dir.RemoveMember(g, all...)
	})
}

// changeGroup is the common part of the verbs that change a group.
func (o *Service) changeGroup(group string, members []string, done string, do func(g addr.Address, members []addr.Address) ([]string, error)) (Change, error) {
	g, all, err := o.parseNames(group, members...)
	if err != nil {
		return Change{}, err
	}
	if len(members) > 0 {
		err = errors.Join(o.requireMembers(g), o.requireTargets(all...))
	} else {
		err = o.requireName(g)
	}
	if err != nil {
		return Change{}, err
	}
	warnings, err := do(g, all)
	if len(all) > 0 {
		done += ": " + joinAddresses(all)
	}
	return changed(o.explain(err, g.Domain, "group list "+string(g.Domain)), warnings, "group %s %s", g, done)
}

// ListGroups lists the groups of a domain, or of all domains for "".
func (o *Service) ListGroups(domain string) ([]Group, error) {
	return listOf(o, domain, o.groupsOf)
}

// ShowGroup returns the details of one group.
func (o *Service) ShowGroup(group string) (GroupDetails, error) {
	g, _, err := o.parseNames(group)
	if err != nil {
		return GroupDetails{}, err
	}
	if err := o.Require(g.Domain, false); err != nil {
		return GroupDetails{}, err
	}
	file, err := o.Dir.Domain(g.Domain)
	if err != nil {
		return GroupDetails{}, o.explain(err, g.Domain, "domain list")
	}
	entry, ok := file.Groups[g.Local]
	if !ok {
		err := fmt.Errorf("group %s: %w", g, directory.ErrNotFound)
		return GroupDetails{}, o.explain(err, g.Domain, "group list "+string(g.Domain))
	}
	ends, err := o.Dir.Resolve(g)
	if err != nil {
		return GroupDetails{}, o.explain(err, g.Domain, "domain list")
	}
	reaches := orEmpty(ends.Forward)
	for _, box := range ends.Mailboxes {
		reaches = append(reaches, box.Address)
	}
	return GroupDetails{
		Group: g, Members: orEmpty(entry.Members), Reaches: reaches,
		Accept: string(o.acceptOf(entry)), DefaultAccept: entry.Accept == directory.AcceptDefault,
		Outside: rightOf(entry.Outside), Inbound: rightOf(entry.Inbound),
	}, nil
}

func (o *Service) groupsOf(d addr.Domain, file *directory.DomainFile) []Group {
	all := []Group{}
	for _, local := range slices.Sorted(maps.Keys(file.Groups)) {
		entry := file.Groups[local]
		all = append(all, Group{
			addr.Address{Local: local, Domain: d}, orEmpty(entry.Members), string(o.acceptOf(entry)),
		})
	}
	return all
}
