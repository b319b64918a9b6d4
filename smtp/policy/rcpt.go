package policy

import (
	"cmp"
	"strings"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
)

// Rcpt decides whether a client may send to one recipient.
func (r *Rules) Rcpt(f *Facts) Decision {
	d := decide("rcpt")
	rules := []func(*Decision, *Facts) (Decision, bool){r.recipientLists, r.dnsbl, r.relay, r.closed, r.outside, r.deviceRecipient}
	if f.Kind != RecipientRemote {
		rules = []func(*Decision, *Facts) (Decision, bool){r.recipientLists, r.dnsbl, r.unknown, r.inbound, r.group, r.closed, r.deviceRecipient}
		if f.Forwards { // an alias or a forward is no way around the right
			rules = append(rules, r.outside)
		}
	}
	for _, rule := range rules {
		if refusal, ok := rule(d, f); !ok {
			return refusal
		}
	}
	return d.accept()
}

// recipientLists are Domino's allowed and denied recipients. The postmaster can
// be written to whatever they say (RFC 5321 §4.5.1).
func (r *Rules) recipientLists(d *Decision, f *Facts) (Decision, bool) {
	l := &r.Recipients
	refused := func(remedy string) (Decision, bool) {
		return d.refuse(smtp.NewReply(554, [3]int{5, 7, 1}, "Message to %s rejected for policy reasons", f.To), remedy), false
	}
	if f.toPostmaster() {
		return Decision{}, true
	}
	if line, ok := l.Allow.match(f.To, &l.Deny.index); ok {
		d.step("recipients.allow", line.Origin, line.Text, matches)
		return Decision{}, true
	}
	if line, ok := l.Deny.Match(f.To); ok {
		d.step("recipients.deny", line.Origin, line.Text, matches)
		return refused(entryRemedy("recipients", line, f.To.String()))
	}
	if l.Allow.Len() > 0 {
		d.step("recipients.allow", "", f.To.String(), noMatch)
		return refused("add \"" + f.To.String() + "\" to recipients.allow")
	}
	return Decision{}, true
}

func (r *Rules) unknown(d *Decision, f *Facts) (Decision, bool) {
	if f.Kind == RecipientLocal {
		d.step("mailboxes", "", f.To.String(), "is delivered here")
		return Decision{}, true
	}
	d.step("mailboxes", "", f.To.String(), "is nobody's address")
	return d.refuse(smtp.NewReply(550, [3]int{5, 1, 1}, "%s: there is no such mailbox here", f.To),
		"pillarbox admin mailbox add "+f.To.String()), false
}

// toPostmaster reports whether the recipient is one that must always be reached.
func (f *Facts) toPostmaster() bool {
	return f.Kind == RecipientLocal && addr.IsPostmaster(f.To.Local)
}

// fromInside reports whether the sender is known to be one of us.
func (f *Facts) fromInside() bool { return !f.User.IsZero() || f.Device != nil }

// inbound is the right of a mailbox to get mail from outside.
func (r *Rules) inbound(d *Decision, f *Facts) (Decision, bool) {
	if !f.NoOutside || f.fromInside() || f.toPostmaster() {
		return Decision{}, true
	}
	d.step("outside.receive", cmp.Or(f.InboundRight, r.Outside.Receive.Origin), f.To.String(), "takes mail from inside only")
	return d.refuse(smtp.NewReply(550, [3]int{5, 7, 1}, "%s takes no mail from outside", f.To),
		"pillarbox admin mailbox inbound (or admin group inbound) for whoever "+f.To.String()+" is"), false
}

// groupName is the recipient by the group's own name.
func (f *Facts) groupName() addr.Address {
	if !f.GroupName.IsZero() {
		return f.GroupName
	}
	return f.To
}

// group is who may write to a group.
func (r *Rules) group(d *Decision, f *Facts) (Decision, bool) {
	switch {
	case f.GroupAccept == AcceptInside && !f.fromInside():
		d.step("group", "domain.json", f.To.String(), "accepts mail from inside only")
	case f.GroupAccept == AcceptMembers && (f.User.IsZero() || !f.GroupMember):
		d.step("group", "domain.json", f.To.String(), "accepts mail from its members only")
	default:
		return Decision{}, true
	}
	return d.refuse(smtp.NewReply(550, [3]int{5, 7, 2}, "You may not write to the group %s", f.To),
		"pillarbox admin group accept "+f.groupName().String()+" anyone"), false
}

// relay is Domino's order of evaluation (reference: its administrator's help,
// "Restricting SMTP inbound routing") with what IIS's forms add. It is asked for
// recipients elsewhere only.
func (r *Rules) relay(d *Decision, f *Facts) (Decision, bool) {
	rule := &r.Relay
	d.step("local domains", "", string(f.To.Domain), "is not delivered here")
	if line, ok := rule.OverrideDomains.Match(f.To); ok {
		d.step("relay.override_domains", line.Origin, line.Text, matches)
		return Decision{}, true
	}
	if f.User.IsZero() && f.Device != nil {
		return Decision{}, true // deviceRecipient decides
	}
	if r.exempt(d, f) {
		return Decision{}, true
	}
	if !f.User.IsZero() {
		if rule.AuthenticatedAllow.Value {
			d.step("relay.authenticated", rule.AuthenticatedAllow.Origin, f.User.Address.String(), "is logged in, and may")
			return Decision{}, true
		}
		d.step("relay.authenticated", rule.AuthenticatedAllow.Origin, f.User.Address.String(), "is logged in, and is checked like anyone")
	}
	if r.relayLists(d, f) {
		return Decision{}, true
	}
	reply := smtp.NewReply(550, [3]int{5, 7, 1}, "Unable to relay for %s", f.To)
	if rule.DominoReplies.Value {
		reply = smtp.NewReply(554, [3]int{5, 7, 1}, "Relay rejected for policy reasons.")
	}
	return d.refuse(reply, r.relayRemedy(f)), false
}

// exempt is steps 1 to 3: whether the anti-relay checks are for this host.
func (r *Rules) exempt(d *Decision, f *Facts) bool {
	rule := &r.Relay
	switch e := rule.Enforcement; {
	case e.Value == EnforceNone:
		d.step("relay.enforcement", e.Origin, "none", "every host may relay")
		return true
	case e.Value == EnforceExternal && f.InternalName && f.NameState == NameVerified:
		d.step("relay.enforcement", e.Origin, f.Name, "is a host of ours")
		return true
	case e.Value == EnforceExternal:
		d.step("relay.enforcement", e.Origin, f.Remote.String(), "is an external host")
	default:
		d.step("relay.enforcement", e.Origin, "all", "every host is checked")
	}
	if line, ok := rule.ExcludeHosts.Match(f.Remote, f.name()); ok {
		d.step("relay.exclude_hosts", line.Origin, line.Text, matches)
		return true
	}
	return false
}

// relayLists is step 5, the four lists: Allow beats Deny, except for an entry
// that both lists of a pair have; as Domino R5 did it, Deny beats Allow. An Allow
// list that has entries refuses what it does not name.
func (r *Rules) relayLists(d *Decision, f *Facts) bool {
	rule := &r.Relay
	toDeny, denyTo := rule.DenyDomains.Match(f.To)
	fromDeny, denyFrom := rule.DenyHosts.Match(f.Remote, f.name())
	note := func(name string, line Line, ok bool) {
		if ok {
			d.step(name, line.Origin, line.Text, matches)
		}
	}
	if rule.DenyWins.Value && (denyTo || denyFrom) {
		d.step("relay.deny_wins", rule.DenyWins.Origin, "", isOn)
		note("relay.deny_domains", toDeny, denyTo)
		note("relay.deny_hosts", fromDeny, denyFrom)
		return false
	}
	if line, ok := rule.AllowDomains.match(f.To, &rule.DenyDomains.index); ok {
		note("relay.allow_domains", line, true)
		return true
	}
	if line, ok := rule.AllowHosts.match(f.Remote, f.name(), &rule.DenyHosts.index); ok {
		note("relay.allow_hosts", line, true)
		return true
	}
	if denyTo || denyFrom {
		note("relay.deny_domains", toDeny, denyTo)
		note("relay.deny_hosts", fromDeny, denyFrom)
		return false
	}
	if rule.AllowDomains.Len()+rule.AllowHosts.Len() > 0 {
		d.step("relay.allow_domains, relay.allow_hosts", "", f.Remote.String(), noMatch)
		return false
	}
	d.step("relay lists", "", "", "deny nothing")
	return true
}

func (r *Rules) relayRemedy(f *Facts) string {
	host := f.Remote.String()
	add := "add \"" + host + "\" to relay.allow_hosts"
	if line, ok := r.Relay.DenyHosts.Match(f.Remote, f.name()); ok && strings.Trim(line.Text, "[] ") == host {
		add += " and take it out of relay.deny_hosts"
	}
	if r.Relay.DenyWins.Value {
		add += " and set relay.deny_wins = false"
	}
	if f.User.IsZero() {
		return "log in, or " + add + ", or make it a device (pillarbox admin device add NAME --ip " + f.Remote.String() + " --may-send-to all)"
	}
	return "set relay.authenticated = \"allow\", or " + add
}

// outside is who of our own may send to other servers, once relaying is not in
// the way.
func (r *Rules) outside(d *Decision, f *Facts) (Decision, bool) {
	u := &f.User
	if u.IsZero() {
		return Decision{}, true
	}
	refused := func(code int, enhanced [3]int, text, remedy string) (Decision, bool) {
		return d.refuse(smtp.NewReply(code, enhanced, "%s %s", u.Address, text), remedy), false
	}
	if u.Held {
		d.step("outside.per_hour", r.Outside.PerHour.Origin, u.Address.String(), "has sent too much and is held")
		return refused(450, [3]int{4, 7, 1}, "has sent too much mail to other servers and is held; ask your administrator",
			"pillarbox admin mailbox release "+u.Address.String())
	}
	if line, ok := u.match(&r.Outside.RejectFrom); ok {
		d.step("outside.reject_from", line.Origin, line.Text, matches)
		return refused(550, [3]int{5, 7, 1}, "may not send mail to other servers",
			"take \""+line.Text+"\" ("+line.Origin+") out of outside.reject_from")
	}
	if line, ok := u.match(&r.Outside.AcceptFrom); ok {
		d.step("outside.accept_from", line.Origin, line.Text, matches)
	} else if r.Outside.AcceptFrom.Len() > 0 {
		d.step("outside.accept_from", "", u.Address.String(), noMatch)
		return refused(550, [3]int{5, 7, 1}, "may not send mail to other servers", "add \""+u.Address.String()+"\" to outside.accept_from")
	}
	if !u.Outside {
		d.step("outside.send", cmp.Or(u.Right, r.Outside.Send.Origin), u.Address.String(), "may write inside only")
		return refused(550, [3]int{5, 7, 1}, "may not send mail to other servers", "pillarbox admin mailbox outside "+u.Address.String()+" allow")
	}
	d.step("outside.send", cmp.Or(u.Right, r.Outside.Send.Origin), u.Address.String(), "may write to other servers")
	return Decision{}, true
}

// match looks for the user or a group that he is a member of.
func (u *User) match(l *AddressList) (Line, bool) {
	if line, ok := l.Match(u.Address); ok {
		return line, true
	}
	for _, g := range u.Groups {
		if entry, ok := l.exact[g]; ok {
			return l.lines[entry], true
		}
	}
	return Line{}, false
}

// deviceRecipient is where a machine without a log-in may send to, and how much.
func (r *Rules) deviceRecipient(d *Decision, f *Facts) (Decision, bool) {
	device := f.Device
	if device == nil || !f.User.IsZero() {
		return Decision{}, true
	}
	if f.Kind == RecipientRemote && !device.Outside {
		d.step("device", "devices.json", device.Name, "may send to this server's own mailboxes only")
		return d.refuse(smtp.NewReply(550, [3]int{5, 7, 1}, "Unable to relay for %s", f.To),
			"pillarbox admin device add "+device.Name+" … --may-send-to all"), false
	}
	if device.Over {
		d.step("device", "devices.json", device.Name, "has sent its share of this hour")
		return d.refuse(smtp.NewReply(450, [3]int{4, 7, 1}, "The device %s has sent too much, try again later", device.Name),
			"wait, or give the device a larger --per-hour"), false
	}
	d.step("device", "devices.json", device.Name, "may send there")
	return Decision{}, true
}
