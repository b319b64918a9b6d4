package directory

import (
	"cmp"
	"errors"
	"io/fs"
	"slices"
	"syscall"

	"pillarbox/mailstore/addr"
)

// Rights are what a sender may do who has logged in.
type Rights struct {
	Own     []addr.Address // see OwnAddresses
	Groups  []addr.Address // see GroupsOf
	Outside bool           // see MayOutside
}

// RightsOf finds a mailbox's rights with one look at the files; outside is the
// default for MayOutside. While a directory elsewhere cannot be asked, the aliases
// that it gives are not among them: nobody is kept from sending as himself.
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
	return Rights{own, groups, index.may(box.Account.Outside, groups, sayOutside, outside)}, err
}

// OwnAddresses are the addresses that a mailbox may send as beside its own: the
// aliases, in whatever domain, that lead to it in one step, and what it has been
// granted. Folded, each once, in alphabetical order.
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

// ownAddresses are those that files give.
func (x *parentIndex) ownAddresses(d *Directory, box Mailbox) ([]addr.Address, error) {
	var own []addr.Address
	for _, p := range x.parents[box.Address] {
		if p.group {
			continue
		}
		// In a tree put together by hand, a mailbox may have the alias's name; then
		// it is that mailbox's.
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

// GroupsOf are the groups whose mail reaches a mailbox through aliases and other
// groups; forwarding makes nobody a member. Folded, in alphabetical order.
func (d *Directory) GroupsOf(box Mailbox) ([]addr.Address, error) {
	index, err := d.indexFor(box.Address.Domain)
	if err != nil {
		return nil, err
	}
	return index.groupsAbove(d, box.Address)
}

// IsMember reports whether a sender's address is in a group: by itself, through
// other groups, or as another name of somebody who is. ErrDamaged: it may be, through a domain whose file cannot be read.
func (d *Directory) IsMember(group, sender addr.Address) (bool, error) {
	index, err := d.parentIndex()
	if err != nil {
		return false, err
	}
	behind, err := d.behind(sender)
	if err != nil {
		return false, err
	}
	all, err := index.groupsAbove(d, behind...)
	if err != nil || slices.Contains(all, group.Fold()) {
		return err == nil, err
	}
	return false, index.doubtful(d, group.Fold())
}

// MayOutside reports whether a mailbox may send to other servers: what it says
// itself; else no, if any of its groups says no; else yes, if any says yes; else
// def.
func (d *Directory) MayOutside(box Mailbox, def bool) (bool, error) {
	return d.may(box, box.Account.Outside, sayOutside, def)
}

// MayInbound reports in the same way whether a mailbox takes mail from outside.
func (d *Directory) MayInbound(box Mailbox, def bool) (bool, error) {
	return d.may(box, box.Account.Inbound, sayInbound, def)
}

func sayOutside(g Group) *bool { return g.Outside }
func sayInbound(g Group) *bool { return g.Inbound }

func (d *Directory) may(box Mailbox, own *bool, say func(Group) *bool, def bool) (bool, error) {
	index, err := d.indexFor(box.Address.Domain)
	if err != nil {
		return false, err
	}
	groups, err := index.groupsAbove(d, box.Address)
	if err != nil {
		return false, err
	}
	return index.may(own, groups, say, def), nil
}

func (x *parentIndex) may(own *bool, groups []addr.Address, say func(Group) *bool, def bool) bool {
	if own != nil {
		return *own
	}
	for _, name := range groups {
		switch said := say(x.files[name.Domain].Groups[name.Local]); {
		case said == nil:
		case !*said:
			return false
		default:
			def = true
		}
	}
	return def
}

// TakesInbound reports whether mail from outside is taken for a recipient: for a
// mailbox as MayInbound says, for a group what it says itself or def, each also
// under another name. Whatever else there is, such as postmaster without a
// mailbox and what a catch-all gets, is def.
func (d *Directory) TakesInbound(to addr.Address, def bool) (bool, error) {
	names, err := d.behind(to)
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

// GroupAt finds the group that an address is, itself or as an alias of it, and
// the group's own name; without a group it is ErrNotFound.
func (d *Directory) GroupAt(a addr.Address) (addr.Address, Group, error) {
	names, err := d.behind(a)
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
		return addr.Address{}, Group{}, &NobodyError{a}
	}
	return a, g, nil
}

// behind is an address, and what it is another name of, and so on to the end:
// a mailbox, a group, nobody, or an address elsewhere. Folded.
func (d *Directory) behind(a addr.Address) ([]addr.Address, error) {
	plus := d.opts.Load()
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
			if base := plus.plusBase(a.Local); base != "" {
				a.Local = base
			}
		}
	}
	return chain, nil
}

// Plain is an address without what is behind a plus: anna@ for anna+lists@. An
// address that is a mailbox, an alias or a group as it stands, or that has no
// plus, or that is not hosted here, has none: zero. ErrDamaged: whose the address is, is not known now.
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

// isMailbox reports whether a folded address is a mailbox's own, also of one that is damaged.
func (d *Directory) isMailbox(a addr.Address) (bool, error) {
	if addr.CheckMailboxName(a.Local) != nil || addr.CheckDomainName(a.Domain) != nil || a.Domain == "" {
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

// sortedOnce sorts addresses, and leaves each in once.
func sortedOnce(all []addr.Address) []addr.Address {
	slices.SortFunc(all, func(a, b addr.Address) int {
		return cmp.Or(cmp.Compare(a.Local, b.Local), cmp.Compare(a.Domain, b.Domain))
	})
	return slices.Compact(all)
}
