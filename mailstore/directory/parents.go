package directory

import (
	"slices"

	"pillarbox/mailstore/addr"
)

// parentIndex is the reverse of the aliases and groups: for each address, the names that point to
// it. It is built from the domains' files as they were at one time.
type parentIndex struct {
	opts    *Options
	domains []addr.Domain
	read    []*DomainFile // parallel to domains; nil: the file could not be read
	files   map[addr.Domain]*DomainFile
	// broken are the domains whose files could not be read; files has their last good state.
	broken  map[addr.Domain]error
	parents map[addr.Address][]parent
	// above are those parents that are groups or are in a group, directly or not.
	above map[addr.Address][]parent
}

// parent is a name that points to an address.
type parent struct {
	name  addr.Address
	group bool         // an alias if false
	plus  addr.Address // the form in which it points there, as anna+lists@; zero: the plain form
}

// parentIndex returns an up-to-date index. It costs one stat for each domain, and is built again
// only if a file has changed.
//
// A file that cannot be read affects its own domain only. For all others its last good content
// stays in force, even after a restart: see KeepCopies.
func (d *Directory) parentIndex() (*parentIndex, error) {
	all, err := d.domainList()
	if err != nil {
		return nil, err
	}
	opts, last := d.opts.Load(), d.parents.Load()
	fresh := last != nil && last.opts == opts && slices.Equal(last.domains, all)
	read := make([]*DomainFile, len(all))
	broken := make(map[addr.Domain]error)
	for i, name := range all {
		if read[i], err = d.domains.get(d.fsys, DomainDir(name)+"/"+domainFile); err != nil {
			broken[name] = err
		}
		fresh = fresh && last.read[i] == read[i]
	}
	if fresh {
		return last, nil
	}
	index := newParentIndex(opts, all, read, broken, d.lastFiles(broken, last))
	d.parents.Store(index)
	d.keepCopies(index)
	return index, nil
}

// indexFor is parentIndex for an address of a domain whose own file must be readable.
func (d *Directory) indexFor(domain addr.Domain) (*parentIndex, error) {
	index, err := d.parentIndex()
	if err != nil {
		return nil, err
	}
	return index, index.broken[domain]
}

// lastFiles returns the last good content of the broken files. A file that was never read is
// missing.
func (d *Directory) lastFiles(broken map[addr.Domain]error,
	last *parentIndex) map[addr.Domain]*DomainFile {
	files := make(map[addr.Domain]*DomainFile, len(broken))
	for name := range broken {
		if last != nil && last.files[name] != nil {
			files[name] = last.files[name]
		} else if file := d.lastCopy(name); file != nil {
			files[name] = file
		}
	}
	return files
}

func newParentIndex(opts *Options, all []addr.Domain, read []*DomainFile,
	broken map[addr.Domain]error, last map[addr.Domain]*DomainFile) *parentIndex {
	x := &parentIndex{
		opts: opts, domains: all, read: read, broken: broken,
		files:   make(map[addr.Domain]*DomainFile, len(all)),
		parents: make(map[addr.Address][]parent),
	}
	for i, name := range all {
		switch {
		case read[i] != nil:
			x.files[name] = read[i]
		case last[name] != nil:
			x.files[name] = last[name]
		}
	}
	for name, file := range x.files {
		x.add(name, file)
	}
	x.findAbove()
	return x
}

func (x *parentIndex) add(domain addr.Domain, file *DomainFile) {
	for local, target := range file.Aliases {
		x.link(target.Fold(), parent{name: addr.Address{Local: local, Domain: domain}})
	}
	for local, g := range file.Groups {
		for _, member := range g.Members {
			x.link(member.Fold(),
				parent{name: addr.Address{Local: local, Domain: domain}, group: true})
		}
	}
}

func (x *parentIndex) link(child addr.Address, p parent) {
	x.parents[child] = append(x.parents[child], p)
	if under := x.plain(child); !under.IsZero() {
		p.plus = child
		x.parents[under] = append(x.parents[under], p)
	}
}

// plain returns an address without its plus suffix, as far as the index can decide; zero if it has
// none.
func (x *parentIndex) plain(a addr.Address) addr.Address {
	base := x.opts.plusBase(a.Local)
	if base == "" || x.isName(a) {
		return addr.Address{}
	}
	return addr.Address{Local: base, Domain: a.Domain}
}

// isName reports whether a is an alias or a group.
func (x *parentIndex) isName(a addr.Address) bool {
	file := x.files[a.Domain]
	if file == nil {
		return false
	}
	_, alias := file.Aliases[a.Local]
	_, group := file.Groups[a.Local]
	return alias || group
}

// findAbove selects the parents that can lead up to a group. It starts from the groups and goes
// down, so a mailbox with thousands of aliases that are in no group costs no more than one without.
func (x *parentIndex) findAbove() {
	x.above = make(map[addr.Address][]parent)
	marked := make(map[addr.Address]bool) // is in a group, directly or not
	var next []addr.Address
	mark := func(a addr.Address) {
		for _, a := range []addr.Address{a, x.plain(a)} {
			if !a.IsZero() && !marked[a] {
				marked[a] = true
				next = append(next, a)
			}
		}
	}
	for _, file := range x.files {
		for _, g := range file.Groups {
			for _, member := range g.Members {
				mark(member.Fold())
			}
		}
	}
	for ; len(next) > 0; next = next[1:] {
		if file := x.files[next[0].Domain]; file != nil {
			if target, ok := file.Aliases[next[0].Local]; ok {
				mark(target.Fold())
			}
		}
	}
	for child := range marked {
		for _, p := range x.parents[child] {
			if p.group || marked[p.name] {
				x.above[child] = append(x.above[child], p)
			}
		}
	}
}

// leads reports whether mail for the parent reaches the address under which it is listed.
func (x *parentIndex) leads(d *Directory, p parent) (bool, error) {
	if p.plus.IsZero() {
		return true, nil
	}
	// A mailbox with exactly that name would get the mail. Only a stat shows whether it exists.
	there, err := d.isMailbox(p.plus)
	return !there, err
}

// groupsAbove returns the groups that contain one of the addresses, directly or not.
func (x *parentIndex) groupsAbove(d *Directory, from ...addr.Address) ([]addr.Address, error) {
	var groups []addr.Address
	seen := make(map[addr.Address]bool)
	found := make(map[addr.Address]bool)
	for next := slices.Clone(from); len(next) > 0; next = next[1:] {
		if seen[next[0]] {
			continue
		}
		seen[next[0]] = true
		for _, p := range x.above[next[0]] {
			if leads, err := x.leads(d, p); err != nil {
				return nil, err
			} else if !leads {
				continue
			}
			if p.group && !found[p.name] {
				found[p.name] = true
				groups = append(groups, p.name)
			}
			next = append(next, p.name)
		}
	}
	return sortedOnce(groups), nil
}

// uncertain returns the damage of a domain that hides members of the group: an address may be in
// the group through a name in that domain.
func (x *parentIndex) uncertain(d *Directory, group addr.Address) error {
	if len(x.broken) == 0 {
		return nil
	}
	for child := range x.above {
		damage := x.broken[child.Domain]
		if damage == nil {
			continue
		}
		groups, err := x.groupsAbove(d, child)
		if err != nil {
			return err
		}
		if slices.Contains(groups, group) {
			return damage
		}
	}
	return nil
}
