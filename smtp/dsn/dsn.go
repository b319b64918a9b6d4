// Package dsn composes delivery reports (delivery status notifications, RFC 3461 to 3464 and 6533),
// and decides which report an attempt requires. Start with Report and Compose; Required and Wanted
// hold the rules. The queue and the delivery package call it. It stores and sends nothing, and must
// compose a valid message whatever untrusted text a Report contains.
package dsn

import (
	"io"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
)

// Action is the result that a report states for one recipient (RFC 3464 §2.3.3).
type Action string

// The actions. None, the zero value, means that no report is required.
const (
	None      Action = ""
	Failed    Action = "failed"    // not delivered, and given up
	Delayed   Action = "delayed"   // not delivered yet; still tried
	Delivered Action = "delivered" // stored in the mailbox
	Relayed   Action = "relayed"   // accepted by a server that will not report further
	Expanded  Action = "expanded"  // sent on to the members of a list or group
)

// Language is the language of the text part.
type Language string

// The languages. Any other value means English.
const (
	English Language = "en"
	German  Language = "de"
)

// Report is the content of a delivery report. Its text may be untrusted: Compose never lets it add
// a header field or a line.
type Report struct {
	// ID is the ID of the report. The Message-ID and the boundary come from it alone, so that
	// composing the same report again gives the same text.
	ID       string
	Language Language
	Hostname string       // of this server
	From     addr.Address // zero: MAILER-DAEMON at Hostname
	To       addr.Address // reverse-path of the original; the null one is an error
	EnvID    string       // ENVID of the original, decoded
	Ret      string       // RET of the original: FULL, HDRS or ""
	Arrived  time.Time    // when the original came; zero: not stated

	ReceivedFrom string // HELO name of the original's client; "": not stated

	Now        time.Time // when the report is made
	RetryUntil time.Time // for Delayed: when the queue gives up; zero: not stated
	Recipients []Recipient

	// Original opens the original message, with CRLF line ends. It may be called several times;
	// Compose closes the readers. If Original is nil or fails, the report has no original.
	Original     func() (io.ReadCloser, error)
	OriginalSize int64 // octets
	// MaxReturn is the limit in octets for returning a whole message with a report of failure. Of a
	// larger message only the header is returned. 0 means always the header.
	MaxReturn int64
}

// Recipient is the result for one recipient of the original.
type Recipient struct {
	Final       addr.Address // the address that was tried last
	ORcptType   string       // type of ORcpt: "RFC822" or "UTF-8", as in smtp.Recipient
	ORcpt       string       // the sender's original recipient, decoded; "": not stated
	Action      Action
	Result      smtp.Result // of the last attempt
	LastAttempt time.Time   // zero: not stated
}
