// Package policy decides what a client may do: who may connect, who may log in,
// who may send as whom and to whom. Facts go in, a Decision comes out, with
// every step that led to it and the line of the configuration that decided. It
// does no I/O, so that the server, "admin explain" and the tests all get the
// same answer from the same function.
//
// The rules are those of Lotus Domino's inbound controls, of the access pages of
// the IIS 6 SMTP virtual server and of Exchange 2003's restrictions, in one
// place. A session asks in order: Connect when the client has come, LogIn before
// a password may be said, Mail at MAIL FROM, Rcpt at each RCPT TO, Message when
// the header has been read. Evaluate asks all of them.
package policy

import (
	"pillarbox/smtp"
)

// Verdict is the end of a decision.
type Verdict int

const (
	Refuse Verdict = iota // the zero value refuses: what nothing permits is not permitted
	Accept
)

func (v Verdict) String() string { return [...]string{"refuse", "accept"}[v] }

// MarshalText writes a verdict as a word.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// Step is one rule that was looked at, and what came of it. It is made of
// strings that exist already: a decision formats nothing.
type Step struct {
	Rule    string `json:"rule"`             // by its key in the configuration, or what it is about
	Origin  string `json:"origin,omitempty"` // "pillarbox.toml:41", "default", or where else the rule stands
	Subject string `json:"subject,omitempty"`
	Outcome string `json:"outcome"`
}

func (s Step) String() string {
	text := s.Rule
	if s.Origin != "" {
		text += " (" + s.Origin + ")"
	}
	text += ": "
	if s.Subject != "" {
		text += s.Subject + " "
	}
	return text + s.Outcome
}

// Decision is a verdict with its reasons.
type Decision struct {
	Verdict Verdict     `json:"verdict"`
	Stage   string      `json:"stage"`           // connect, log in, mail, rcpt, message
	Reply   *smtp.Reply `json:"reply,omitempty"` // what the client is told; nil when accepted
	Steps   []Step      `json:"steps"`
	Remedy  string      `json:"flip,omitempty"` // of a refusal: the smallest change that would make it an accept
	Mark    string      `json:"mark,omitempty"` // of an accept: the value of a MarkHeader that the message is to get
	Console string      `json:"-"`              // a line for the log in the words of the old product, or ""
}

// decide begins a decision.
func decide(stage string) *Decision {
	return &Decision{Stage: stage, Steps: make([]Step, 0, 12)}
}

func (d *Decision) step(rule, origin, subject, outcome string) {
	d.Steps = append(d.Steps, Step{rule, origin, subject, outcome})
}

func (d *Decision) accept() Decision {
	d.Verdict = Accept
	return *d
}

func (d *Decision) refuse(reply *smtp.Reply, remedy string) Decision {
	d.Verdict, d.Reply, d.Remedy = Refuse, reply, remedy
	return *d
}
