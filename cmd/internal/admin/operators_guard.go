package admin

import (
	"errors"
	"slices"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
)

// This file holds the limits of operators of single domains inside their own domains; Service.As
// lists them. Operators of all domains, and the user who owns the files, have no such limits.

// limited reports whether these limits apply.
func (o *Service) limited() bool { return o.operator != nil && !o.operator.MayAll(true) }

// requireName requires the right to add, change or remove a mailbox, alias or group.
func (o *Service) requireName(a addr.Address) error {
	if err := o.Require(a.Domain, true); err != nil || !o.limited() {
		return err
	}
	above, err := o.above(a)
	if err != nil {
		return err
	}
	grants, err := o.operators.list()
	if err != nil {
		return o.explainOperator(err)
	}
	for _, g := range grants {
		if o.operator.exceeds(g) && slices.ContainsFunc(above, func(name addr.Address) bool { return name.String() == g.Name }) {
			return o.refuse("%s is an operator of %s; an operator of %s may not change it", a, g.Scope(), o.operator.Scope())
		}
	}
	return nil
}

// requireMembers is requireName for changes that may add members to a group: to the group with that
// name, or to a group that contains it.
func (o *Service) requireMembers(a addr.Address) error {
	if err := o.requireName(a); err != nil || !o.limited() {
		return err
	}
	above, err := o.above(a)
	if err != nil {
		return err
	}
	for _, name := range above {
		at, group, err := o.Dir.GroupAt(name)
		if err != nil || at != name {
			continue // not a group
		}
		if group.Outside != nil || group.Inbound != nil {
			return o.refuse("the group %s grants or denies rights; only operators of all domains may change its members", name)
		}
	}
	return nil
}

// requireStanding is requireMembers for removing or renaming a mailbox. Otherwise an operator could
// remove a mailbox that has rights of its own or is held, and add it again without them.
func (o *Service) requireStanding(a addr.Address) error {
	if err := o.requireMembers(a); err != nil || !o.limited() {
		return err
	}
	box, err := o.Dir.Mailbox(a)
	if err != nil {
		return nil // the verb reports the error
	}
	if acc := box.Account; acc.Outside != nil || acc.Inbound != nil || acc.Held {
		return o.refuse("the mailbox %s has rights of its own, or is held; only operators of all domains may remove or rename it", a)
	}
	return nil
}

// above returns the address and all groups that contain it, directly or through other groups.
func (o *Service) above(a addr.Address) ([]addr.Address, error) {
	a = a.Fold()
	groups, err := o.Dir.GroupsOf(directory.Mailbox{Address: a})
	return append(groups, a), o.explain(err, a.Domain, "domain list")
}

// requireTargets requires that the operator may send mail on to these addresses.
func (o *Service) requireTargets(targets ...addr.Address) error {
	if !o.limited() {
		return nil
	}
	rules := &o.Config().Policy.Outside
	for _, t := range targets {
		hosted, err := o.Dir.Hosts(t.Domain)
		if err != nil {
			return err
		}
		if !hosted {
			if !rules.Send.Value {
				return o.refuse("%s is on another server; only operators of all domains may permit mail to other servers", t)
			}
			continue
		}
		if err := o.requireOpen(t, rules.Receive.Value); err != nil {
			return err
		}
	}
	return nil
}

// requireOpen requires that another name for the local address would not open it to more senders.
func (o *Service) requireOpen(target addr.Address, byDefault bool) error {
	takes, err := o.Dir.TakesInbound(target, byDefault)
	if err != nil {
		return o.explain(err, target.Domain, "domain list")
	}
	if byDefault && !takes {
		return o.refuse("%s accepts no mail from other servers, but another name for it would", target)
	}
	_, group, err := o.Dir.GroupAt(target)
	if errors.Is(err, directory.ErrNotFound) {
		return nil
	} else if err != nil {
		return o.explain(err, target.Domain, "domain list")
	}
	mayOpen := !o.operator.OwnMailbox && o.operator.May(target.Domain, true)
	if o.acceptOf(group) != directory.AcceptAnyone && !mayOpen {
		return o.refuse("the group %s accepts mail only from some senders, but another name for it would accept it from anyone", target)
	}
	return nil
}

// requireSendAs requires that the operator may let a mailbox send as the address.
func (o *Service) requireSendAs(as addr.Address) error {
	if hosted, err := o.Dir.Hosts(as.Domain); err != nil || !hosted {
		return errors.Join(err, o.RequireAll(true))
	}
	return o.requireName(as)
}

// requireArchive requires that the operator may take away an archive: others may rely on the one that
// they have in another domain.
func (o *Service) requireArchive(before addr.Address) error {
	if before.IsZero() {
		return nil
	}
	return o.Require(before.Domain, true)
}

// requireDomainArchive requires the right to let a mailbox, or none, get a copy of all mail of a
// domain: also of the mail of its users who are operators with more rights.
func (o *Service) requireDomainArchive(d addr.Domain, archive addr.Address) error {
	if !o.limited() {
		return nil
	}
	file, err := o.Dir.Domain(d)
	if err != nil {
		return nil // the verb reports the error
	}
	if err := o.requireArchive(file.Archive); err != nil || archive.IsZero() {
		return err
	}
	boxes, err := o.Dir.MailboxesAsFound(d)
	if err != nil {
		return err
	}
	for _, box := range boxes {
		if err := o.requireName(box.Address); err != nil {
			return err
		}
	}
	return nil
}
