package directory

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Limits say how much a mailbox may hold, or all mailboxes of a domain together. They are in
// account.json and domain.json.
type Limits struct {
	// Quota is in octets; 0: the default; negative: no limit.
	Quota        int64 `json:"quota,omitempty"`
	MaxMessages  int64 `json:"quota_messages,omitempty"` // 0: the default; negative: no limit
	Warn         Level `json:"quota_warn,omitempty"`     // in octets
	WarnMessages Level `json:"quota_warn_messages,omitempty"`
}

// Retention says after how many days mail is deleted from a mailbox, or from all mailboxes of a
// domain. It is in account.json and domain.json. The earlier of the two limits applies.
type Retention struct {
	// DeleteAfter counts from arrival. 0: as the domain says, then the configuration; negative: never.
	DeleteAfter int `json:"delete_after,omitempty"`
	// DeleteFetchedAfter counts from the first fetch. 0 and negative values are as for DeleteAfter.
	DeleteFetchedAfter int `json:"delete_fetched_after,omitempty"`
}

// Or replaces the unset values of r by those of next.
func (r Retention) Or(next Retention) Retention {
	return Retention{
		DeleteAfter:        cmp.Or(r.DeleteAfter, next.DeleteAfter),
		DeleteFetchedAfter: cmp.Or(r.DeleteFetchedAfter, next.DeleteFetchedAfter),
	}
}

// Level is a warning level: a percentage of the limit, such as "90%", or a number of octets or
// messages. "" is the default, and NoLevel means no warning.
type Level string

// NoLevel is no warning.
const NoLevel Level = "none"

// UnmarshalText refuses invalid levels: a typing error in an editor must not silence a warning.
func (l *Level) UnmarshalText(text []byte) error {
	level := Level(text)
	if _, _, ok := level.parse(); !ok {
		return fmt.Errorf(`quota: %q is not "", "none", a percentage such as "90%%", or a number`,
			text)
	}
	*l = level
	return nil
}

// parse returns the number, and whether it is a percentage. NoLevel and the default give 0.
func (l Level) parse() (n int64, percent, ok bool) {
	if l == "" || l == NoLevel {
		return 0, false, true
	}
	digits, percent := strings.CutSuffix(string(l), "%")
	number, err := strconv.ParseUint(digits, 10, 63)
	return int64(number), percent, err == nil && number > 0 && !(percent && number >= 100)
}

// Of returns the level for a limit, in the limit's unit; 0 means no level. byDefault is the
// percentage of the default level, 0 for none. A percentage of no limit is no level.
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
