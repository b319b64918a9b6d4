package admin

import (
	"cmp"
	"slices"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
)

// references are the names that lead to an address in one step, and the mailboxes that may send as
// it. Each list is in alphabetical order.
type references struct {
	aliases   []addr.Address
	groups    []addr.Address
	forwards  []addr.Address // mailboxes that forward there
	catchAlls []addr.Domain
	grants    []addr.Address // mailboxes that may send as it
}

// all returns the names that lead to the address, for messages.
func (r references) all() []string {
	var all []string
	for _, a := range slices.Concat(r.aliases, r.groups, r.forwards) {
		all = append(all, a.String())
	}
	for _, d := range r.catchAlls {
		all = append(all, "the catch-all of "+string(d))
	}
	return all
}

// references finds the references to the addresses that match. It leaves out the domain except, and
// domains that the operator may not read.
func (o *Service) references(except addr.Domain, match func(addr.Address) bool) (references, error) {
	var r references
	all, err := o.Dir.Domains()
	for _, d := range all {
		if d == except || !o.mayRead(d) {
			continue
		}
		file, err := o.Dir.Domain(d)
		if err != nil {
			return r, err
		}
		boxes, err := o.Dir.Digests(d)
		if err != nil {
			return r, err
		}
		if err := r.add(d, file, boxes, match); err != nil {
			return r, err
		}
	}
	for _, names := range [][]addr.Address{r.aliases, r.groups} {
		slices.SortFunc(names, func(a, b addr.Address) int {
			return cmp.Or(cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.Local, b.Local))
		})
	}
	return r, err
}

func (r *references) add(
	d addr.Domain, file *directory.DomainFile, boxes []directory.Digest, match func(addr.Address) bool,
) error {
	at := func(local string) addr.Address { return addr.Address{Local: local, Domain: d} }
	for local, target := range file.Aliases {
		if match(target) {
			r.aliases = append(r.aliases, at(local))
		}
	}
	for local, group := range file.Groups {
		if slices.ContainsFunc(group.Members, match) {
			r.groups = append(r.groups, at(local))
		}
	}
	for i := range boxes {
		box := &boxes[i]
		if box.Damage != nil {
			return box.Damage
		}
		if slices.ContainsFunc(box.Forward, match) {
			r.forwards = append(r.forwards, at(box.Name))
		}
		if slices.ContainsFunc(box.SendAs, match) {
			r.grants = append(r.grants, at(box.Name))
		}
	}
	if match(file.CatchAll) {
		r.catchAlls = append(r.catchAlls, d)
	}
	return nil
}
