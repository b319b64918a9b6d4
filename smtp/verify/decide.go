package verify

import "pillarbox/smtp"

// Action is what the server does with a result.
type Action string

// The actions. Decide treats Off and Mark alike.
const (
	Off    Action = "off"    // no verification
	Mark   Action = "mark"   // write the result to an Authentication-Results field
	Reject Action = "reject" // Mark, and refuse the message if the result is bad
)

// Settings hold the action for each method.
type Settings struct{ SPF, DKIM, DMARC Action }

// Off reports whether no method is to be verified.
func (s Settings) Off() bool {
	return s.SPF != Mark && s.SPF != Reject && s.DKIM != Mark && s.DKIM != Reject &&
		s.DMARC != Mark && s.DMARC != Reject
}

// Decide returns the reply that refuses a message, with the codes of RFC 7372, or nil. A missing
// signature or an error is never a reason to refuse. If DMARC is not off and passes, the message
// comes from its author's domain. It may have been forwarded or relayed, which breaks SPF or one
// signature, so it is not refused (RFC 7489 §10.1).
func Decide(s Settings, r Results) *smtp.Reply {
	looks := s.DMARC == Mark || s.DMARC == Reject
	switch {
	case looks && r.DMARC.Value == Pass:
		return nil
	case s.DMARC == Reject && r.DMARC.Disposition == "reject":
		return smtp.NewReply(550, [3]int{5, 7, 26},
			"Message refused: %s asks to refuse what it did not send (DMARC)", r.DMARC.Domain)
	case s.SPF == Reject && r.SPF.Value == Fail:
		return smtp.NewReply(550, [3]int{5, 7, 23},
			"Message refused: your address may not send mail for %s (SPF)", r.SPF.Domain)
	case s.DKIM == Reject && broken(r.DKIM):
		return smtp.NewReply(550, [3]int{5, 7, 20},
			"Message refused: its signature does not verify (DKIM)")
	}
	return nil
}

// broken reports whether there are signatures and all of them are definitely wrong.
func broken(signatures []DKIM) bool {
	for _, s := range signatures {
		if s.Value != Fail && s.Value != PermError {
			return false
		}
	}
	return len(signatures) > 0
}
