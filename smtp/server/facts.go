package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/smtp"
	"pillarbox/smtp/policy"
)

// Resolver asks DNS. *dns.Resolver is the one in use.
type Resolver interface {
	Name(ctx context.Context, ip netip.Addr) (name string, state policy.NameState)
	SenderDomain(ctx context.Context, domain addr.Domain) policy.DomainState
	Listings(ctx context.Context, ip netip.Addr, zones []string) []policy.Listing
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
	Local   *policy.Device // the program on this machine that the client is; nil: it is none
}

// Client adds what is known of a client by its address.
func (g *Gatherer) Client(ctx context.Context, f *policy.Facts) {
	g.Device(f)
	if g.Rules.NeedsName() {
		g.name(ctx, f)
	}
}

// Device adds the device that the client's address belongs to now.
func (g *Gatherer) Device(f *policy.Facts) {
	if f.Service == smtp.Local && g.Local != nil {
		device := *g.Local
		f.Device = &device
		return
	}
	f.Device, _ = g.Devices.Lookup(f.Remote)
}

// name asks for the client's name.
func (g *Gatherer) name(ctx context.Context, f *policy.Facts) {
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
	if f.FromPlain, err = g.Dir.Plain(from); err != nil {
		return err
	}
	if g.Rules.NeedsSenderDomain(f) {
		f.SenderDomain = g.Names.SenderDomain(ctx, from.Domain)
	}
	return nil
}

// Header adds who the header says is responsible for the message.
func (g *Gatherer) Header(f *policy.Facts, field string, senders []addr.Address, bad bool) error {
	f.HeaderField, f.HeaderSender, f.HeaderBad, f.HeaderPlain = field, senders, bad, nil
	for _, a := range senders {
		plain, err := g.Dir.Plain(a)
		if err != nil {
			return err
		}
		f.HeaderPlain = append(f.HeaderPlain, plain)
	}
	return nil
}

// Recipient adds what is known of a recipient, and returns where its mail goes:
// from a stranger, not to mailboxes that take no mail from outside, by whatever
// name they are reached.
func (g *Gatherer) Recipient(ctx context.Context, f *policy.Facts, to addr.Address) (directory.Resolution, error) {
	f.Recipient = policy.Recipient{To: to}
	res, err := g.Dir.Resolve(to)
	if err != nil {
		return res, err
	}
	f.Kind, f.Forwards = policy.RecipientKind(res.Kind.String()), len(res.Forward) > 0
	if g.Rules.NeedsNameToRelay(f) {
		g.name(ctx, f)
	}
	if g.Rules.NeedsDNSBL(f) {
		f.Listed = g.Names.Listings(ctx, f.Remote, g.Rules.DNSBL.Zones())
	}
	if res.Kind != directory.Local {
		return res, nil
	}
	box, plain := plainMailbox(res, to)
	if err := g.inbound(f, &res, box, plain); err != nil || plain {
		return res, err
	}
	return res, g.group(f, to)
}

// inbound adds whether mail from outside is taken, and leaves the mailboxes that
// take none out of a stranger's message.
func (g *Gatherer) inbound(f *policy.Facts, res *directory.Resolution, box directory.Mailbox, plain bool) (err error) {
	def := g.Rules.Outside.Receive.Value
	var takes bool
	if plain {
		takes, err = g.Dir.MayInbound(box, def)
	} else {
		takes, err = g.Dir.TakesInbound(f.To, def)
	}
	if f.NoOutside = !takes; takes != def {
		f.InboundRight = "account.json or domain.json"
	}
	if err != nil || plain || addr.IsPostmaster(f.To.Local) || !f.User.IsZero() || f.Device != nil {
		return err
	}
	var open []directory.Mailbox
	for _, box := range res.Mailboxes {
		may, err := g.Dir.MayInbound(box, def)
		if err != nil {
			return err
		}
		if may {
			open = append(open, box)
		}
	}
	if len(open) == 0 && len(res.Forward) == 0 && takes {
		f.NoOutside, f.InboundRight = true, "account.json or domain.json"
	}
	res.Mailboxes = open
	return nil
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
	f.GroupAccept, f.GroupName = policy.GroupAccept(group.Accept), name
	if f.GroupAccept == policy.AcceptMembers && !f.User.IsZero() {
		f.GroupMember, err = g.Dir.IsMember(name, f.User.Address)
	}
	return err
}
