package directory

import (
	"cmp"
	"errors"
	"io/fs"
	"slices"
	"syscall"

	"pillarbox/mailstore/addr"
)

// Rights are the sending rights of a logged-in user.
type Rights struct {
	Own     []addr.Address // see OwnAddresses
	Groups  []addr.Address // see GroupsOf
	Outside bool           // see MayOutside
}

// RightsOf returns a mailbox's rights with one read of the files. outside is the default for
// MayOutside. If an external directory does not answer, its aliases are missing from the rights;
// the user can still send from the mailbox's own address.
func (d *Directory) RightsOf(box Mailbox, outside bool) (Rights, error) {
	index, err := d.indexFor(box.Address.Domain)
	if err != nil {
		return Rights{}, err
	}
	groups, err := index.groupsAbove(d, box.Address)
	if err != nil {
		return Rights{}, err
	}
	own, err := index.ownAddresses(d, box)
	if err == nil {
		there, _ := d.personAliases(box)
		own = sortedOnce(append(own, there...))
	}
	return Rights{own, groups, index.may(box.Account.Outside, groups, outsideOf, outside)}, err
}

// OwnAddresses returns the addresses, beside its own, that a mailbox may send as: the aliases of
// any domain that point directly to it, and its grants. They are folded, in alphabetical order,
// without duplicates.
func (d *Directory) OwnAddresses(box Mailbox) ([]addr.Address, error) {
	index, err := d.indexFor(box.Address.Domain)
	if err != nil {
		return nil, err
	}
	own, err := index.ownAddresses(d, box)
	if err != nil {
		return nil, err
	}
	there, err := d.personAliases(box)
	if err != nil {
		return nil, err
	}
	return sortedOnce(append(own, there...)), nil
}

// ownAddresses is OwnAddresses without the external directory.
func (x *parentIndex) ownAddresses(d *Directory, box Mailbox) ([]addr.Address, error) {
	var own []addr.Address
	for _, p := range x.parents[box.Address] {
		if p.group {
			continue
		}
		// In a tree edited by hand, a mailbox may have the alias's name. Then the address
		// belongs to that mailbox.
		taken, err := d.isMailbox(p.name)
		leads, leadsErr := x.leads(d, p)
		if err = errors.Join(err, leadsErr); err != nil && x.broken[p.name.Domain] == nil {
			return nil, err
		}
		if err == nil && leads && !taken {
			own = append(own, p.name)
		}
	}
	for _, granted := range box.Account.SendAs {
		own = append(own, granted.Fold())
	}
	return sortedOnce(own), nil
}

// GroupsOf returns the groups that contain a mailbox, directly or through aliases and other groups.
// Forwarding does not make a member. They are folded and in alphabetical order.
func (d *Directory) GroupsOf(box Mailbox) ([]addr.Address, error) {
	index, err := d.indexFor(box.Address.Domain)
	if err != nil {
		return nil, err
	}
	return index.groupsAbove(d, box.Address)
}

// IsMember reports whether a sender's address is in a group: directly, through other groups, or as
// an alias of a member. ErrDamaged means that it may be a member through a domain whose file cannot
// be read.
func (d *Directory) IsMember(group, sender addr.Address) (bool, error) {
	index, err := d.parentIndex()
	if err != nil {
		return false, err
	}
	chain, err := d.aliasChain(sender)
	if err != nil {
		return false, err
	}
	all, err := index.groupsAbove(d, chain...)
	if err != nil || slices.Contains(all, group.Fold()) {
		return err == nil, err
	}
	return false, index.uncertain(d, group.Fold())
}

// MayOutside reports whether a mailbox may send to remote servers. The mailbox's own setting
// decides. Without one, the answer is no if any of its groups says no; else yes if any says yes;
// else def.
func (d *Directory) MayOutside(box Mailbox, def bool) (bool, error) {
	return d.may(box, box.Account.Outside, outsideOf, def)
}

// MayInbound reports in the same way whether a mailbox accepts mail from remote senders.
func (d *Directory) MayInbound(box Mailbox, def bool) (bool, error) {
	return d.may(box, box.Account.Inbound, inboundOf, def)
}

func outsideOf(g Group) *bool { return g.Outside }
func inboundOf(g Group) *bool { return g.Inbound }

func (d *Directory) may(box Mailbox, own *bool, setting func(Group) *bool, def bool) (bool, error) {
	index, err := d.indexFor(box.Address.Domain)
	if err != nil {
		return false, err
	}
	groups, err := index.groupsAbove(d, box.Address)
	if err != nil {
		return false, err
	}
	return index.may(own, groups, setting, def), nil
}

func (x *parentIndex) may(
	own *bool, groups []addr.Address, setting func(Group) *bool, def bool,
) bool {
	if own != nil {
		return *own
	}
	for _, name := range groups {
		switch value := setting(x.files[name.Domain].Groups[name.Local]); {
		case value == nil:
		case !*value:
			return false
		default:
			def = true
		}
	}
	return def
}

// TakesInbound reports whether a recipient accepts mail from remote senders, by its own name or by
// an alias. For a mailbox it is MayInbound, and for a group its own setting or def. For everything
// else, such as postmaster without a mailbox or a catch-all, it is def.
func (d *Directory) TakesInbound(to addr.Address, def bool) (bool, error) {
	names, err := d.aliasChain(to)
	if err != nil {
		return false, err
	}
	end := names[len(names)-1]
	box, err := d.Mailbox(end)
	if err == nil {
		return d.MayInbound(box, def)
	} else if !errors.Is(err, ErrNotFound) {
		return false, err
	}
	_, group, err := d.group(end)
	if err == nil && group.Inbound != nil {
		return *group.Inbound, nil
	} else if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return def, err
}

// GroupAt returns the group with an address, or with an alias that leads to it, and the group's own
// address. Error: ErrNotFound.
func (d *Directory) GroupAt(a addr.Address) (addr.Address, Group, error) {
	names, err := d.aliasChain(a)
	if err != nil {
		return addr.Address{}, Group{}, err
	}
	return d.group(names[len(names)-1])
}

func (d *Directory) group(a addr.Address) (addr.Address, Group, error) {
	file, err := d.Domain(a.Domain)
	if err != nil {
		return addr.Address{}, Group{}, err
	}
	g, ok := file.Groups[a.Local]
	if !ok {
		return addr.Address{}, Group{}, &UnknownTargetError{a}
	}
	return a, g, nil
}

// ListAt returns the members of the list in an external directory that has an address, or that an
// alias leads to. ok is false for every other address.
func (d *Directory) ListAt(a addr.Address) (members []addr.Address, ok bool, err error) {
	names, err := d.aliasChain(a)
	if err != nil {
		return nil, false, err
	}
	a = names[len(names)-1]
	file, err := d.Domain(a.Domain)
	if err == nil && addr.CheckMailboxName(a.Local) == nil {
		if _, err := d.mailboxIn(file, a); err == nil {
			return nil, false, nil
		}
	}
	if err == nil && file.Groups[a.Local].Members == nil {
		var person Person
		person, _, err = d.personAt(a, file)
		members, ok = person.Members, err == nil && person.Mailbox.IsZero()
	}
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return members, ok, err
}

// aliasChain returns an address and, step by step, the addresses that it is an alias of. The last
// one is a mailbox, a group, an unknown or a remote address. All are folded.
func (d *Directory) aliasChain(a addr.Address) ([]addr.Address, error) {
	opts := d.opts.Load()
	var chain []addr.Address
	for a = a.Fold(); !slices.Contains(chain, a); {
		chain = append(chain, a)
		file, err := d.Domain(a.Domain)
		if errors.Is(err, ErrNotFound) {
			return chain, nil
		} else if err != nil {
			return nil, err
		}
		if there, err := d.isMailbox(a); there || err != nil {
			return chain, err
		}
		if target, ok := file.Aliases[a.Local]; ok {
			a = target.Fold()
		} else if _, ok := file.Groups[a.Local]; !ok {
			if base := opts.plusBase(a.Local); base != "" {
				a.Local = base
			}
		}
	}
	return chain, nil
}

// Plain returns an address without its plus suffix: anna@ for anna+lists@. It returns zero for an
// address that has no plus, is not hosted here, or is itself a mailbox, an alias or a group.
// ErrDamaged means that the owner of the address is unknown at present.
func (d *Directory) Plain(a addr.Address) (addr.Address, error) {
	a = a.Fold()
	base := d.opts.Load().plusBase(a.Local)
	if base == "" {
		return addr.Address{}, d.damage(a.Domain)
	}
	file, err := d.Domain(a.Domain)
	if errors.Is(err, ErrNotFound) {
		return addr.Address{}, nil
	} else if err != nil {
		return addr.Address{}, err
	}
	_, alias := file.Aliases[a.Local]
	_, group := file.Groups[a.Local]
	if there, err := d.isMailbox(a); alias || group || there || err != nil {
		return addr.Address{}, err
	}
	return addr.Address{Local: base, Domain: a.Domain}, nil
}

// isMailbox reports whether a folded address is that of a mailbox, damaged or not.
func (d *Directory) isMailbox(a addr.Address) (bool, error) {
	if addr.CheckMailboxName(a.Local) != nil || addr.CheckDomainName(a.Domain) != nil ||
		a.Domain == "" {
		return false, nil
	}
	info, err := d.fsys.Lstat(MailboxDir(a))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return info.IsDir(), nil
}

// sortedOnce sorts addresses and removes duplicates.
func sortedOnce(all []addr.Address) []addr.Address {
	slices.SortFunc(all, func(a, b addr.Address) int {
		return cmp.Or(cmp.Compare(a.Local, b.Local), cmp.Compare(a.Domain, b.Domain))
	})
	return slices.Compact(all)
}
