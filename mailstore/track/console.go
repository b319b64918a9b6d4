package track

import "fmt"

// ConsoleLine returns the line that the console of Lotus Domino shows for the event, word for word;
// "" means that it shows none. Scripts that watch a Domino server look for these lines.
func (e *Event) ConsoleLine() string {
	if e.Kind == Relayed {
		return fmt.Sprintf("Router: Message %s transferred to %s for %s via SMTP", e.ID, e.Host, e.To)
	}
	if !e.bySMTP() {
		return ""
	}
	switch e.Kind {
	case Connected:
		return fmt.Sprintf("SMTP Server: %s connected", e.Remote)
	case LoggedIn:
		return fmt.Sprintf("SMTP Server: Authentication succeeded for user %s ; connecting host %s",
			e.User, e.Remote)
	case LoginFailed:
		return fmt.Sprintf("SMTP Server: Authentication failed for user %s ; connecting host %s",
			e.User, e.Remote)
	case Accepted:
		return fmt.Sprintf("SMTP Server: Message %s (MessageID: <%s>) received", e.ID, e.MessageID)
	case Disconnected:
		return fmt.Sprintf("SMTP Server: %s disconnected. %d message[s] received", e.Remote, e.Count)
	}
	return ""
}

// bySMTP reports whether the event belongs to an SMTP session.
func (e *Event) bySMTP() bool {
	switch e.Service {
	case "smtp", "submission", "smtps", "odmr":
		return true
	}
	return false
}
