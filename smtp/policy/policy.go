// Package policy decides what a client may do: facts go in, a Decision comes
// out, with every step that led to it. It does no I/O, so that the server, an
// explanation on request and the tests all get the same answer from the same
// function.
package policy

import (
	"fmt"
	"net/netip"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
)

// Facts is all that a decision looks at.
type Facts struct {
	Service   smtp.Service
	Remote    netip.Addr
	TLS       bool
	User      addr.Address // who logged in; zero: nobody
	Recipient addr.Address // for Relay
	Hosted    bool         // for Relay: the recipient's domain is delivered here
}

// Verdict is the end of a decision.
type Verdict int

const (
	Refuse Verdict = iota // the zero value refuses: what nothing permits is not permitted
	Accept
)

func (v Verdict) String() string { return [...]string{"refuse", "accept"}[v] }

// Step is one rule that was looked at, and what came of it.
type Step struct {
	Rule    string // the rule, by its name in the configuration where it has one
	Outcome string
}

// Decision is a verdict with its reasons. Reply is what the client is told;
// nil when the verdict is Accept.
type Decision struct {
	Verdict Verdict
	Reply   *smtp.Reply
	Steps   []Step
}

func (d *Decision) step(rule, outcome string, args ...any) {
	d.Steps = append(d.Steps, Step{rule, fmt.Sprintf(outcome, args...)})
}

func (d *Decision) accept() Decision {
	d.Verdict = Accept
	return *d
}

func (d *Decision) refuse(code int, enhanced [3]int, text string, args ...any) Decision {
	d.Reply = smtp.NewReply(code, enhanced, text, args...)
	return *d
}

// Rules is the configuration that decisions follow.
type Rules struct {
	// PlaintextNetworks are where passwords may cross the wire in the clear: the
	// office's own LAN, for programs too old for today's TLS.
	PlaintextNetworks []netip.Prefix
}

// LogIn decides whether a password may be offered on the connection as it is.
func (r Rules) LogIn(f Facts) Decision {
	var d Decision
	if f.TLS {
		d.step("tls", "the connection is encrypted")
		return d.accept()
	}
	d.step("tls", "the connection is not encrypted")
	remote := f.Remote.Unmap()
	for _, network := range r.PlaintextNetworks {
		if network.Contains(remote) {
			d.step("auth.plaintext_networks", "%s is in %s", remote, network)
			return d.accept()
		}
	}
	d.step("auth.plaintext_networks", "%s is in none of them", remote)
	return d.refuse(538, [3]int{5, 7, 11}, "Encryption is required to log in: turn on TLS (STARTTLS) in your mail program")
}

// Mail decides whether a client may begin a message (MAIL FROM).
func (r Rules) Mail(f Facts) Decision {
	var d Decision
	switch {
	case !f.Service.DemandsAuth():
		d.step("listener", "%s takes mail without a log-in", f.Service)
		return d.accept()
	case !f.User.IsZero():
		d.step("listener", "%s demands a log-in; %s is logged in", f.Service, f.User)
		return d.accept()
	}
	d.step("listener", "%s demands a log-in; nobody is logged in", f.Service)
	if r.LogIn(f).Verdict == Refuse {
		return d.refuse(530, [3]int{5, 7, 0}, "Must issue a STARTTLS command first, then log in")
	}
	return d.refuse(530, [3]int{5, 7, 0}, "Authentication required: turn on \"My server requires authentication\" in your mail program")
}

// Relay decides whether a client may send to one recipient (RCPT TO). Closed by
// default: only a logged-in user sends to domains that are not delivered here.
func (r Rules) Relay(f Facts) Decision {
	var d Decision
	if f.Hosted {
		d.step("local domains", "%s is delivered here", f.Recipient.Domain)
		return d.accept()
	}
	d.step("local domains", "%s is not delivered here", f.Recipient.Domain)
	if !f.User.IsZero() {
		d.step("authenticated users", "%s is logged in", f.User)
		return d.accept()
	}
	d.step("authenticated users", "nobody is logged in")
	return d.refuse(550, [3]int{5, 7, 1}, "Unable to relay for %s", f.Recipient)
}
