package quota

import (
	"fmt"
	"math"
)

// Limits are what a mailbox, or all mailboxes of a domain together, may hold, and the levels at
// which a warning is sent. 0 or less means no limit or no warning.
type Limits struct {
	Bytes        int64
	Messages     int64
	WarnBytes    int64 // the warning is due when usage reaches this number
	WarnMessages int64 // likewise
}

// none reports whether there is neither a limit nor a warning level.
func (l Limits) none() bool {
	return l.Bytes <= 0 && l.Messages <= 0 && l.WarnBytes <= 0 && l.WarnMessages <= 0
}

// Usage is what a mailbox, or all mailboxes of a domain together, hold. Bytes are message sizes as
// POP3 counts them.
type Usage struct {
	Bytes    int64 `json:"bytes"`
	Messages int64 `json:"messages"`
}

// Add returns the sum.
func (u Usage) Add(v Usage) Usage { return Usage{u.Bytes + v.Bytes, u.Messages + v.Messages} }

// Resource is the kind of a limit.
type Resource string

// The values of Resource.
const (
	Bytes    Resource = "bytes"
	Messages Resource = "messages"
)

// lacks returns the limit that more would exceed, if any. used and more are not negative.
func (l Limits) lacks(used, more Usage) (Resource, bool) {
	switch {
	case l.Bytes > 0 && more.Bytes > l.Bytes-used.Bytes:
		return Bytes, true
	case l.Messages > 0 && more.Messages > l.Messages-used.Messages:
		return Messages, true
	}
	return "", false
}

// Warns returns the warning level that is reached, if any.
func (l Limits) Warns(used Usage) (Resource, bool) {
	switch {
	case l.WarnBytes > 0 && used.Bytes >= l.WarnBytes:
		return Bytes, true
	case l.WarnMessages > 0 && used.Messages >= l.WarnMessages:
		return Messages, true
	}
	return "", false
}

// relaxed reports whether usage is below every warning level, and below each limit that has no
// warning level.
func (l Limits) relaxed(used Usage) bool {
	below := func(used, warn, limit int64) bool {
		if warn > 0 {
			limit = warn
		}
		return limit <= 0 || used < limit
	}
	return below(used.Bytes, l.WarnBytes, l.Bytes) &&
		below(used.Messages, l.WarnMessages, l.Messages)
}

// Percent returns how much of the limits is used, for the limit that is nearer; 0 without limits.
// It may exceed 100, since a limit may be lowered and messages may be put in by hand.
func (l Limits) Percent(used Usage) int {
	part := func(used, limit int64) float64 {
		if limit <= 0 {
			return 0
		}
		return 100 * float64(used) / float64(limit)
	}
	percent := max(part(used.Bytes, l.Bytes), part(used.Messages, l.Messages))
	return int(min(percent, math.MaxInt32)) // rounded down: only a full mailbox is at 100
}

// Error says that a message does not fit. Its numbers are bytes or messages, depending on Resource.
type Error struct {
	Dir      string // of the mailbox or the domain
	Domain   bool   // the limit is the domain's
	Resource Resource
	Limit    int64
	Used     int64 // including deliveries in progress
	Asked    int64
}

func (e *Error) Error() string {
	format := FormatSize
	if e.Resource == Messages {
		format = FormatMessages
	}
	return fmt.Sprintf("quota exceeded: %s holds %s of %s, no room for %s more",
		e.Dir, format(e.Used), format(e.Limit), format(e.Asked))
}

// ForSender says how much room there is and how much the message needs, as the rest of a sentence
// that begins with the mailbox; "" if the mailbox has no room at all, or holds too many messages.
func (e *Error) ForSender() string {
	room := e.Limit - e.Used
	if e.Resource == Messages || room <= 0 {
		return ""
	}
	has, needs := Approximate(room, e.Limit), Approximate(e.Asked, e.Limit)
	if has == needs {
		has, needs = FormatSize(room), FormatSize(e.Asked)
	}
	return fmt.Sprintf("has room for %s, and the message needs %s", has, needs)
}

// OverQuota is always true. The mail store recognizes the error by this method, without importing
// this package.
func (e *Error) OverQuota() bool { return true }

// Kind is the kind of an Event.
type Kind string

// The values of Kind.
const (
	Warning Kind = "warning" // usage has reached the warning level
	Full    Kind = "full"    // a message was refused
)

// Event reports that a mailbox or a domain has become too full.
type Event struct {
	Kind     Kind
	Dir      string // of the mailbox or the domain
	Domain   bool
	Resource Resource // of the level reached, or of the limit exceeded
	Limits   Limits
	Used     Usage
	Asked    int64 // for Full, the size of the refused message in bytes
}
