// Package rules decides what happens to a message that comes for a mailbox: it is kept, forwarded,
// discarded, refused, marked or answered. Start with Decide.
//
// A mailbox has one short list. The rules are asked in order. A rule applies if all its conditions
// hold. Keep, forward, discard and refuse end the list; mark and reply let it go on. A message that
// no rule ends is kept.
//
// The package is pure: it knows no disk and no clock. Its work is linear in the length of the header
// for a given list, because the header comes from other servers.
package rules

import (
	"fmt"
	"strings"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/head"
)

// Act is what a rule does.
type Act string

// The values of Act.
const (
	Keep    Act = "keep"    // store the message, and ask no further rule
	Forward Act = "forward" // send it to Rule.To, and with Rule.KeepCopy store it too
	Discard Act = "discard" // accept it and throw it away
	Refuse  Act = "refuse"  // refuse it with Rule.Text
	Mark    Act = "mark"    // add the label Rule.Text, or Rule.Subject before the subject
	Reply   Act = "reply"   // answer it with Rule.Subject and Rule.Text
)

// Ends reports whether no further rule is asked after this act.
func (a Act) Ends() bool { return a != Mark && a != Reply }

// What is the part of a message that a condition looks at.
type What string

// The values of What.
const (
	From    What = "from"    // the envelope sender and the From field
	To      What = "to"      // the envelope recipient, To and Cc
	Subject What = "subject" // the Subject field
	Header  What = "header"  // the field Condition.Name
	Over    What = "over"    // more octets than Condition.Size
	Under   What = "under"   // fewer octets than Condition.Size
)

// Condition is one condition. Capital and small letters are the same.
type Condition struct {
	What What   `json:"what"`
	Name string `json:"name,omitempty"` // of the header field
	// Value is what the part must contain. For From and To, "anna@far.example" is that address and
	// "@far.example" every address of that domain. For Header, "" means that the field exists.
	Value string `json:"value,omitempty"`
	Size  int64  `json:"size,omitempty"` // octets
	Not   bool   `json:"not,omitempty"`  // the condition must not hold
}

// Rule is one rule of a list.
type Rule struct {
	If       []Condition    `json:"if,omitempty"` // none: every message
	Do       Act            `json:"do"`
	To       []addr.Address `json:"to,omitempty"`
	KeepCopy bool           `json:"keep_copy,omitempty"`
	Subject  string         `json:"subject,omitempty"`
	Text     string         `json:"text,omitempty"`
}

// Message is what rules know of a message.
type Message struct {
	Sender addr.Address // of the envelope; zero: the null sender
	To     addr.Address // the recipient of the envelope
	Head   head.Head
	Size   int64 // octets
}

// Answer is a text that a rule wants sent to the sender.
type Answer struct{ Subject, Text string }

// Label is what a rule adds to a message.
type Label struct {
	Text   string // of the label; "": none
	Prefix string // before the subject; "": none
}

// Outcome is what happens to a message.
type Outcome struct {
	Act      Act // the act that ended the list; Keep if none did
	Rule     int // its number, from 1 on; 0: no rule ended the list
	To       []addr.Address
	KeepCopy bool
	Text     string // of a refusal
	Labels   []Label
	Answers  []Answer
	Steps    []Step // one for each rule that was asked
}

// Step says why a rule applied or did not.
type Step struct {
	Rule    int       `json:"rule"` // from 1 on
	Do      Act       `json:"do"`
	Applied bool      `json:"applied"`
	Failed  Condition `json:"failed,omitzero"` // the first condition that did not hold
}

func (s Step) String() string {
	if s.Applied {
		return fmt.Sprintf("rule %d applies: %s", s.Rule, s.Do)
	}
	if s.Failed == (Condition{}) {
		return fmt.Sprintf("rule %d does not apply: this release does not know %q", s.Rule, s.Do)
	}
	return fmt.Sprintf("rule %d does not apply: %s", s.Rule, s.Failed.failure())
}

// Decide asks the list about a message. A rule with an act or a condition that this release does not
// know never applies, so that the message is kept rather than lost.
func Decide(list []Rule, m *Message) Outcome {
	out := Outcome{Act: Keep}
	for i := range list {
		r := &list[i]
		step := Step{Rule: i + 1, Do: r.Do}
		if step.Applied = r.Do.known(); step.Applied {
			step.Failed, step.Applied = r.applies(m)
		}
		out.Steps = append(out.Steps, step)
		if !step.Applied {
			continue
		}
		switch r.Do {
		case Mark:
			out.Labels = append(out.Labels, Label{Text: r.Text, Prefix: r.Subject})
			continue
		case Reply:
			out.Answers = append(out.Answers, Answer{Subject: r.Subject, Text: r.Text})
			continue
		}
		out.Act, out.Rule = r.Do, i+1
		out.To, out.KeepCopy = r.To, r.KeepCopy
		if r.Do == Refuse {
			out.Text = r.Text
		}
		return out
	}
	return out
}

func (a Act) known() bool {
	switch a {
	case Keep, Forward, Discard, Refuse, Mark, Reply:
		return true
	}
	return false
}

// applies reports whether all conditions hold, or returns the first that does not.
func (r *Rule) applies(m *Message) (failed Condition, ok bool) {
	for _, c := range r.If {
		holds, known := c.holds(m)
		if !known || holds == c.Not {
			return c, false
		}
	}
	return Condition{}, true
}

// holds reports whether a condition without its Not holds. known is false for a condition of a newer
// release.
func (c *Condition) holds(m *Message) (holds, known bool) {
	switch c.What {
	case From:
		return matches(c.Value, m.Head, m.Sender, "from"), true
	case To:
		return matches(c.Value, m.Head, m.To, "to", "cc"), true
	case Subject:
		return contains(m.Head, c.Value, "subject"), true
	case Header:
		return contains(m.Head, c.Value, strings.ToLower(c.Name)), true
	case Over:
		return m.Size > c.Size, true
	case Under:
		return m.Size < c.Size, true
	}
	return false, false
}

// matches compares a value with an address of the envelope and with fields that hold addresses.
func matches(value string, h head.Head, envelope addr.Address, fields ...string) bool {
	_, domain, isAddress := strings.Cut(value, "@")
	if !isAddress {
		return contains(h, value, fields...) ||
			strings.Contains(strings.ToLower(envelope.String()), strings.ToLower(value))
	}
	is := func(a addr.Address) bool {
		if a.IsZero() {
			return false
		}
		if strings.HasPrefix(value, "@") {
			return strings.EqualFold(string(a.Domain), domain)
		}
		return strings.EqualFold(a.String(), value)
	}
	if is(envelope) {
		return true
	}
	for _, name := range fields {
		for _, a := range h.Addresses(name) {
			if is(a) {
				return true
			}
		}
	}
	return false
}

// contains reports whether a field of one of these names contains a text.
func contains(h head.Head, text string, names ...string) bool {
	text = strings.ToLower(text)
	for _, name := range names {
		for _, value := range h.Lower(name) {
			if strings.Contains(value, text) {
				return true
			}
		}
	}
	return false
}
