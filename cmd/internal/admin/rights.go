package admin

import (
	"fmt"
	"strings"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
)

// Right is the setting of a right, in the form of the command line.
type Right string

// The values of Right.
const (
	RightAllow   Right = "allow"
	RightDeny    Right = "deny"
	RightDefault Right = "default" // the mailbox or group has no setting of its own
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

// parseRight parses a right into the form of the directory.
func parseRight(word string) (*bool, error) {
	switch Right(strings.ToLower(word)) {
	case RightAllow:
		return new(true), nil
	case RightDeny:
		return new(false), nil
	case RightDefault:
		return nil, nil
	}
	return nil, Hint(fmt.Errorf("%q is not a right", word), "write allow, deny or default")
}

const (
	sendOutside    = "send to other servers"
	getFromOutside = "get mail from outside"
)

// SetMailboxOutside sets the right of a mailbox to send to other servers: allow, deny or default.
// With default, its groups and the configuration decide.
func (o *Service) SetMailboxOutside(user, right string) (Change, error) {
	return o.setMailboxRight(user, right, sendOutside, func(acc *directory.Account, set *bool) { acc.Outside = set })
}

// SetMailboxInbound sets the right of a mailbox to get mail from other servers, like
// SetMailboxOutside.
func (o *Service) SetMailboxInbound(user, right string) (Change, error) {
	return o.setMailboxRight(user, right, getFromOutside, func(acc *directory.Account, set *bool) { acc.Inbound = set })
}

func (o *Service) setMailboxRight(user, right, what string, edit func(*directory.Account, *bool)) (Change, error) {
	set, err := parseRight(right)
	if err != nil {
		return Change{}, err
	}
	done := map[Right]string{
		RightAllow: "may ", RightDeny: "may not ", RightDefault: "follows its groups and the configuration for the right to ",
	}[rightOf(set)] + what
	return o.updateAccount(user, done, func(acc *directory.Account) error {
		edit(acc, set)
		return nil
	})
}

// SetGroupOutside sets the right of the members of a group to send to other servers. A member's own
// setting overrides it. If one group of a member denies the right, another cannot allow it.
func (o *Service) SetGroupOutside(group, right string) (Change, error) {
	return o.setGroupRight(group, right, sendOutside, func(g *directory.Group, set *bool) { g.Outside = set })
}

// SetGroupInbound sets the right of a group and its members to get mail from other servers, like
// SetGroupOutside.
func (o *Service) SetGroupInbound(group, right string) (Change, error) {
	return o.setGroupRight(group, right, getFromOutside, func(g *directory.Group, set *bool) { g.Inbound = set })
}

func (o *Service) setGroupRight(group, right, what string, edit func(*directory.Group, *bool)) (Change, error) {
	set, err := parseRight(right)
	if err != nil {
		return Change{}, err
	}
	done := map[Right]string{
		RightAllow: "lets its members ", RightDeny: "does not let its members ", RightDefault: "has no setting for the right of its members to ",
	}[rightOf(set)] + what
	return o.updateGroup(group, done, func(g *directory.Group) { edit(g, set) })
}

// acceptDefault is directory.AcceptDefault in the form of the command line.
const acceptDefault = "default"

// SetGroupAccept sets the permitted senders of a group: anyone, inside, members or nobody. With
// default, the configuration decides.
func (o *Service) SetGroupAccept(group, who string) (Change, error) {
	var accept directory.Accept
	done := "follows the configuration for its permitted senders"
	if who = strings.ToLower(who); who != acceptDefault {
		done = "accepts mail from " + who
		if err := accept.UnmarshalText([]byte(who)); err != nil || who == "" {
			return Change{}, Hint(fmt.Errorf("%q does not name the permitted senders of a group", who), "write anyone, inside, members, nobody or default")
		}
	}
	return o.updateGroup(group, done, func(g *directory.Group) { g.Accept = accept })
}

// acceptOf returns the permitted senders of a group, by its own setting or by the configuration.
func (o *Service) acceptOf(g directory.Group) directory.Accept {
	if g.Accept != directory.AcceptDefault {
		return g.Accept
	}
	return directory.Accept(o.Config().Policy.Recipients.GroupSenders.Value)
}

func (o *Service) updateGroup(group, done string, edit func(*directory.Group)) (Change, error) {
	return o.changeGroup(group, nil, done, func(g addr.Address, _ []addr.Address) ([]string, error) {
		return nil, o.Dir.UpdateGroup(g, edit)
	})
}

// ReleaseMailbox permits a mailbox to send to other servers again. The server holds mailboxes that
// have sent too much.
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

// SendAs is an address, other than its own, that a mailbox may send as.
type SendAs struct {
	Mailbox addr.Address `json:"mailbox"`
	As      addr.Address `json:"as"`
	Alias   bool         `json:"alias"` // As is an alias of the mailbox, so it needs no grant
}

// GrantSendAs permits a mailbox to send as another address: a local mailbox, alias or group, or a
// remote address.
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
			warnings = []string{fmt.Sprintf("%s is not hosted here; recipients may treat mail from it as forged", as)}
		}
		return warnings, o.Dir.GrantSendAs(box.Address, as)
	})
}

// RevokeSendAs undoes GrantSendAs.
func (o *Service) RevokeSendAs(user, as string) (Change, error) {
	return o.changeSendAs(user, as, "may no longer send as", func(box directory.Mailbox, as addr.Address) ([]string, error) {
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

// ListSendAs lists the addresses other than its own that a mailbox may send as, or those of all
// mailboxes for "".
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
