package dsn

import (
	"slices"
	"strings"

	"pillarbox/smtp"
)

// Event is a keyword of NOTIFY (RFC 3461 §4.1).
type Event string

// The events.
const (
	OnSuccess Event = "SUCCESS"
	OnFailure Event = "FAILURE"
	OnDelay   Event = "DELAY"
)

// Wanted reports whether the sender wants reports of an event. Without NOTIFY the sender gets
// failures and delays; RFC 3461 §4.1 leaves the latter to the server.
func Wanted(notify []string, event Event) bool {
	if len(notify) == 0 {
		return event == OnFailure || event == OnDelay
	}
	return slices.ContainsFunc(notify, func(word string) bool {
		return strings.EqualFold(word, string(event))
	})
}

// Required returns the report that env's sender must get after an attempt for rcpt: None, Failed,
// Delayed, Delivered or Relayed (RFC 3461 §5.2, §6.2). The caller decides when a report of delay is
// due, and whether one was made already. smtp.Delivered without an MTA means delivery into a local
// mailbox. The null reverse-path never gets a report.
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
