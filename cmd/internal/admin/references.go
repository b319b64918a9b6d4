package admin

import (
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
		boxes, err := o.Dir.Mailboxes(d)
		if err != nil {
			return r, err
		}
		r.add(d, file, boxes, match)
	}
	return r, err
}

func (r *references) add(d addr.Domain, file *directory.DomainFile, boxes []directory.Mailbox, match func(addr.Address) bool) {
	for _, alias := range aliasesOf(d, file) {
		if match(alias.Target) {
			r.aliases = append(r.aliases, alias.Alias)
		}
	}
	for _, group := range groupsOf(d, file) {
		if slices.ContainsFunc(group.Members, match) {
			r.groups = append(r.groups, group.Group)
		}
	}
	for _, box := range boxes {
		if slices.ContainsFunc(box.Account.Forward, match) {
			r.forwards = append(r.forwards, box.Address)
		}
		if slices.ContainsFunc(box.Account.SendAs, match) {
			r.grants = append(r.grants, box.Address)
		}
	}
	if match(file.CatchAll) {
		r.catchAlls = append(r.catchAlls, d)
	}
}
