package rules

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"pillarbox/mailstore/addr"
)

// The limits of a list. They keep the work for each message short.
const (
	MaxRules      = 50 // in a list
	MaxConditions = 10 // of a rule
	MaxTargets    = 10 // of a forward
	maxValue      = 200
	maxLine       = 200   // octets of a refusal, a label or a subject
	maxText       = 10000 // octets of a reply
)

// ErrRule is the class of the errors of Check.
var ErrRule = errors.New("not a usable rule")

func errorf(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrRule}, args...)...)
}

// Check returns an error of the class ErrRule for a rule that a user must correct.
func (r *Rule) Check() error {
	if len(r.If) > MaxConditions {
		return errorf("it has %d conditions, and at most %d are permitted", len(r.If), MaxConditions)
	}
	for i := range r.If {
		if err := r.If[i].check(); err != nil {
			return err
		}
	}
	if r.Do != Forward && (len(r.To) > 0 || r.KeepCopy) {
		return errorf("only forward has recipients")
	}
	if r.Subject != "" && r.Do != Mark && r.Do != Reply {
		return errorf("only mark and reply have a subject")
	}
	if r.Text != "" && r.Do != Mark && r.Do != Reply && r.Do != Refuse {
		return errorf("only mark, reply and refuse have a text")
	}
	if !isLine(r.Subject) {
		return errorf("the subject must be one line of at most %d octets", maxLine)
	}
	switch r.Do {
	case Keep, Discard:
		return nil
	case Forward:
		return r.checkTargets()
	case Refuse:
		if r.Text == "" || !isLine(r.Text) || !isASCII(r.Text) {
			return errorf("refuse needs a text: one line of at most %d ASCII letters, which the "+
				"sender sees", maxLine)
		}
		return nil
	case Mark:
		if r.Text == "" && r.Subject == "" || !isLine(r.Text) || !isASCII(r.Text) {
			return errorf("mark needs a label of ASCII letters, or a text for the subject")
		}
		return nil
	case Reply:
		if strings.TrimSpace(r.Text) == "" || !IsText(r.Text) {
			return errorf("reply needs a text of at most %d octets", maxText)
		}
		return nil
	}
	return errorf("%q is not keep, forward, discard, refuse, mark or reply", r.Do)
}

func (r *Rule) checkTargets() error {
	if len(r.To) == 0 || len(r.To) > MaxTargets {
		return errorf("forward needs 1 to %d addresses", MaxTargets)
	}
	if slices.ContainsFunc(r.To, addr.Address.IsZero) {
		return errorf("a recipient is empty")
	}
	return nil
}

func (c *Condition) check() error {
	if len(c.Value) > maxValue || !isLine(c.Value) {
		return errorf("the text of a condition must be one line of at most %d octets", maxValue)
	}
	switch c.What {
	case From, To, Subject:
		if c.Value == "" {
			return errorf("the condition %q needs a text", c.What)
		}
	case Header:
		isField := func(r rune) bool { return r > ' ' && r <= '~' && r != ':' }
		if c.Name == "" || len(c.Name) > 100 || strings.ContainsFunc(c.Name, func(r rune) bool { return !isField(r) }) {
			return errorf("%q is not the name of a header field", c.Name)
		}
	case Over, Under:
		if c.Size <= 0 {
			return errorf("the condition %q needs a size", c.What)
		}
	default:
		return errorf("%q is not from, to, subject, header, over or under", c.What)
	}
	if c.Name != "" && c.What != Header {
		return errorf("only the condition header has the name of a field")
	}
	return nil
}

// CheckList returns an error of the class ErrRule for a list that is too long, or that has a rule
// that a user must correct.
func CheckList(list []Rule) error {
	if len(list) > MaxRules {
		return errorf("the list has %d rules, and at most %d are permitted", len(list), MaxRules)
	}
	for i := range list {
		if err := list[i].Check(); err != nil {
			return fmt.Errorf("rule %d: %w", i+1, err)
		}
	}
	return nil
}

func isLine(s string) bool {
	return len(s) <= maxLine && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// IsText reports whether s can be the text of a reply: UTF-8 of at most 10,000 octets, without
// control characters but line ends and tabs.
func IsText(s string) bool {
	bad := func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t' }
	return len(s) <= maxText && utf8.ValidString(s) && !strings.ContainsFunc(s, bad)
}

// IsLine reports whether s can be a subject: one line of UTF-8 of at most 200 octets.
func IsLine(s string) bool { return isLine(s) }

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > '~' })
}
