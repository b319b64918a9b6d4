// Package dsn writes and reads delivery reports (delivery status notifications,
// RFC 3461 to 3464 and 6533), and knows when one is owed. It stores and sends
// nothing.
package dsn

import (
	"io"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
)

// Action is what a report says of one recipient (RFC 3464 §2.3.3).
type Action string

// The actions. None, the zero value, says that there is nothing to report.
const (
	None      Action = ""
	Failed    Action = "failed"    // never delivered, and given up
	Delayed   Action = "delayed"   // not yet delivered, tried again
	Delivered Action = "delivered" // in the mailbox
	Relayed   Action = "relayed"   // with a server that will not report further
	Expanded  Action = "expanded"  // to the members of a list or group
)

// Language is the language of the part that people read.
type Language string

// The languages; any other is taken for English.
const (
	English Language = "en"
	German  Language = "de"
)

// Report is everything that a delivery report tells. Text in it may come from
// strangers: Compose lets none of it become a header field or a line of its own.
type Report struct {
	ID       string // of the report; names the message and its boundary, so one is enough for two equal reports
	Language Language
	Hostname string       // of this server
	From     addr.Address // zero: MAILER-DAEMON at Hostname
	To       addr.Address // the reverse-path of the original message; Compose fails on the null one
	EnvID    string       // ENVID of the original, decoded
	Ret      string       // RET of the original: FULL, HDRS or ""
	Arrived  time.Time    // when the original came; zero: not said

	ReceivedFrom string // the HELO name of the client that the original came from; "": not said

	Now        time.Time // when the report is made
	RetryUntil time.Time // for what is delayed: when it is given up; zero: not said
	Recipients []Recipient

	// Original opens the original message, CRLF octets. It may be called several times; Compose closes. Where it is
	// nil or fails, the report is made without the original.
	Original     func() (io.ReadCloser, error)
	OriginalSize int64 // octets
	// MaxReturn is the size in octets up to which a whole message goes back with a failure report; of a larger one, or
	// with 0, only the header does.
	MaxReturn int64
}

// Recipient is what happened for one recipient of the original.
type Recipient struct {
	Final       addr.Address // whom it went to in the end
	ORcptType   string       // of ORcpt: "RFC822" or "UTF-8", as in smtp.Recipient
	ORcpt       string       // whom the sender wrote to, decoded; "": not said
	Action      Action
	Result      smtp.Result // of the last attempt
	LastAttempt time.Time   // zero: not said
}
