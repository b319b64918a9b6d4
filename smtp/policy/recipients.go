package policy

import (
	"cmp"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
	"pillarbox/smtp/srs"
)

// Recipients sets which recipients are permitted in RCPT TO.
type Recipients struct {
	Allow, Deny AddressList
	// GroupSenders sets who may write to a group without a setting of its own.
	GroupSenders Setting[GroupAccept]
	// DenyGroups refuses mail to groups, whatever their settings.
	DenyGroups Setting[GroupDenial]
}

// GroupAccept sets who may write to a group.
type GroupAccept string

const (
	AcceptDefault GroupAccept = ""       // the group has no setting of its own
	AcceptAnyone  GroupAccept = "anyone" // every sender
	AcceptInside  GroupAccept = "inside" // users who have logged in, and devices
	AcceptMembers GroupAccept = "members"
	AcceptNobody  GroupAccept = "nobody" // no sender
)

// GroupDenial sets whose mail to groups is refused.
type GroupDenial string

// The values of GroupDenial.
const (
	DenyNone    GroupDenial = "none"
	DenyOutside GroupDenial = "outside" // that of clients that have not logged in and are no devices
	DenyAll     GroupDenial = "all"
)

// recipientLists are Domino's allowed and denied recipients. They do not apply to the postmaster,
// who must be reachable (RFC 5321 §4.5.1).
func (r *Rules) recipientLists(d *Decision, f *Facts) bool {
	l, to := &r.Recipients, f.To.String()
	refuse := func(remedy string) bool {
		return d.refuse(smtp.NewReply(554, [3]int{5, 7, 1}, "Message to %s rejected for policy reasons", to), remedy)
	}
	if f.toPostmaster() {
		return true
	}
	if line, ok := l.Allow.match(f.To, &l.Deny.index); ok {
		d.step("recipients.allow", line.Origin, line.Text, matches)
		return true
	}
	if line, ok := l.Deny.Match(f.To); ok {
		d.step("recipients.deny", line.Origin, line.Text, matches)
		return refuse(entryRemedy("recipients", line, to))
	}
	if l.Allow.Len() > 0 {
		d.step("recipients.allow", "", to, noMatch)
		return refuse("add \"" + to + "\" to recipients.allow")
	}
	return true
}

// unknown refuses an address of a hosted domain that leads to no mailbox.
func (r *Rules) unknown(d *Decision, f *Facts) bool {
	to := f.To.String()
	if f.Kind == RecipientLocal {
		if f.Shared {
			d.step("route.unresolved", "", to, "does not exist here, and goes to the server of the others")
			return true
		}
		d.step("mailboxes", "", to, "is delivered here")
		return true
	}
	d.step("mailboxes", "", to, "does not exist here")
	remedy := "pillarbox admin mailbox add " + to
	if srs.Is(f.To.Local) {
		d.step("rewritten senders", "", to, "was not made by this server, or is too old")
		remedy = "nothing does: only the server makes such addresses (SRS), for reports about " +
			"forwarded mail"
	}
	reply := smtp.NewReply(550, [3]int{5, 1, 1}, "%s: there is no such mailbox here", to)
	return d.refuse(reply, remedy)
}

// inbound refuses mail from strangers for a recipient that takes none. The postmaster takes it
// always.
func (r *Rules) inbound(d *Decision, f *Facts) bool {
	if !f.NoOutside || f.isLocalSender() || f.toPostmaster() {
		return true
	}
	to := f.To.String()
	d.step("outside.receive", cmp.Or(f.InboundRight, r.Outside.Receive.Origin), to, "accepts mail from local senders only")
	return d.refuse(smtp.NewReply(550, [3]int{5, 7, 1}, "%s takes no mail from outside", to),
		"pillarbox admin mailbox inbound "+to+" allow; if it is a group, pillarbox admin group inbound "+to+" allow")
}

// group checks that the sender may write to a group. The postmaster is reachable even if that is a
// group.
func (r *Rules) group(d *Decision, f *Facts) bool {
	to, name := f.To.String(), f.GroupName
	if name.IsZero() && f.GroupAccept == AcceptDefault || f.toPostmaster() {
		return true // no group
	}
	if name.IsZero() {
		name = f.To
	}
	if deny := r.Recipients.DenyGroups; deny.Value == DenyAll || deny.Value == DenyOutside && !f.isLocalSender() {
		d.step("recipients.deny_groups", deny.Origin, to, "is a group, and mail to groups is refused")
		return d.refuse(smtp.NewReply(550, [3]int{5, 7, 1}, "Message to the group %s rejected for policy reasons", to),
			`set recipients.deny_groups = "`+string(weaker(deny.Value, f))+`" in the configuration`)
	}
	accept, rule, origin := f.GroupAccept, "group", "domain.json"
	if accept == AcceptDefault {
		accept, rule, origin = r.Recipients.GroupSenders.Value, "recipients.group_senders", r.Recipients.GroupSenders.Origin
	}
	switch {
	case accept == AcceptInside && !f.isLocalSender():
		d.step(rule, origin, to, "accepts mail from local senders only")
	case accept == AcceptMembers && (f.User.IsZero() || !f.GroupMember):
		d.step(rule, origin, to, "accepts mail from its members only")
	case accept == AcceptNobody:
		d.step(rule, origin, to, "accepts no mail")
		return d.refuse(smtp.NewReply(550, [3]int{5, 7, 2}, "The group %s accepts no mail", to), openGroup(name))
	default:
		return true
	}
	return d.refuse(smtp.NewReply(550, [3]int{5, 7, 2}, "You may not write to the group %s", to), openGroup(name))
}

func openGroup(name addr.Address) string {
	return "pillarbox admin group accept " + name.String() + " anyone"
}

// weaker returns the strictest GroupDenial that lets this sender write to groups.
func weaker(deny GroupDenial, f *Facts) GroupDenial {
	if deny == DenyAll && f.isLocalSender() {
		return DenyOutside
	}
	return DenyNone
}
