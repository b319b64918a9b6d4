package server

import (
	"pillarbox/mailstore/sessions"
	"pillarbox/mailstore/track"
	"pillarbox/smtp"
	"pillarbox/smtp/policy"
)

// event returns an event of the session.
func (s *session) event(kind track.Kind) track.Event {
	helo, _ := s.conn.Helo()
	return track.Event{
		Kind: kind, Service: s.facts.Service.String(), Remote: s.remote.Addr(), Host: helo,
		User: s.sender(), Session: s.conn.Live().ID(),
	}
}

// Secured adds the event that TLS has begun, if it has.
func (s *session) Secured() {
	state := s.conn.TLS()
	if state == nil {
		return
	}
	e := s.event(track.Secured)
	e.Text = sessions.TLSName(state)
	s.srv.Track.Add(e)
}

// sender names who sends: a user, or a device without a login.
func (s *session) sender() string {
	if s.account().IsZero() && s.facts.Device != nil {
		return s.facts.Device.Name
	}
	return s.account().String()
}

// trackRefusal adds the event of a refusal. trace is the code in the reply; "" means that it has
// none.
func (s *session) trackRefusal(trace string, d policy.Decision, reply *smtp.Reply) {
	if s.isSelfTest() {
		return
	}
	e := s.event(track.Refused)
	e.Trace, e.Rule, e.Reply = trace, lastRule(d), reply.Error()
	if n := len(d.Steps); n > 0 {
		e.Text = d.Steps[n-1].String()
	}
	e.From, e.MessageID = s.facts.From.String(), s.fieldID
	if e.To = s.facts.To.String(); d.Stage == "message" && len(s.env.To) > 0 {
		e.To = s.env.To[0].Address.String()
	}
	s.srv.Track.Add(e)
}

// lastRule returns the rule that decided; "" if none did.
func lastRule(d policy.Decision) string {
	if len(d.Steps) == 0 {
		return ""
	}
	return d.Steps[len(d.Steps)-1].Rule
}
