package policy

import (
	"strings"

	"pillarbox/smtp"
)

// Standing returns what vouches for the sender of a message, as far as the session knows it: a
// login or the local network. SPF, DKIM and DMARC, which may vouch for a stranger, come later.
func (r *Rules) Standing(f *Facts) smtp.Standing {
	switch {
	case !f.User.IsZero():
		return smtp.StandingLogin
	case f.isDevice() && !f.Device.As.IsZero():
		return smtp.StandingLocal // SenderOf replaces whatever sender it names
	case f.FromHosted && (f.isDevice() || r.trusts(f)):
		return smtp.StandingLocal
	}
	return smtp.StandingNone
}

// OffersDSN reports whether the client is offered delivery reports (RFC 3461). They are for users
// who log in, and for the hosts of the local network.
func (r *Rules) OffersDSN(f *Facts) bool {
	return f.Service.DemandsAuth() || f.Service == smtp.Local || f.isLocalSender() || r.trusts(f)
}

// trusts reports whether the configuration names the client as a host that may relay or may send
// as a hosted address. An entry for all hosts names none.
func (r *Rules) trusts(f *Facts) bool {
	relay := &r.Relay
	internal := relay.Enforcement.Value == EnforceExternal && f.InternalName && f.NameState == NameVerified
	return internal || named(f, &r.Senders.TrustedHosts, nil) || named(f, &relay.ExcludeHosts, nil) || r.mayRelay(f)
}

// mayRelay applies those lists of relayLists that hold hosts.
func (r *Rules) mayRelay(f *Facts) bool {
	relay := &r.Relay
	if relay.DenyWins.Value && named(f, &relay.DenyHosts, nil) {
		return false
	}
	return named(f, &relay.AllowHosts, &relay.DenyHosts.index)
}

// named reports whether a list has an entry for the client that is not for all hosts.
func named(f *Facts, l *HostList, except *index) bool {
	line, ok := l.match(f.Remote, f.name(), except)
	return ok && !everyHost(line)
}

func everyHost(line Line) bool {
	text := strings.Trim(line.Text, "[] ")
	return text == "*" || strings.HasSuffix(text, "/0") || strings.HasSuffix(text, " 0.0.0.0") || text == "*.*.*.*"
}
