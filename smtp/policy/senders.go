package policy

import (
	"slices"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
)

// Senders sets which senders are permitted in MAIL FROM and in the header.
type Senders struct {
	Allow, Deny   AddressList
	VerifyUser    Setting[VerifyUser]
	RefuseForged  Setting[bool] // refuse a hosted sender of a client without a login
	TrustedHosts  HostList      // the hosts that RefuseForged does not apply to
	VerifyDomain  Setting[bool]
	VerifyTimeout time.Duration
}

// VerifyUser sets which senders must be addresses of the user who has logged in.
type VerifyUser string

const (
	VerifyOff      VerifyUser = "off"
	VerifyEnvelope VerifyUser = "envelope"
	VerifyHeader   VerifyUser = "header"
	VerifyBoth     VerifyUser = "both"
)

// SenderOf returns the envelope sender that the message gets: the device's own, or the one that
// the client named.
func (r *Rules) SenderOf(f *Facts) addr.Address {
	if f.isDevice() && !f.Device.As.IsZero() {
		return f.Device.As
	}
	return f.From
}

// senderLists are Domino's allowed and denied senders.
func (r *Rules) senderLists(d *Decision, f *Facts) bool {
	s, from := &r.Senders, r.SenderOf(f)
	entry := from.String()
	if from.IsZero() {
		entry = "<>"
	}
	refuse := func(remedy string) bool {
		return d.refuse(smtp.NewReply(554, [3]int{5, 7, 1}, "Mail from <%s> rejected for policy reasons", from), remedy)
	}
	if line, ok := s.Allow.match(from, &s.Deny.index); ok {
		d.step("senders.allow", line.Origin, line.Text, matches)
		return true
	}
	if line, ok := s.Deny.Match(from); ok {
		d.step("senders.deny", line.Origin, line.Text, matches)
		return refuse(entryRemedy("senders", line, entry))
	}
	// Delivery reports have the null sender. An allow list must not keep them out.
	if s.Allow.Len() > 0 && !from.IsZero() {
		d.step("senders.allow", "", entry, noMatch)
		return refuse("add \"" + entry + "\" to senders.allow")
	}
	return true
}

// userSender checks MAIL FROM against the addresses of the user who has logged in.
func (r *Rules) userSender(d *Decision, f *Facts) bool {
	mode := r.Senders.VerifyUser
	switch {
	case f.User.IsZero():
		return true
	case mode.Value != VerifyEnvelope && mode.Value != VerifyBoth:
		d.step("senders.verify_user", mode.Origin, string(mode.Value), "does not check MAIL FROM")
		return true
	case f.From.IsZero(): // such as a read receipt; headerSender checks its header
		d.step("senders.verify_user", mode.Origin, "the null sender", "belongs to no user")
		return true
	}
	return r.ownAddress(d, f, f.From, f.FromPlain)
}

// headerSender is Domino's "Verify authenticated sender". Sender, or From if there is no Sender,
// must hold exactly one address, and the user must own it. A field that cannot be parsed proves
// nothing, so it is refused.
func (r *Rules) headerSender(d *Decision, f *Facts) bool {
	mode := r.Senders.VerifyUser
	switch {
	case f.User.IsZero(), mode.Value != VerifyHeader && mode.Value != VerifyBoth:
		return true
	case f.HeaderField == "" && !f.HeaderBad:
		d.step("senders.verify_user", mode.Origin, "the header", "names no sender")
		return true
	case f.HeaderBad:
		d.step("senders.verify_user", mode.Origin, f.HeaderField, "cannot be parsed, or occurs twice")
	case len(f.HeaderSender) != 1:
		d.step("senders.verify_user", mode.Origin, f.HeaderField, "does not hold exactly one address")
	default:
		var plain addr.Address
		if len(f.HeaderPlain) == 1 {
			plain = f.HeaderPlain[0]
		}
		return r.ownAddress(d, f, f.HeaderSender[0], plain)
	}
	return d.refuse(smtp.NewReply(553, [3]int{5, 7, 1}, "The %s field must hold one address of %s", f.HeaderField, f.User.Address),
		"write one address into the field, or set senders.verify_user = \"envelope\"")
}

// ownAddress refuses a sender that the user does not own. plain is the sender without its
// "+detail", or zero.
func (r *Rules) ownAddress(d *Decision, f *Facts, sender, plain addr.Address) bool {
	origin, user := r.Senders.VerifyUser.Origin, f.User.Address.String()
	if f.User.owns(sender) || !plain.IsZero() && f.User.owns(plain) {
		d.step("senders.verify_user", origin, sender.String(), "is one of the user's addresses")
		return true
	}
	d.step("senders.verify_user", origin, sender.String(), "is not one of the user's addresses")
	d.Console = "Message rejected. Authenticated user " + user + " from host " + f.Remote.String() +
		" sending mail from " + sender.String() + " failed to match directory address " + user
	return d.refuse(smtp.NewReply(553, [3]int{5, 7, 1}, "%s may not send as %s", user, sender),
		"pillarbox admin sendas grant "+user+" "+sender.String())
}

func (u *User) owns(a addr.Address) bool {
	a = a.Fold()
	return a == u.Address.Fold() || slices.Contains(u.Own, a)
}

// forged refuses a sender in a hosted domain from a client that is not known: it has not logged
// in, is no device and no trusted host.
func (r *Rules) forged(d *Decision, f *Facts) bool {
	s := &r.Senders
	if !s.RefuseForged.Value || !f.FromHosted || f.From.IsZero() || f.isLocalSender() {
		return true
	}
	if line, ok := s.TrustedHosts.Match(f.Remote, f.name()); ok {
		d.step("senders.trusted_hosts", line.Origin, line.Text, matches)
		return true
	}
	if r.exceptionRelays(d, f) {
		return true
	}
	d.step("senders.refuse_forged", s.RefuseForged.Origin, f.From.String(),
		"is an address of this server, and the client has not logged in")
	return d.refuse(smtp.NewReply(550, [3]int{5, 7, 1}, "To send as %s you must log in", f.From),
		"log in, or add \""+f.Remote.String()+"\" to senders.trusted_hosts, or make it a device (pillarbox admin device add)")
}

// exceptionRelays reports whether the client is a host that need not log in and may relay, by an
// entry for this host in each of the two lists. Domino's administrators admit a report server so,
// which sends as an address of theirs. It could send as any other address anyway.
func (r *Rules) exceptionRelays(d *Decision, f *Facts) bool {
	if !r.Anonymous.AllowExceptions.Value {
		return false
	}
	exception, ok := r.Anonymous.Exceptions.Match(f.Remote, f.name())
	if !ok || everyHost(exception) {
		return false
	}
	excluded, ok := r.Relay.ExcludeHosts.Match(f.Remote, f.name())
	if !ok || everyHost(excluded) {
		return false
	}
	d.step("anonymous.exceptions", exception.Origin, exception.Text, matches)
	d.step("relay.exclude_hosts", excluded.Origin, excluded.Text, matches)
	return true
}

// NeedsSenderDomain reports whether Mail needs the sender's domain in DNS.
func (r *Rules) NeedsSenderDomain(f *Facts) bool {
	return r.Senders.VerifyDomain.Value && !f.isLocalSender() && !f.From.IsZero() && !f.FromHosted
}

// senderDomain is Domino's "Verify sender's domain in DNS".
func (r *Rules) senderDomain(d *Decision, f *Facts) bool {
	if !r.NeedsSenderDomain(f) {
		return true
	}
	origin, domain := r.Senders.VerifyDomain.Origin, string(f.From.Domain)
	const remedy = "set senders.verify_domain = false"
	switch f.SenderDomain {
	case DomainExists:
		d.step("senders.verify_domain", origin, domain, "exists in DNS")
		return true
	case DomainMissing:
		d.step("senders.verify_domain", origin, domain, "has no MX, A or AAAA record in DNS")
		return d.refuse(smtp.NewReply(554, [3]int{5, 1, 8}, "The domain of %s does not exist in DNS", f.From), remedy)
	}
	d.step("senders.verify_domain", origin, domain, "could not be looked up")
	return d.refuse(smtp.NewReply(451, [3]int{4, 1, 8},
		"The domain of %s cannot be verified in DNS now, try again later", f.From), remedy)
}
