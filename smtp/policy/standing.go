package policy

import (
	"strings"

	"pillarbox/smtp"
)

// Standing is what the session alone says for the sender of a message: a log-in, or the office. What DNS says of a
// stranger comes later.
func (r *Rules) Standing(f *Facts) smtp.Standing {
	device := f.Device != nil
	switch {
	case !f.User.IsZero():
		return smtp.StandingLogin
	case device && !f.Device.As.IsZero():
		return smtp.StandingLocal // it gets that sender whatever it says
	case f.FromHosted && (device || r.trusts(f)):
		return smtp.StandingLocal
	}
	return smtp.StandingNone
}

// OffersDSN reports whether delivery reports are offered to a client (RFC 3461): to all who log in, and to the machines of
// the office.
func (r *Rules) OffersDSN(f *Facts) bool {
	return f.Service.DemandsAuth() || f.Service == smtp.Local || f.fromInside() || r.trusts(f)
}

// trusts reports whether the configuration names the client as a host of the office: one that may send in its name, or
// that may relay. An entry for the whole world names no host.
func (r *Rules) trusts(f *Facts) bool {
	relay := &r.Relay
	internal := relay.Enforcement.Value == EnforceExternal && f.InternalName && f.NameState == NameVerified
	return internal || names(f, &r.Senders.TrustedHosts, nil) || names(f, &relay.ExcludeHosts, nil) || r.mayRelay(f)
}

// mayRelay is the half of relayLists that is about hosts.
func (r *Rules) mayRelay(f *Facts) bool {
	relay := &r.Relay
	if relay.DenyWins.Value && names(f, &relay.DenyHosts, nil) {
		return false
	}
	return names(f, &relay.AllowHosts, &relay.DenyHosts.index)
}

func names(f *Facts, l *HostList, except *index) bool {
	line, ok := l.match(f.Remote, f.name(), except)
	return ok && !everyHost(line)
}

func everyHost(line Line) bool {
	text := strings.Trim(line.Text, "[] ")
	return text == "*" || strings.HasSuffix(text, "/0") || strings.HasSuffix(text, " 0.0.0.0") || text == "*.*.*.*"
}
