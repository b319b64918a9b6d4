package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/smtp"
	"pillarbox/smtp/policy"
)

// Resolver asks DNS. *dns.Resolver implements it.
type Resolver interface {
	Name(ctx context.Context, ip netip.Addr) (name string, state policy.NameState)
	SenderDomain(ctx context.Context, domain addr.Domain) policy.DomainState
	Listings(ctx context.Context, ip netip.Addr, zones []string) []policy.Listing
}

// Devices finds the machines that may send without a login. *devices.Registry implements it.
type Devices interface {
	Lookup(ip netip.Addr) (*policy.Device, bool)
}

// Gatherer collects the facts for decisions, both for sessions and for "admin explain". It asks DNS
// only if a rule needs the answer.
type Gatherer struct {
	Dir      *directory.Directory
	Devices  Devices
	Resolver Resolver
	Rules    *policy.Rules
	Local    *policy.Device // the client, if it is a program on this machine; otherwise nil
}

// Client adds the facts that follow from the client's address.
func (g *Gatherer) Client(ctx context.Context, f *policy.Facts) {
	g.Device(f)
	if g.Rules.NeedsName() {
		g.name(ctx, f)
	}
}

// Device adds the device that has the client's address now.
func (g *Gatherer) Device(f *policy.Facts) {
	if f.Service == smtp.Local && g.Local != nil {
		device := *g.Local
		f.Device = &device
		return
	}
	f.Device, _ = g.Devices.Lookup(f.Remote)
}

// name adds the client's name.
func (g *Gatherer) name(ctx context.Context, f *policy.Facts) {
	f.Name, f.NameState = g.Resolver.Name(ctx, f.Remote)
	f.InternalName = f.NameState == policy.NameVerified && g.inHostedDomain(f.Name)
}

// inHostedDomain reports whether a host name is in a hosted domain.
func (g *Gatherer) inHostedDomain(name string) bool {
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

// errGone is the class of ErrNoMailbox and ErrLocked.
var errGone = errors.New("no login is possible")

// Errors of User: the mailbox of the user never existed or has been removed, or it is locked.
var (
	ErrNoMailbox = fmt.Errorf("%w: there is no such mailbox", errGone)
	ErrLocked    = fmt.Errorf("%w: the mailbox is locked", errGone)
)

// errNoAccess reports that the mailbox of a user who has logged in may not use SMTP any more.
var errNoAccess = errors.New("the user's mailbox may not use SMTP")

// User adds the rights of a user who has logged in.
func (g *Gatherer) User(f *policy.Facts, user addr.Address) error {
	box, err := g.Dir.Mailbox(user)
	switch {
	case errors.Is(err, directory.ErrNotFound):
		return fmt.Errorf("%s: %w", user, ErrNoMailbox)
	case err != nil:
		return err
	case box.Locked:
		return fmt.Errorf("%s: %w", user, ErrLocked)
	}
	if !box.Account.Access.Permits(directory.ServiceSMTP) {
		return fmt.Errorf("%s: %w", user, errNoAccess)
	}
	def := g.Rules.Outside.Send.Value
	rights, err := g.Dir.RightsOf(box, def)
	f.User = policy.User{
		Address: box.Address, Own: rights.Own, Groups: rights.Groups,
		Outside: rights.Outside, Right: rightOrigin(box.Account.Outside != nil, rights.Outside != def), Held: box.Account.Held,
	}
	return err
}

// rightOrigin returns the file that sets a right, given whether the mailbox has one of its own and
// whether it differs from the default; "" means that the default applies.
func rightOrigin(own, differs bool) string {
	switch {
	case own:
		return "account.json"
	case differs:
		return "domain.json, a group"
	}
	return ""
}

// Sender adds the facts about the envelope sender.
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
		f.SenderDomain = g.Resolver.SenderDomain(ctx, from.Domain)
	}
	return nil
}

// Header adds the addresses that are responsible for the message, and their field.
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

// Recipient adds the facts about a recipient, and returns its mailboxes and forwardings. A
// mailbox that takes no mail from strangers is left out for a stranger, even if an alias or a
// group leads to it.
func (g *Gatherer) Recipient(ctx context.Context, f *policy.Facts, to addr.Address) (directory.Resolution, error) {
	f.Recipient = policy.Recipient{To: to}
	res, err := g.Dir.Resolve(to)
	if err != nil {
		return res, err
	}
	f.Kind = policy.RecipientKind(res.Kind.String())
	f.Forwards, f.Shared = g.forwards(res, to)
	if g.Rules.NeedsNameToRelay(f) {
		g.name(ctx, f)
	}
	if g.Rules.NeedsDNSBL(f) {
		f.Listed = g.Resolver.Listings(ctx, f.Remote, g.Rules.DNSBL.Zones())
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

// forwards reports whether mail for the recipient leaves to other domains, and whether the recipient
// itself is on another server of its domain.
func (g *Gatherer) forwards(res directory.Resolution, to addr.Address) (forwards, shared bool) {
	for _, a := range res.Forward {
		hosted, err := g.Dir.Hosts(a.Domain)
		forwards = forwards || !hosted || err != nil
		shared = shared || a == to
	}
	return forwards, shared
}

// inbound adds the fact that the recipient takes no mail from strangers. For a stranger it removes
// the mailboxes that take none.
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

// plainMailbox returns the mailbox if the recipient is its own address. Most recipients are, and
// they need no look-up of aliases and groups.
func plainMailbox(res directory.Resolution, to addr.Address) (directory.Mailbox, bool) {
	if len(res.Mailboxes) == 1 && len(res.Forward) == 0 && res.Mailboxes[0].Address == to.Fold() {
		return res.Mailboxes[0], true
	}
	return directory.Mailbox{}, false
}

// group adds the facts about a recipient that is a group.
func (g *Gatherer) group(f *policy.Facts, to addr.Address) error {
	name, group, err := g.Dir.GroupAt(to)
	if errors.Is(err, directory.ErrNotFound) {
		return g.list(f, to)
	} else if err != nil {
		return err
	}
	f.GroupAccept, f.GroupName = policy.GroupAccept(group.Accept), name
	if f.GroupAccept == policy.AcceptMembers || f.GroupAccept == policy.AcceptDefault {
		if !f.User.IsZero() {
			f.GroupMember, err = g.Dir.IsMember(name, f.User.Address)
		}
	}
	return err
}

// list adds the facts about a recipient that is a list of an external directory. Such a list has no
// setting of its own.
func (g *Gatherer) list(f *policy.Facts, to addr.Address) error {
	members, ok, err := g.Dir.ListAt(to)
	if err != nil || !ok {
		return err
	}
	f.GroupName = to
	f.GroupMember = slices.ContainsFunc(members, func(m addr.Address) bool {
		return m.Fold() == f.User.Address.Fold() || slices.Contains(f.User.Own, m.Fold())
	})
	return nil
}
