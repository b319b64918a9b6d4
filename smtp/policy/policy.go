// Package policy decides what a client may do: connect, log in, send as an address, send to an
// address. Facts go in. A Decision comes out, with the reply, every step that led to it, and the
// line of the configuration that decided. The package does no I/O, so the server, "admin
// explain" and the tests get the same answer from the same function.
//
// The rules are those of Lotus Domino's inbound controls, of the access pages of the IIS 6 SMTP
// virtual server, and of Exchange 2003's restrictions. A session asks in this order: Connect
// when the client connects, LogIn before it may send a password, Mail at MAIL FROM, Rcpt at each
// RCPT TO, Message after the header. Evaluate asks them one after the other, up to the first refusal.
//
// # How to add a rule
//
// A rule with a fact and a setting of its own touches these files:
//
//   - smtp/policy: the setting, the rule with its steps, its reply and its remedy. Most sections of
//     pillarbox.toml have a file of their own. site.go has [sites.*] and [anonymous], login.go
//     [auth], and hops.go smtp.max_hops.
//   - smtp/policy/rules.go: the rule's place in the order of its stage. A new list of hosts must go
//     into NeedsName, and a new stage into Evaluate.
//   - smtp/policy/facts.go: the fact, in Client, Transaction or Recipient. The session clears it
//     and the decision log stores it without further code.
//   - smtp/policy/golden_test.go: the setting by its key. A fact needs no code here if the golden
//     file calls it by its JSON name.
//   - smtp/policy/testdata: the cases, in the golden file of their subject (connect, login,
//     senders, relay, rights, dnsbl). go test -update writes the decisions.
//   - smtp/server/facts.go: where the fact comes from.
//   - cmd/internal/config: the row of the setting.
//   - etc/pillarbox.toml: the sample, which is generated from the rows.
//   - cmd/pillarbox/testdata/surface.golden: the list of keys. go test -update-surface writes it.
//   - etc/docs/relay.md: the guide.
//   - CHANGELOG.md.
//
// A rule that asks DNS has a Needs method beside it, and Judgeable calls that too. A new stage goes
// into atStage of cmd/internal/admin/policydiff.go too, or "admin policy diff" leaves it out.
package policy

import (
	"fmt"

	"pillarbox/smtp"
)

// Verdict is the result of a decision.
type Verdict int

const (
	Refuse Verdict = iota // the zero value: what no rule permits is refused
	Accept
)

func (v Verdict) String() string { return [...]string{"refuse", "accept"}[v] }

// MarshalText writes a verdict as a word.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText parses the output of MarshalText.
func (v *Verdict) UnmarshalText(text []byte) error {
	for _, known := range []Verdict{Refuse, Accept} {
		if known.String() == string(text) {
			*v = known
			return nil
		}
	}
	return fmt.Errorf("%q is no verdict", text)
}

// Step is one rule that was asked, and its result. Its strings exist before the decision does:
// most decisions are never printed, so they format nothing.
type Step struct {
	// Rule is a key of the configuration, or a subject such as "TLS".
	Rule string `json:"rule"`
	// Origin is the place of the setting: "pillarbox.toml:41", "default", "devices.json".
	Origin  string `json:"origin,omitempty"`
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

// Words of the steps.
const (
	matches   = "matches"
	noMatch   = "matches no entry"
	isOn      = "is on"
	isOff     = "is off"
	isExempt  = "is exempt"
	notInList = "is not in the list"
)

// Decision is a verdict with its reasons.
type Decision struct {
	Verdict Verdict     `json:"verdict"`
	Stage   string      `json:"stage"`           // connect, log in, mail, rcpt, message
	Reply   *smtp.Reply `json:"reply,omitempty"` // to the client; nil if accepted
	Steps   []Step      `json:"steps"`
	// Remedy is the smallest change that would permit what was refused.
	Remedy string `json:"flip,omitempty"`
	// Mark is the value of the MarkHeader field for an accepted message; "" means none.
	Mark string `json:"mark,omitempty"`
	// Console is a log line in the words of Domino's console; "" means none.
	Console string `json:"-"`
}

// rule adds its steps to a decision and reports whether the stage goes on. It goes on unless the
// rule refuses.
type rule func(*Decision, *Facts) bool

// decide asks the rules of a stage in order, up to the first refusal.
func decide(stage string, f *Facts, rules ...rule) Decision {
	d := &Decision{Stage: stage, Steps: make([]Step, 0, 12)}
	for _, passes := range rules {
		if !passes(d, f) {
			return *d
		}
	}
	d.Verdict = Accept
	return *d
}

func (d *Decision) step(rule, origin, subject, outcome string) {
	d.Steps = append(d.Steps, Step{rule, origin, subject, outcome})
}

// refuse ends the stage. It returns false, as a rule that refuses does.
func (d *Decision) refuse(reply *smtp.Reply, remedy string) bool {
	d.Verdict, d.Reply, d.Remedy = Refuse, reply, remedy
	return false
}
