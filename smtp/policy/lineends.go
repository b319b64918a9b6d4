package policy

// BareLineEndings is the setting for messages with a bare CR or LF (RFC 5321 §2.3.8).
type BareLineEndings string

// The values of BareLineEndings.
const (
	RefuseBare    BareLineEndings = "refuse"    // refuse them
	KnownBare     BareLineEndings = "known"     // accept them from known senders, refuse others
	NormaliseBare BareLineEndings = "normalise" // accept them from every client
)

// LineEnds sets which clients may send messages with bare CRs and LFs. Each becomes CRLF.
type LineEnds struct {
	Bare     BareLineEndings
	Networks HostList // the clients here are known, as devices and logged-in users are
}

// Repairs decides on a message of the client. normalise means that a bare CR or LF becomes CRLF;
// otherwise the message is refused. dotAtLF means that a dot on a line of its own, with LF as line
// end, may end the message: devices and the networks of the setting may write such messages. A user
// who has only logged in may not, because a mail program sends texts of others.
func (r *Rules) Repairs(f *Facts) (normalise, dotAtLF bool) {
	_, listed := r.LineEnds.Networks.Match(f.Remote, f.name())
	machine := listed || f.Device != nil
	switch r.LineEnds.Bare {
	case NormaliseBare:
		return true, machine
	case KnownBare:
		return machine || !f.User.IsZero(), machine
	}
	return false, false
}
