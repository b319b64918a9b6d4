package dsn

import (
	"slices"
	"strings"

	"pillarbox/smtp"
)

// Event is a word of NOTIFY (RFC 3461 §4.1).
type Event string

// The events.
const (
	OnSuccess Event = "SUCCESS"
	OnFailure Event = "FAILURE"
	OnDelay   Event = "DELAY"
)

// Wanted reports whether a sender wants to hear of an event. One who said
// nothing hears of failures and delays: RFC 3461 §4.1 leaves the latter to us.
func Wanted(notify []string, event Event) bool {
	if len(notify) == 0 {
		return event == OnFailure || event == OnDelay
	}
	return slices.ContainsFunc(notify, func(word string) bool { return strings.EqualFold(word, string(event)) })
}

// Required is what is to be reported to the sender of env when an attempt for rcpt
// came to result: None, or Failed, Delayed, Delivered or Relayed (RFC 3461 §5.2,
// §6.2). Whether the time for a notice of delay has come is the caller's
// affair, and so is whether there was one before. A result without an MTA that
// is smtp.Delivered is one of a mailbox here. Nothing is ever owed to the null
// reverse-path.
func Required(env smtp.Envelope, rcpt smtp.Recipient, result smtp.Result) Action {
	action, event := Delayed, OnDelay
	switch {
	case env.From.IsZero():
		return None
	case result.Status == smtp.Failed:
		action, event = Failed, OnFailure
	case result.Status == smtp.Delivered && result.MTA == "":
		action, event = Delivered, OnSuccess
	case result.Status == smtp.Delivered && result.KnowsDSN:
		return None
	case result.Status == smtp.Delivered:
		action, event = Relayed, OnSuccess
	}
	if !Wanted(rcpt.Notify, event) {
		return None
	}
	return action
}
