package pop3

import (
	"strconv"
	"time"

	"pillarbox/mailstore"
)

// Retention answers questions about mail that the server deletes without DELE. Mailboxes are named
// by their directories.
type Retention interface {
	// KeptDays is the number of days for which a message is kept at least; 0 means for ever. dir is
	// "" before the login.
	KeptDays(dir string) int
	// NotesFetched reports whether the store must record which messages were fetched.
	NotesFetched(dir string) bool
}

// expire returns the argument of the capability EXPIRE (RFC 2449 §6.7).
func (c *session) expire() string {
	if c.config.Retention == nil {
		return "NEVER"
	}
	days := c.config.Retention.KeptDays(c.principal.Dir)
	switch {
	case days == 0:
		return "NEVER"
	case c.drop == nil:
		return strconv.Itoa(days) + " USER"
	}
	return strconv.Itoa(days)
}

// fetched records which messages the client has received in full. The zero value is an empty set.
type fetched struct {
	sent  int    // number of the last message sent, which the client may not have yet; 0 for none
	taken []bool // by index; nil while the client has received none
}

// confirmFetched is called at each command. A further command proves that the client has received
// the message that was sent before.
func (c *session) confirmFetched() {
	f := &c.fetched
	if f.sent == 0 || c.config.Retention == nil {
		return
	}
	if f.taken == nil {
		f.taken = make([]bool, len(c.drop.Messages()))
	}
	f.taken[f.sent-1] = true
	f.sent = 0
}

// recordFetched stores which messages were fetched, however the session ended. If that fails, the
// messages are kept for longer; there is no other effect.
func (c *session) recordFetched(drop *mailstore.Maildrop) {
	if c.fetched.taken == nil || !c.config.Retention.NotesFetched(c.principal.Dir) {
		return
	}
	if err := drop.RecordFetched(indexesOf(c.fetched.taken), time.Now()); err != nil {
		c.server.log.Warn("pop3: fetched messages not recorded",
			"user", c.principal.Address.String(), "error", err)
	}
}
