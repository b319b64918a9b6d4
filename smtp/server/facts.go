package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/smtp/policy"
)

// Resolver asks DNS. *dns.Resolver is the one in use.
type Resolver interface {
	Name(ctx context.Context, ip netip.Addr) (name string, state policy.NameState)
	SenderDomain(ctx context.Context, domain addr.Domain) policy.DomainState
}

// Devices knows the machines that may send without a log-in. *devices.Registry
// is the one in use.
type Devices interface {
	Lookup(ip netip.Addr) (*policy.Device, bool)
}

// Gatherer collects the facts that decisions look at, for sessions and for
// explanations alike. It asks DNS only where a rule needs the answer.
type Gatherer struct {
	Dir     *directory.Directory
	Devices Devices
	Names   Resolver
	Rules   *policy.Rules
}

// Client adds what is known of a client by its address.
func (g *Gatherer) Client(ctx context.Context, f *policy.Facts) {
	if device, ok := g.Devices.Lookup(f.Remote); ok {
		f.Device = device
	}
	if !g.Rules.NeedsName() {
		return
	}
	f.Name, f.NameState = g.Names.Name(ctx, f.Remote)
	f.InternalName = f.NameState == policy.NameVerified && g.hostsParent(f.Name)
}

// hostsParent reports whether a host name is in a hosted domain.
func (g *Gatherer) hostsParent(name string) bool {
	for {
		if hosted, _ := g.Dir.Hosts(addr.Domain(name)); hosted {
			return true
		}
		var found bool
		if _, name, found = strings.Cut(name, "."); !found {
			return false
		}
	}
}

// errGone says that a user who has logged in has no mailbox any more, or a
// locked one.
var errGone = errors.New("the user's mailbox is gone or locked")

// User adds the rights of a user who has logged in.
func (g *Gatherer) User(f *policy.Facts, user addr.Address) error {
	box, err := g.Dir.Mailbox(user)
	if errors.Is(err, directory.ErrNotFound) || err == nil && box.Locked {
		return fmt.Errorf("%s: %w", user, errGone)
	} else if err != nil {
		return err
	}
	def := g.Rules.Outside.Send.Value
	rights, err := g.Dir.RightsOf(box, def)
	f.User = policy.User{
		Address: box.Address, Own: rights.Own, Groups: rights.Groups,
		Outside: rights.Outside, Right: whose(box.Account.Outside != nil, rights.Outside != def), Held: box.Account.Held,
	}
	return err
}

// whose says where a right comes from that is a mailbox's own, or that is not
// the default; "" is the default.
func whose(own, differs bool) string {
	switch {
	case own:
		return "account.json"
	case differs:
		return "domain.json, a group"
	}
	return ""
}

// Sender adds what is known of the reverse-path.
func (g *Gatherer) Sender(ctx context.Context, f *policy.Facts, from addr.Address) error {
	f.From = from
	var err error
	if f.FromHosted, err = g.Dir.Hosts(from.Domain); err != nil {
		return err
	}
	if g.Rules.NeedsSenderDomain(f) {
		f.SenderDomain = g.Names.SenderDomain(ctx, from.Domain)
	}
	return nil
}

// Recipient adds what is known of a recipient, and returns where its mail goes.
func (g *Gatherer) Recipient(f *policy.Facts, to addr.Address) (directory.Resolution, error) {
	f.To, f.NoOutside, f.InboundRight, f.GroupAccept, f.GroupMember = to, false, "", "", false
	res, err := g.Dir.Resolve(to)
	if err != nil {
		return res, err
	}
	f.Kind = policy.RecipientKind(res.Kind.String())
	if res.Kind != directory.Local {
		return res, nil
	}
	def := g.Rules.Outside.Receive.Value
	box, plain := plainMailbox(res, to)
	var takes bool
	if plain {
		takes, err = g.Dir.MayInbound(box, def)
	} else {
		takes, err = g.Dir.TakesInbound(to, def)
	}
	f.NoOutside = !takes
	if takes != def {
		f.InboundRight = "account.json or domain.json"
	}
	if err != nil || plain {
		return res, err
	}
	return res, g.group(f, to)
}

// plainMailbox is the recipient where it is the very address of a mailbox, which
// most are: then no alias need be followed and no group looked for.
func plainMailbox(res directory.Resolution, to addr.Address) (directory.Mailbox, bool) {
	if len(res.Mailboxes) == 1 && len(res.Forward) == 0 && res.Mailboxes[0].Address == to.Fold() {
		return res.Mailboxes[0], true
	}
	return directory.Mailbox{}, false
}

// group adds who may write to a recipient that is a group.
func (g *Gatherer) group(f *policy.Facts, to addr.Address) error {
	name, group, err := g.Dir.GroupAt(to)
	if errors.Is(err, directory.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	f.GroupAccept = policy.GroupAccept(group.Accept)
	if f.GroupAccept == policy.AcceptMembers && !f.User.IsZero() {
		f.GroupMember, err = g.Dir.IsMember(name, f.User.Address)
	}
	return err
}
