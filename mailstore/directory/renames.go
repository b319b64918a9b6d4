package directory

import (
	"sync"

	"pillarbox/mailstore/addr"
)

// renames tells a walk about the rename in progress. Between the rename of a mailbox and the change
// of the last group, alias or forward that names it, these lead to the old name. Mail to a group would
// miss a member then.
type renames struct {
	mu        sync.Mutex
	old, next addr.Address // the rename in progress; zero if there is none
	count     int          // of renames that have begun or ended
}

// begin records a rename until end is called. Renames do not overlap: the directory's lock is held.
func (r *renames) begin(old, next addr.Address) (end func()) {
	r.set(old, next)
	return func() { r.set(addr.Address{}, addr.Address{}) }
}

func (r *renames) set(old, next addr.Address) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.old, r.next, r.count = old, next, r.count+1
}

// nextName returns the new name of a mailbox that is being renamed.
func (r *renames) nextName(old addr.Address) (next addr.Address, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next, old == r.old
}

// seen returns a number that changes when a rename begins or ends.
func (r *renames) seen() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}
