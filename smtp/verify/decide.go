package verify

import "pillarbox/smtp"

// Action is what is done about a result.
type Action string

// The actions. Off and Mark do not differ in what Decide says.
const (
	Off    Action = "off"    // nothing
	Mark   Action = "mark"   // it is written down in an Authentication-Results field
	Reject Action = "reject" // a bad one is refused, besides
)

// Settings say what is done about results.
type Settings struct{ SPF, DKIM, DMARC Action }

// Off reports whether nothing at all is to be verified.
func (s Settings) Off() bool {
	return s.SPF != Mark && s.SPF != Reject && s.DKIM != Mark && s.DKIM != Reject && s.DMARC != Mark && s.DMARC != Reject
}

// Decide gives the reply with which a message is refused, in the codes of RFC
// 7372, or nil. A message without a signature is not refused for that, nor
// anything for an error. What passes DMARC, where that is looked at, is known to
// come from its author's domain: it may have been forwarded or relayed on its
// way, which breaks SPF or one signature, and is not refused (RFC 7489 §10.1).
func Decide(s Settings, r Results) *smtp.Reply {
	looks := s.DMARC == Mark || s.DMARC == Reject
	switch {
	case looks && r.DMARC.Value == Pass:
		return nil
	case s.DMARC == Reject && r.DMARC.Disposition == "reject":
		return smtp.NewReply(550, [3]int{5, 7, 26}, "Message refused: %s asks to refuse what it did not send (DMARC)", r.DMARC.Domain)
	case s.SPF == Reject && r.SPF.Value == Fail:
		return smtp.NewReply(550, [3]int{5, 7, 23}, "Message refused: your address may not send mail for %s (SPF)", r.SPF.Domain)
	case s.DKIM == Reject && broken(r.DKIM):
		return smtp.NewReply(550, [3]int{5, 7, 20}, "Message refused: its signature does not verify (DKIM)")
	}
	return nil
}

// broken reports whether there are signatures and all of them are known to be
// wrong.
func broken(signatures []DKIM) bool {
	for _, s := range signatures {
		if s.Value != Fail && s.Value != PermError {
			return false
		}
	}
	return len(signatures) > 0
}
