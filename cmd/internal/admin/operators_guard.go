package admin

import (
	"errors"
	"slices"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
)

// What an operator of some domains may not do though it is in his domains: see
// Service.As. Operators of all domains, and who is at the files, may do it.

// limited reports whether these limits hold.
func (o *Service) limited() bool { return o.operator != nil && !o.operator.MayAll(true) }

// requireName wants the right to make, change or remove a mailbox, alias or group.
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
			return o.refuse("%s, as an operator of %s, is none of the things that an operator of %s may change", a, g.Scope(), o.operator.Scope())
		}
	}
	return nil
}

// requireMembers is requireName for what makes somebody a member of a group: of
// the one of that name, or of one that it is in.
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
			continue // no group
		}
		if group.Outside != nil || group.Inbound != nil {
			return o.refuse("the group %s gives or takes rights; who is in it, operators of all domains say", name)
		}
	}
	return nil
}

// requireStanding is requireMembers for what ends a mailbox under its name: one that
// was given rights or denied them, or is held, would come back without.
func (o *Service) requireStanding(a addr.Address) error {
	if err := o.requireMembers(a); err != nil || !o.limited() {
		return err
	}
	box, err := o.Dir.Mailbox(a)
	if err != nil {
		return nil // the verb says so
	}
	if acc := box.Account; acc.Outside != nil || acc.Inbound != nil || acc.Held {
		return o.refuse("the mailbox %s has rights of its own, or is held; whether it goes, operators of all domains say", a)
	}
	return nil
}

// above is an address and the groups that lead to it.
func (o *Service) above(a addr.Address) ([]addr.Address, error) {
	a = a.Fold()
	groups, err := o.Dir.GroupsOf(directory.Mailbox{Address: a})
	return append(groups, a), o.explain(err, a.Domain, "domain list")
}

// requireTargets wants addresses that mail may be led to.
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
				return o.refuse("%s is on another server, and who may send there, operators of all domains say", t)
			}
			continue
		}
		if err := o.requireOpen(t, rules.Receive.Value); err != nil {
			return err
		}
	}
	return nil
}

// requireOpen wants an address here that another name would not open to more
// senders than it has.
func (o *Service) requireOpen(target addr.Address, byDefault bool) error {
	takes, err := o.Dir.TakesInbound(target, byDefault)
	if err != nil {
		return o.explain(err, target.Domain, "domain list")
	}
	if byDefault && !takes {
		return o.refuse("%s takes no mail from outside, and another way to it would", target)
	}
	_, group, err := o.Dir.GroupAt(target)
	if errors.Is(err, directory.ErrNotFound) {
		return nil
	} else if err != nil {
		return o.explain(err, target.Domain, "domain list")
	}
	if group.Accept != directory.AcceptAnyone && !o.operator.May(target.Domain, true) {
		return o.refuse("the group %s does not take mail from everybody, and another way to it would", target)
	}
	return nil
}

// requireSendAs wants an address that a mailbox may be let send as.
func (o *Service) requireSendAs(as addr.Address) error {
	if hosted, err := o.Dir.Hosts(as.Domain); err != nil || !hosted {
		return errors.Join(err, o.RequireAll(true))
	}
	return o.requireName(as)
}
