package pop3

import (
	"strconv"
	"time"

	"pillarbox/mailstore"
)

// Retention is what a server that deletes mail by itself has to say and to know of a mailbox, by its directory.
// A nil Retention is a server that does not.
type Retention interface {
	// KeptDays is for how many days a message is kept at least, 0 for ever; of "", before the login.
	KeptDays(dir string) int
	// NotesFetched reports whether it is to be remembered which messages were fetched.
	NotesFetched(dir string) bool
}

// expire is the argument of the capability (RFC 2449 §6.7).
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

// fetched are the messages that were sent in full. The zero value is none.
type fetched struct {
	sent  int    // number of the one that the client may not have yet; 0 for none
	taken []bool // by index; nil while there are none
}

// confirm is called when the client goes on: it has what it asked for.
func (c *session) confirm() {
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

func indexesOf(set []bool) (all []int) {
	for i, in := range set {
		if in {
			all = append(all, i)
		}
	}
	return all
}

// noteFetched remembers what was fetched, however the session ended. What the server cannot remember is kept for
// longer, and nothing else.
func (c *session) noteFetched(drop *mailstore.Maildrop) {
	if c.fetched.taken == nil || !c.config.Retention.NotesFetched(c.principal.Dir) {
		return
	}
	if err := drop.RecordFetched(indexesOf(c.fetched.taken), time.Now()); err != nil {
		c.server.log.Warn("pop3: it is not remembered what was fetched", "user", c.principal.Address.String(), "error", err)
	}
}
