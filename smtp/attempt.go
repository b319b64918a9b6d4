package smtp

import (
	"io"

	"pillarbox/mailstore/addr"
)

// Status is what became of a message for one recipient in one attempt to send it on.
type Status int

const (
	Deferred  Status = iota // not yet; to be tried again
	Delivered               // the next server, or the mailbox, has it
	Failed                  // never; the sender is to be told
)

func (f Status) String() string { return [...]string{"deferred", "delivered", "failed"}[f] }

// Result is what one attempt came to for one recipient.
type Result struct {
	Status Status
	Reply  Reply  // in the words of MTA, or in ours
	MTA    string // the server that said so, by name or "[address]"; "": it is we who say so
	// KnowsDSN says that the server will make the reports that the sender asked for (RFC 3461), so that we need not.
	KnowsDSN bool
}

// Attempt is one try to bring a message to one destination.
type Attempt struct {
	ID          string      // of the message
	Destination string      // what shares connections and back-off: route.Route.Destination
	Domain      addr.Domain // of the recipients; of one of them, where a smart host takes several
	Envelope    Envelope    // To are the recipients of this attempt only
	Size        int64       // of the message in octets
	Local       bool        // it was written by one of us, and may be signed
	// Open gives the message as it is stored, with CRLF line ends. It may be called more than once; the caller closes.
	Open func() (io.ReadCloser, error)
}

// Outcome is what came of an Attempt.
type Outcome struct {
	Results []Result // one for each recipient of the attempt, in their order
	// Unreachable says that not the message but the destination was the trouble: no connection, no greeting, no TLS,
	// no log-in. Everything for it waits then.
	Unreachable bool
}

// SameForAll is an outcome that is one result for every recipient.
func (a *Attempt) SameForAll(r Result) Outcome {
	results := make([]Result, len(a.Envelope.To))
	for i := range results {
		results[i] = r
	}
	return Outcome{Results: results}
}
