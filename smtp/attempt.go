package smtp

import (
	"io"

	"pillarbox/mailstore/addr"
)

// Status is the result of one delivery attempt for one recipient.
type Status int

const (
	Deferred  Status = iota // not delivered yet; to be retried
	Delivered               // accepted by the next server or the mailbox
	Failed                  // failed for good; the sender must get a report
)

func (f Status) String() string { return [...]string{"deferred", "delivered", "failed"}[f] }

// Result is the outcome of one attempt for one recipient.
type Result struct {
	Status Status
	Reply  Reply  // from MTA, or from this server
	MTA    string // server that replied, by name or as "[address]"; "": this server
	// KnowsDSN means that the server will make the reports that the sender asked for (RFC 3461), so
	// this server must not.
	KnowsDSN bool
}

// Attempt is one try to deliver a message to one destination.
type Attempt struct {
	ID          string      // of the message
	Destination string      // key of shared connections and back-off: route.Route.Destination
	Domain      addr.Domain // of the recipients; with a smart host, of one of them
	Envelope    Envelope    // To has only the recipients of this attempt
	Size        int64       // of the message, in octets
	Local       bool        // sent by a user or device of this server; may be signed
	// Open opens the message as it is stored, with CRLF line ends. It may be called more than once.
	// The caller closes the reader.
	Open func() (io.ReadCloser, error)
	// Sign returns the DKIM-Signature field, with its CRLF, of the message as it is sent. nil means
	// that the message is not signed.
	Sign func(message io.Reader) []byte
}

// Outcome is the result of an Attempt.
type Outcome struct {
	Results []Result // one for each recipient of the attempt, in their order
	// Unreachable means that the destination failed, not the message: no connection, no greeting,
	// no TLS or no login. All mail for the destination must wait then.
	Unreachable bool
}

// SameForAll returns an outcome with the same result for every recipient.
func (a *Attempt) SameForAll(r Result) Outcome {
	results := make([]Result, len(a.Envelope.To))
	for i := range results {
		results[i] = r
	}
	return Outcome{Results: results}
}
