package quota

import (
	"fmt"
	"math"
)

// Limits are how much a mailbox may hold, or all mailboxes of a domain together, and from where on somebody is to
// be warned. 0 or less is none.
type Limits struct {
	Bytes        int64
	Messages     int64
	WarnBytes    int64 // reached, not passed: at so much the warning is due
	WarnMessages int64
}

// none says that nothing is to be watched.
func (l Limits) none() bool {
	return l.Bytes <= 0 && l.Messages <= 0 && l.WarnBytes <= 0 && l.WarnMessages <= 0
}

// Usage is what a mailbox holds, or all mailboxes of a domain together. Bytes are those that POP3 counts.
type Usage struct {
	Bytes    int64 `json:"bytes"`
	Messages int64 `json:"messages"`
}

// Add returns the sum.
func (u Usage) Add(v Usage) Usage { return Usage{u.Bytes + v.Bytes, u.Messages + v.Messages} }

// Resource is what a limit limits.
type Resource string

// The values of Resource.
const (
	Bytes    Resource = "bytes"
	Messages Resource = "messages"
)

// lacks says which limit is in the way of so much more. Used and more are not negative.
func (l Limits) lacks(used, more Usage) (Resource, bool) {
	switch {
	case l.Bytes > 0 && more.Bytes > l.Bytes-used.Bytes:
		return Bytes, true
	case l.Messages > 0 && more.Messages > l.Messages-used.Messages:
		return Messages, true
	}
	return "", false
}

// Warns says which warning level is reached, if any.
func (l Limits) Warns(used Usage) (Resource, bool) {
	switch {
	case l.WarnBytes > 0 && used.Bytes >= l.WarnBytes:
		return Bytes, true
	case l.WarnMessages > 0 && used.Messages >= l.WarnMessages:
		return Messages, true
	}
	return "", false
}

// relaxed says that neither a warning level is reached nor, where there is none, a limit.
func (l Limits) relaxed(used Usage) bool {
	below := func(used, warn, limit int64) bool {
		if warn > 0 {
			limit = warn
		}
		return limit <= 0 || used < limit
	}
	return below(used.Bytes, l.WarnBytes, l.Bytes) && below(used.Messages, l.WarnMessages, l.Messages)
}

// Percent is how much of the limits is used, of the one that is nearer; 0 without limits. More than 100 is possible:
// a limit may be lowered, and mail put in by hand.
func (l Limits) Percent(used Usage) int {
	part := func(used, limit int64) float64 {
		if limit <= 0 {
			return 0
		}
		return 100 * float64(used) / float64(limit)
	}
	percent := max(part(used.Bytes, l.Bytes), part(used.Messages, l.Messages))
	return int(min(percent, math.MaxInt32)) // cut off: 100 is full and not almost
}

// Error says that a message does not fit. Numbers are in bytes or messages, as Resource says.
type Error struct {
	Dir      string // the mailbox, or the directory of the domain
	Domain   bool   // it is the domain's limit
	Resource Resource
	Limit    int64
	Used     int64 // with the deliveries that are under way
	Asked    int64
}

func (e *Error) Error() string {
	format := FormatSize
	if e.Resource == Messages {
		format = FormatMessages
	}
	return fmt.Sprintf("quota exceeded: %s holds %s of %s, no room for %s more", e.Dir, format(e.Used), format(e.Limit), format(e.Asked))
}

// OverQuota is always true; it gives the error its class without a common package.
func (e *Error) OverQuota() bool { return true }

// Kind is what an Event tells.
type Kind string

// The values of Kind.
const (
	Warning Kind = "warning" // the warning level is reached
	Full    Kind = "full"    // a message was refused
)

// Event says that a mailbox or a domain has become fuller than it should.
type Event struct {
	Kind     Kind
	Dir      string // the mailbox, or the directory of the domain
	Domain   bool
	Resource Resource // of the level that is reached, or of the limit that was in the way
	Limits   Limits
	Used     Usage
	Asked    int64 // of a Full: the size of the message that was refused, in bytes
}
