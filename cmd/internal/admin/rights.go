package admin

import (
	"fmt"
	"strings"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
)

// Right is a right as a person reads and writes it.
type Right string

const (
	RightAllow   Right = "allow"
	RightDeny    Right = "deny"
	RightDefault Right = "default" // the mailbox or group says nothing itself
)

func rightOf(set *bool) Right {
	switch {
	case set == nil:
		return RightDefault
	case *set:
		return RightAllow
	}
	return RightDeny
}

// parseRight returns what the directory keeps.
func parseRight(word string) (*bool, error) {
	switch Right(strings.ToLower(word)) {
	case RightAllow:
		return new(true), nil
	case RightDeny:
		return new(false), nil
	case RightDefault:
		return nil, nil
	}
	return nil, Hint(fmt.Errorf("%q is no right", word), "write allow, deny or default")
}

const (
	sendOutside    = "send to other servers"
	getFromOutside = "get mail from outside"
)

// SetMailboxOutside permits or forbids a mailbox to send to other servers:
// allow, deny, or default for what its groups and the configuration say.
func (o *Service) SetMailboxOutside(user, right string) (Change, error) {
	return o.setMailboxRight(user, right, sendOutside, func(acc *directory.Account, set *bool) { acc.Outside = set })
}

// SetMailboxInbound says in the same way whether a mailbox takes mail from
// outside.
func (o *Service) SetMailboxInbound(user, right string) (Change, error) {
	return o.setMailboxRight(user, right, getFromOutside, func(acc *directory.Account, set *bool) { acc.Inbound = set })
}

func (o *Service) setMailboxRight(user, right, what string, edit func(*directory.Account, *bool)) (Change, error) {
	set, err := parseRight(right)
	if err != nil {
		return Change{}, err
	}
	done := map[Right]string{
		RightAllow: "may ", RightDeny: "may not ", RightDefault: "follows its groups and the configuration in whether it may ",
	}[rightOf(set)] + what
	return o.updateAccount(user, done, func(acc *directory.Account) error {
		edit(acc, set)
		return nil
	})
}

// SetGroupOutside permits or forbids the members of a group to send to other
// servers, those that have no setting of their own; one group that forbids it is
// stronger than others that permit it.
func (o *Service) SetGroupOutside(group, right string) (Change, error) {
	return o.setGroupRight(group, right, sendOutside, func(g *directory.Group, set *bool) { g.Outside = set })
}

// SetGroupInbound says in the same way whether a group and its members take mail
// from outside.
func (o *Service) SetGroupInbound(group, right string) (Change, error) {
	return o.setGroupRight(group, right, getFromOutside, func(g *directory.Group, set *bool) { g.Inbound = set })
}

func (o *Service) setGroupRight(group, right, what string, edit func(*directory.Group, *bool)) (Change, error) {
	set, err := parseRight(right)
	if err != nil {
		return Change{}, err
	}
	done := map[Right]string{
		RightAllow: "says that its members may ", RightDeny: "says that its members may not ", RightDefault: "does not say whether its members may ",
	}[rightOf(set)] + what
	return o.updateGroup(group, done, func(g *directory.Group) { edit(g, set) })
}

// acceptAnyone is directory.AcceptAnyone as a person reads and writes it.
const acceptAnyone = "anyone"

// SetGroupAccept says who may write to a group: anyone, inside or members.
func (o *Service) SetGroupAccept(group, who string) (Change, error) {
	var accept directory.Accept
	if who = strings.ToLower(who); who != acceptAnyone {
		if err := accept.UnmarshalText([]byte(who)); err != nil || who == "" {
			return Change{}, Hint(fmt.Errorf("%q is nobody that a group can accept mail from", who), "write anyone, inside or members")
		}
	}
	return o.updateGroup(group, "accepts mail from "+who, func(g *directory.Group) { g.Accept = accept })
}

func acceptText(a directory.Accept) string {
	if a == directory.AcceptAnyone {
		return acceptAnyone
	}
	return string(a)
}

func (o *Service) updateGroup(group, done string, edit func(*directory.Group)) (Change, error) {
	return o.changeGroup(group, nil, done, func(g addr.Address, _ []addr.Address) ([]string, error) {
		return nil, o.Dir.UpdateGroup(g, edit)
	})
}

// ReleaseMailbox lets a mailbox send to other servers again that was held for
// having sent too much.
func (o *Service) ReleaseMailbox(user string) (Change, error) {
	var held bool
	c, err := o.updateAccount(user, "released", func(acc *directory.Account) error {
		held, acc.Held = acc.Held, false
		return nil
	})
	if err == nil && !held {
		c.Warnings = append(c.Warnings, "it was not held")
	}
	return c, err
}

// SendAs is an address that a mailbox may send as beside its own.
type SendAs struct {
	Mailbox addr.Address `json:"mailbox"`
	As      addr.Address `json:"as"`
	Alias   bool         `json:"alias"` // by being an alias of it, not by a grant
}

// GrantSendAs lets a mailbox send as somebody else: a mailbox, alias or group
// here, or an address elsewhere.
func (o *Service) GrantSendAs(user, as string) (Change, error) {
	return o.changeSendAs(user, as, "may send as", func(box directory.Mailbox, as addr.Address) ([]string, error) {
		own, err := o.sendAs(box)
		if err != nil {
			return nil, err
		}
		for _, one := range own {
			if one.As == as.Fold() && one.Alias {
				return nil, Hint(fmt.Errorf("%s: %w, as an alias of %s", as, directory.ErrExists, box.Address), "it needs no grant")
			}
		}
		if as.Fold() == box.Address {
			return nil, Hint(fmt.Errorf("%s is the mailbox itself", as), "it needs no grant")
		}
		if err := o.requireSendAs(as); err != nil {
			return nil, err
		}
		var warnings []string
		if hosted, err := o.Dir.Hosts(as.Domain); err == nil && !hosted {
			warnings = []string{fmt.Sprintf("%s is on another server: those who get mail in its name may take it for forged", as)}
		}
		return warnings, o.Dir.GrantSendAs(box.Address, as)
	})
}

// RevokeSendAs takes back what GrantSendAs gave.
func (o *Service) RevokeSendAs(user, as string) (Change, error) {
	return o.changeSendAs(user, as, "has no grant any more to send as", func(box directory.Mailbox, as addr.Address) ([]string, error) {
		err := o.Dir.RevokeSendAs(box.Address, as)
		own, lookup := o.sendAs(box)
		for _, one := range own {
			if lookup == nil && one.Alias && one.As == as.Fold() {
				err = Hint(err, "it is an alias of the mailbox; 'pillarbox admin alias remove %s' removes that", one.As)
			}
		}
		return nil, err
	})
}

func (o *Service) changeSendAs(user, as, done string, do func(box directory.Mailbox, as addr.Address) ([]string, error)) (Change, error) {
	_, names, err := o.parseNames(user, as)
	if err != nil {
		return Change{}, err
	}
	box, err := o.mailbox(user)
	if err != nil {
		return Change{}, err
	}
	if err := o.requireName(box.Address); err != nil {
		return Change{}, err
	}
	warnings, err := do(box, names[0])
	find := "sendas list " + box.Address.String()
	return changed(o.explain(err, box.Address.Domain, find), warnings, "mailbox %s %s %s", box.Address, done, names[0])
}

// ListSendAs lists what a mailbox may send as beside its own address, or what
// all may for "".
func (o *Service) ListSendAs(user string) ([]SendAs, error) {
	if user != "" {
		box, err := o.mailbox(user)
		if err != nil {
			return nil, err
		}
		own, err := o.sendAs(box)
		return own, o.explain(err, box.Address.Domain, "domain list")
	}
	all := []SendAs{}
	lists, err := eachMailbox(o, "", o.sendAs)
	for _, own := range lists {
		all = append(all, own...)
	}
	return all, err
}

func (o *Service) sendAs(box directory.Mailbox) ([]SendAs, error) {
	granted := map[addr.Address]bool{}
	for _, a := range box.Account.SendAs {
		granted[a.Fold()] = true
	}
	own, err := o.Dir.OwnAddresses(box)
	all := []SendAs{}
	for _, a := range own {
		all = append(all, SendAs{Mailbox: box.Address, As: a, Alias: !granted[a]})
	}
	return all, err
}
