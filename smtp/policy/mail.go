package policy

import (
	"slices"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
)

// NeedsSenderDomain reports whether DNS must be asked for the sender's domain
// before Mail can be decided.
func (r *Rules) NeedsSenderDomain(f *Facts) bool {
	return r.Senders.VerifyDomain.Value && f.User.IsZero() && f.Device == nil && !f.From.IsZero() && !f.FromHosted
}

// Mail decides whether a client may begin a message from the sender it names.
func (r *Rules) Mail(f *Facts) Decision {
	d := decide("mail")
	for _, rule := range []func(*Decision, *Facts) (Decision, bool){
		r.hostName, r.site, r.senderLists, r.userSender, r.deviceSender, r.forged, r.senderDomain,
	} {
		if refusal, ok := rule(d, f); !ok {
			return refusal
		}
	}
	return d.accept()
}

// hostName is Domino's "Verify connecting hostname in DNS", judged at MAIL; and
// its rule that with names in the connection lists, a host without one sends
// nothing.
func (r *Rules) hostName(d *Decision, f *Facts) (Decision, bool) {
	c := &r.Connections
	needed := c.Allow.hasNames() || c.Deny.hasNames()
	switch {
	case !c.VerifyHostname.Value && !needed:
		return Decision{}, true
	case f.NameState == NameVerified, f.NameState == NameUnverified && !c.VerifyHostname.Value:
		d.step("connections.verify_hostname", c.VerifyHostname.Origin, f.Name, "is the client's name in DNS")
		return Decision{}, true
	case f.NameState == NameUnverified:
		d.step("connections.verify_hostname", c.VerifyHostname.Origin, f.Name, "does not lead back to the client's address")
	default:
		d.step("connections.verify_hostname", c.VerifyHostname.Origin, f.Remote.String(), "has no name in DNS that can be found")
	}
	code, enhanced := 554, [3]int{5, 7, 25}
	if f.NameState == NameFailed {
		code, enhanced = 451, [3]int{4, 7, 25}
	}
	return d.refuse(smtp.NewReply(code, enhanced, "The name of your host %s could not be verified in DNS", f.Remote),
		"give "+f.Remote.String()+" a name in DNS, forward and reverse; or set connections.verify_hostname = false and keep names out of the connection lists"), false
}

// senderLists are Domino's allowed and denied senders.
func (r *Rules) senderLists(d *Decision, f *Facts) (Decision, bool) {
	s, from := &r.Senders, r.SenderOf(f)
	refused := func(remedy string) (Decision, bool) {
		return d.refuse(smtp.NewReply(554, [3]int{5, 7, 1}, "Mail from <%s> rejected for policy reasons", from), remedy), false
	}
	if line, ok := s.Allow.match(from, &s.Deny.index); ok {
		d.step("senders.allow", line.Origin, line.Text, matches)
		return Decision{}, true
	}
	if line, ok := s.Deny.Match(from); ok {
		d.step("senders.deny", line.Origin, line.Text, matches)
		return refused(entryRemedy("senders", line, senderEntry(from)))
	}
	// Without the null sender no report of another server would ever arrive.
	if s.Allow.Len() > 0 && !from.IsZero() {
		d.step("senders.allow", "", from.String(), noMatch)
		return refused("add \"" + senderEntry(from) + "\" to senders.allow")
	}
	return Decision{}, true
}

// senderEntry is a sender as a list names it.
func senderEntry(a addr.Address) string {
	if a.IsZero() {
		return "<>"
	}
	return a.String()
}

// userSender holds the sender against the addresses of the user who logged in.
func (r *Rules) userSender(d *Decision, f *Facts) (Decision, bool) {
	mode := r.Senders.VerifyUser
	switch {
	case f.User.IsZero():
		return Decision{}, true
	case mode.Value != VerifyEnvelope && mode.Value != VerifyBoth:
		d.step("senders.verify_user", mode.Origin, string(mode.Value), "does not look at MAIL FROM")
		return Decision{}, true
	case f.From.IsZero(): // a receipt that a mail program sends; the header is judged
		d.step("senders.verify_user", mode.Origin, "the null sender", "is nobody's")
		return Decision{}, true
	case f.User.owns(f.From, f.FromPlain):
		d.step("senders.verify_user", mode.Origin, f.From.String(), "is one of the user's addresses")
		return Decision{}, true
	}
	d.step("senders.verify_user", mode.Origin, f.From.String(), "is not one of the user's addresses")
	return r.notYours(d, f, f.From), false
}

// notYours is the refusal of a sender that is not the user's.
func (r *Rules) notYours(d *Decision, f *Facts, as addr.Address) Decision {
	user := f.User.Address.String()
	d.Console = "Message rejected. Authenticated user " + user + " from host " + f.Remote.String() +
		" sending mail from " + as.String() + " failed to match directory address " + user
	return d.refuse(smtp.NewReply(553, [3]int{5, 7, 1}, "%s may not send as %s", user, as),
		"pillarbox admin sendas grant "+user+" "+as.String())
}

// owns reports whether a is an address that the user may send as: his own, an
// alias of his, a grant; or one of these with something behind the plus, of
// which plain is the rest.
func (u *User) owns(a, plain addr.Address) bool {
	return u.has(a) || !plain.IsZero() && u.has(plain)
}

func (u *User) has(a addr.Address) bool {
	a = a.Fold()
	return a == u.Address.Fold() || slices.Contains(u.Own, a)
}

// deviceSender checks the sender of a machine that may send without a log-in.
// One with a sender of its own gets it whatever it says (SenderOf).
func (r *Rules) deviceSender(d *Decision, f *Facts) (Decision, bool) {
	device := f.Device
	switch {
	case device == nil || !f.User.IsZero():
		return Decision{}, true
	case !device.As.IsZero():
		d.step("device", "devices.json", device.Name, "sends as "+device.As.String())
		return Decision{}, true
	case f.From.IsZero() || f.FromHosted:
		d.step("device", "devices.json", device.Name, "sends as an address of this server")
		return Decision{}, true
	}
	d.step("device", "devices.json", f.From.String(), "is not in a domain of this server")
	return d.refuse(smtp.NewReply(553, [3]int{5, 7, 1}, "The device %s may not send as %s", device.Name, f.From),
		"give the device a sender of this server, or pillarbox admin device add "+device.Name+" … --as ADDRESS"), false
}

// SenderOf is the reverse-path that a message gets: a device's own, or what the
// client said.
func (r *Rules) SenderOf(f *Facts) addr.Address {
	if f.Device != nil && f.User.IsZero() && !f.Device.As.IsZero() {
		return f.Device.As
	}
	return f.From
}

// forged refuses what claims to come from inside and nobody vouches for.
func (r *Rules) forged(d *Decision, f *Facts) (Decision, bool) {
	s := &r.Senders
	switch {
	case !s.RefuseForged.Value, !f.FromHosted, f.From.IsZero(), !f.User.IsZero(), f.Device != nil:
		return Decision{}, true
	}
	if line, ok := s.TrustedHosts.Match(f.Remote, f.name()); ok {
		d.step("senders.trusted_hosts", line.Origin, line.Text, matches)
		return Decision{}, true
	}
	d.step("senders.refuse_forged", s.RefuseForged.Origin, f.From.String(), "is an address of this server, and nobody is logged in")
	return d.refuse(smtp.NewReply(550, [3]int{5, 7, 1}, "To send as %s you must log in", f.From),
		"log in, or add \""+f.Remote.String()+"\" to senders.trusted_hosts, or make it a device (pillarbox admin device add)"), false
}

// senderDomain is Domino's "Verify sender's domain in DNS".
func (r *Rules) senderDomain(d *Decision, f *Facts) (Decision, bool) {
	rule := r.Senders.VerifyDomain
	if !r.NeedsSenderDomain(f) {
		return Decision{}, true
	}
	remedy := "set senders.verify_domain = false"
	switch f.SenderDomain {
	case DomainMissing:
		d.step("senders.verify_domain", rule.Origin, string(f.From.Domain), "has neither MX nor address in DNS")
		return d.refuse(smtp.NewReply(554, [3]int{5, 1, 8}, "The domain of %s does not exist in DNS", f.From), remedy), false
	case DomainExists:
		d.step("senders.verify_domain", rule.Origin, string(f.From.Domain), "exists in DNS")
		return Decision{}, true
	}
	d.step("senders.verify_domain", rule.Origin, string(f.From.Domain), "could not be looked up")
	return d.refuse(smtp.NewReply(451, [3]int{4, 1, 8}, "The domain of %s cannot be verified in DNS now, try again later", f.From), remedy), false
}
