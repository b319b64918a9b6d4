package directory

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Limits are how much a mailbox may hold, or all mailboxes of a domain together, as account.json and domain.json say.
type Limits struct {
	Quota        int64 `json:"quota,omitempty"`          // octets; 0: the default; negative: none
	MaxMessages  int64 `json:"quota_messages,omitempty"` // 0: the default; negative: none
	Warn         Level `json:"quota_warn,omitempty"`     // in octets
	WarnMessages Level `json:"quota_warn_messages,omitempty"`
}

// Retention is after how many days mail is deleted from a mailbox, or from all mailboxes of a domain, as account.json and
// domain.json say. What comes first counts.
type Retention struct {
	DeleteAfter        int `json:"delete_after,omitempty"`         // its arrival; 0: what the domain says, then the configuration; negative: never
	DeleteFetchedAfter int `json:"delete_fetched_after,omitempty"` // it was first fetched; the same
}

// Or fills in from the next place what nothing is said of.
func (r Retention) Or(next Retention) Retention {
	return Retention{
		DeleteAfter:        cmp.Or(r.DeleteAfter, next.DeleteAfter),
		DeleteFetchedAfter: cmp.Or(r.DeleteFetchedAfter, next.DeleteFetchedAfter),
	}
}

// Level is where somebody is to be warned: a part of the limit, such as "90%", or a number, of octets or of messages.
// "" is the default, NoLevel none.
type Level string

// NoLevel is no warning.
const NoLevel Level = "none"

// UnmarshalText refuses what is no level: a typing error in an editor must not silence a warning.
func (l *Level) UnmarshalText(text []byte) error {
	level := Level(text)
	if _, _, ok := level.parse(); !ok {
		return fmt.Errorf(`quota: %q is none of "", "none", a part such as "90%%", and a number`, text)
	}
	*l = level
	return nil
}

// parse returns the number, and whether it is a percentage. None and the default are 0.
func (l Level) parse() (n int64, percent, ok bool) {
	if l == "" || l == NoLevel {
		return 0, false, true
	}
	digits, percent := strings.CutSuffix(string(l), "%")
	number, err := strconv.ParseUint(digits, 10, 63)
	return int64(number), percent, err == nil && number > 0 && !(percent && number >= 100)
}

// Of is the level below a limit, in its unit. byDefault is the percentage that the default stands for, 0 for none. 0 is
// no level: a part of no limit is none.
func (l Level) Of(limit int64, byDefault int) int64 {
	n, percent, _ := l.parse()
	if l == "" {
		n, percent = int64(byDefault), true
	}
	if !percent {
		return n
	}
	if limit <= 0 {
		return 0
	}
	return limit/100*n + limit%100*n/100
}
