package policy

import (
	"slices"
	"strconv"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
)

// Message decides on a message by its header, after DATA.
func (r *Rules) Message(f *Facts) Decision {
	d := decide("message")
	if refusal, ok := r.hops(d, f); !ok {
		return refusal
	}
	if refusal, ok := r.headerSender(d, f); !ok {
		return refusal
	}
	return d.accept()
}

// hops finds mail that goes in a circle (RFC 5321 §6.3).
func (r *Rules) hops(d *Decision, f *Facts) (Decision, bool) {
	limit := r.MaxHops
	if limit.Value == 0 || f.Hops <= limit.Value {
		return Decision{}, true
	}
	d.step("smtp.max_hops", limit.Origin, strconv.Itoa(f.Hops), "servers have seen the message already")
	return d.refuse(smtp.NewReply(554, [3]int{5, 4, 6}, "Too many hops: the message has passed %d servers", f.Hops),
		"find the loop, or raise smtp.max_hops"), false
}

// headerSender is Domino's "Verify authenticated sender": the Sender field, or
// From where there is no Sender, must hold one address, and that one of the
// user's. What cannot be read proves nothing and is refused.
func (r *Rules) headerSender(d *Decision, f *Facts) (Decision, bool) {
	mode := r.Senders.VerifyUser
	if f.User.IsZero() || mode.Value != VerifyHeader && mode.Value != VerifyBoth {
		return Decision{}, true
	}
	switch {
	case f.HeaderField == "" && !f.HeaderBad:
		d.step("senders.verify_user", mode.Origin, "the header", "names no sender")
		return Decision{}, true
	case f.HeaderBad:
		d.step("senders.verify_user", mode.Origin, f.HeaderField, "cannot be read, or is there twice")
	case len(f.HeaderSender) != 1:
		d.step("senders.verify_user", mode.Origin, f.HeaderField, "does not hold one single address")
	case f.User.owns(f.HeaderSender[0], f.headerPlain()):
		d.step("senders.verify_user", mode.Origin, f.HeaderSender[0].String(), "is one of the user's addresses")
		return Decision{}, true
	default:
		d.step("senders.verify_user", mode.Origin, f.HeaderSender[0].String(), "is not one of the user's addresses")
		return r.notYours(d, f, f.HeaderSender[0]), false
	}
	return d.refuse(smtp.NewReply(553, [3]int{5, 7, 1}, "The %s field must hold one address of %s", f.HeaderField, f.User.Address),
		"write one address into the field, or set senders.verify_user = \"envelope\""), false
}

// headerPlain is the one of HeaderPlain that belongs to the single HeaderSender.
func (f *Facts) headerPlain() addr.Address {
	if len(f.HeaderPlain) == 1 {
		return f.HeaderPlain[0]
	}
	return addr.Address{}
}

// Evaluate asks every stage in the order of a session and returns the decisions
// up to the first refusal. Whoever has logged in must have been allowed to.
func (r *Rules) Evaluate(f *Facts) []Decision {
	stages := []func(*Facts) Decision{r.Connect, r.LogIn, r.Mail, r.Rcpt, r.Message}
	if f.User.IsZero() {
		stages = slices.Delete(stages, 1, 2)
	}
	var all []Decision
	for _, stage := range stages {
		d := stage(f)
		all = append(all, d)
		if d.Verdict == Refuse {
			break
		}
	}
	return all
}
