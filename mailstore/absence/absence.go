// Package absence decides whether the sender of a message gets an absence notice, and writes it (RFC
// 3834). Start with Settings and Decide; Compose writes the notice, Memory remembers who got one.
//
// An automatic answer can do harm: it can answer another one without end, bother a mailing list, or
// be sent to someone whose address a third party forged. So Decide has many reasons to be silent,
// and it says which one it took. Whether a remote sender is verified is not decided here.
package absence

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/head"
	"pillarbox/mailstore/rules"
)

// DefaultDays is the number of days in which a sender gets one notice, if the settings do not say it.
const DefaultDays = 7

// maxDays is the longest interval that can be set.
const maxDays = 90

// Settings are the absence of a mailbox's user.
type Settings struct {
	// Off keeps the texts but sends nothing.
	Off bool `json:"off,omitempty"`
	// From and To are the first and the last day of the absence, such as "2026-12-24", in the time
	// zone of the server. Both days belong to it. "" means no such limit.
	From Day `json:"from,omitempty"`
	To   Day `json:"to,omitempty"`
	// Subject of the notice; "": "Auto: " and the subject of the message.
	Subject string `json:"subject,omitempty"`
	Text    string `json:"text"`
	// Days is the number of days in which a sender gets one notice; 0: DefaultDays.
	Days int `json:"days,omitempty"`
	// Set is when the settings were made. Notices before it do not count.
	Set time.Time `json:"set,omitzero"`
}

// Day is a day of the calendar, such as "2026-12-24".
type Day string

// ParseDay parses a day, or "" for no limit.
func ParseDay(text string) (Day, error) {
	if text == "" {
		return "", nil
	}
	day, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return "", fmt.Errorf("%w: %q is not a day such as 2026-12-24", ErrSettings, text)
	}
	return Day(day.Format(time.DateOnly)), nil
}

// DayOf returns the day of a time, in the time's own zone.
func DayOf(t time.Time) Day { return Day(t.Format(time.DateOnly)) }

// ErrSettings is the class of the errors of Check and ParseDay.
var ErrSettings = errors.New("not a usable absence")

// Check returns an error of the class ErrSettings for settings that a user must correct.
func (s *Settings) Check() error {
	for _, day := range []Day{s.From, s.To} {
		if parsed, err := ParseDay(string(day)); err != nil || parsed != day {
			return fmt.Errorf("%w: %q is not a day such as 2026-12-24", ErrSettings, day)
		}
	}
	switch {
	case s.From != "" && s.To != "" && s.To < s.From:
		return fmt.Errorf("%w: the last day, %s, is before the first, %s", ErrSettings, s.To, s.From)
	case strings.TrimSpace(s.Text) == "":
		return fmt.Errorf("%w: the text is empty", ErrSettings)
	case !rules.IsText(s.Text):
		return fmt.Errorf("%w: the text is longer than 10,000 octets, or has a control character",
			ErrSettings)
	case !rules.IsLine(s.Subject):
		return fmt.Errorf("%w: the subject must be one line of at most 200 octets", ErrSettings)
	case s.Days < 0 || s.Days > maxDays:
		return fmt.Errorf("%w: a sender gets one notice in 1 to %d days", ErrSettings, maxDays)
	}
	return nil
}

// Interval is the time in which a sender gets one notice.
func (s *Settings) Interval() time.Duration {
	days := s.Days
	if days <= 0 {
		days = DefaultDays
	}
	return time.Duration(days) * 24 * time.Hour
}

// State is the state of an absence at a time.
type State string

// The values of State.
const (
	Off    State = "off"    // no settings, or switched off
	Future State = "future" // the first day is still to come
	Active State = "active"
	Past   State = "past" // the last day is over
)

// StateAt returns the state at a time, whose zone decides which day it is. It works for nil too.
func (s *Settings) StateAt(now time.Time) State {
	today := DayOf(now)
	switch {
	case s == nil || s.Off:
		return Off
	case s.From != "" && today < s.From:
		return Future
	case s.To != "" && today > s.To:
		return Past
	}
	return Active
}

// Facts are what Decide knows of a message.
type Facts struct {
	Sender addr.Address // of the envelope; zero: the null sender
	Head   head.Head
	Own    []addr.Address // the folded addresses of the mailbox
	// Plain returns an address without its plus suffix, or zero; nil: addresses have none.
	Plain func(a addr.Address) addr.Address
}

// Silent returns why an automatic answer to this message would be wrong (RFC 3834 §2); "" means that
// it may be answered. It does not ask whether the user is absent.
func Silent(f *Facts) (why string) {
	switch {
	case f.Sender.IsZero():
		return "the message has no sender"
	case slices.Contains(f.Own, f.Sender.Fold()):
		return "the sender is the mailbox itself"
	case isRobot(f.Sender.Local):
		return "the sender's name is that of a program"
	case f.Head.IsList():
		return "the message is from a mailing list"
	}
	// Fields may come twice, as a program on the way adds its own. One is enough.
	for _, value := range f.Head.Lower("auto-submitted") {
		if firstWord(value) != "no" {
			return "the message is automatic (Auto-Submitted)"
		}
	}
	for _, value := range f.Head.Lower("precedence") {
		switch word := firstWord(value); word {
		case "bulk", "list", "junk":
			return "the message is bulk mail (Precedence: " + word + ")"
		}
	}
	if slices.ContainsFunc(f.Head.Lower("x-auto-response-suppress"), suppresses) {
		return "the sender wants no automatic answer (X-Auto-Response-Suppress)"
	}
	for _, name := range []string{"x-loop", "x-autoreply", "x-autorespond"} {
		if f.Head.Has(name) {
			return "the message is automatic (" + name + ")"
		}
	}
	if !f.named() {
		return "no address of the mailbox is in To or Cc"
	}
	return ""
}

// named reports whether an own address is in To or Cc. Others got the message by a blind copy or a
// list.
func (f *Facts) named() bool {
	for _, field := range []string{"to", "cc", "resent-to", "resent-cc"} {
		for _, a := range f.Head.Addresses(field) {
			if slices.Contains(f.Own, a) {
				return true
			}
			if f.isPlus(a) {
				return true
			}
		}
	}
	return false
}

// isPlus reports whether an address is an own one with a plus suffix.
func (f *Facts) isPlus(a addr.Address) bool {
	longer := func(own addr.Address) bool {
		return own.Domain == a.Domain && strings.HasPrefix(a.Local, own.Local)
	}
	if f.Plain == nil || !slices.ContainsFunc(f.Own, longer) {
		return false
	}
	return slices.Contains(f.Own, f.Plain(a).Fold())
}

// isRobot reports whether a local part is one of those that RFC 3834 §2 names, or one by which
// programs say that they read no answers.
func isRobot(local string) bool {
	local = strings.ToLower(local)
	switch local {
	case "mailer-daemon", "listserv", "majordomo", "noreply", "no-reply", "no_reply", "donotreply",
		"do-not-reply", "owner", "bounce", "bounces":
		return true
	}
	for _, prefix := range []string{"owner-", "bounce-", "bounces-", "bounces+", "noreply-", "no-reply-", "noreply+", "no-reply+"} {
		if strings.HasPrefix(local, prefix) {
			return true
		}
	}
	for _, suffix := range []string{"-owner", "-request", "-bounce", "-bounces", "-noreply", "-no-reply"} {
		if strings.HasSuffix(local, suffix) {
			return true
		}
	}
	return false
}

// suppresses reports whether a value of Microsoft's X-Auto-Response-Suppress, in lower case, forbids this answer.
func suppresses(value string) bool {
	for word := range strings.FieldsFuncSeq(value, func(c rune) bool { return strings.ContainsRune(", \t", c) }) {
		switch word {
		case "all", "oof", "autoreply":
			return true
		}
	}
	return false
}

// firstWord returns the first word of a field's value, without parameters and comments.
func firstWord(value string) string {
	end := strings.IndexAny(value, " \t;(")
	if end < 0 {
		return value
	}
	return value[:end]
}
