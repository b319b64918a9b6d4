// Package quota keeps mailboxes within their limits.
//
// The Ledger is a cache: it counts a mailbox when first asked about it, keeps account of what it is told, and counts
// again before it refuses a message, and now and then. What is in the mailbox is the truth.
package quota

import (
	"fmt"
	"sync"
	"time"
)

const (
	// refuseFor is how long a count stands when the mailbox is full. Messages deleted by hand make room after this
	// time at the latest, and a flood of mail to a full mailbox costs one count in it.
	refuseFor = 10 * time.Second
	// trustFor is how long a count stands at all: messages put in by hand are noticed after this time.
	trustFor = time.Hour
)

// Error says that a message does not fit into a mailbox. Sizes are in bytes.
type Error struct {
	Dir   string // the mailbox
	Limit int64
	Used  int64 // with the deliveries that are under way
	Asked int64
}

func (e *Error) Error() string {
	return fmt.Sprintf("quota exceeded: %s holds %s of %s, no room for %s more",
		e.Dir, FormatSize(e.Used), FormatSize(e.Limit), FormatSize(e.Asked))
}

// OverQuota is always true; it gives the error its class without a common package.
func (e *Error) OverQuota() bool { return true }

// Ledger knows how much each mailbox holds and how much it may. It is safe for concurrent use, and no number
// of deliveries at once takes a mailbox over its limit. The zero Ledger is not usable; call New.
type Ledger struct {
	limit func(dir string) (int64, error)
	usage func(dir string) (bytes int64, messages int, err error)

	mu       sync.Mutex
	accounts map[string]*account // by directory
}

// account is one mailbox. Its lock is held while the mailbox is counted, so that no change begins meanwhile.
//
// A count that meets a change under way cannot know which side of it it saw. Such a change is booked so that the
// account says too much rather than too little, and the mailbox is counted again when nothing is under way.
type account struct {
	mu       sync.Mutex
	bytes    int64 // stored
	messages int
	reserved int64 // bytes of the deliveries that are under way
	changes  int   // deliveries and deletions that are under way
	counted  time.Time
	counts   int  // how many times it was counted
	doubtful bool // a count met a change
}

// New makes a Ledger. limit returns the most bytes that a mailbox may hold; 0 or less means that it may hold any
// number, and then it is not counted either. usage counts the mailbox. Both may be called at any time, by several
// goroutines, for different mailboxes; their errors are handed on.
func New(limit func(dir string) (int64, error), usage func(dir string) (bytes int64, messages int, err error)) *Ledger {
	return &Ledger{limit: limit, usage: usage, accounts: make(map[string]*account)}
}

// Room returns nil when one more message of this size would fit into the mailbox now, and *Error when it would not.
func (l *Ledger) Room(dir string, bytes int64) error {
	a := l.account(dir)
	a.mu.Lock()
	defer a.mu.Unlock()
	return l.room(dir, a, bytes)
}

// Reserve sets room for one message aside, or returns an *Error. The message must not be stored before. The
// caller calls settle once, with what the mailbox really gained: (bytes, 1), or (0, 0) if the delivery failed.
func (l *Ledger) Reserve(dir string, bytes int64) (settle func(bytes int64, messages int), err error) {
	a := l.account(dir)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := l.room(dir, a, bytes); err != nil {
		return nil, err
	}
	return a.begin(bytes), nil
}

// Release announces that messages are about to be deleted. The caller calls settle once, with what the mailbox
// really gained, which is to say with negative numbers; their room is free from then on.
func (l *Ledger) Release(dir string) (settle func(bytes int64, messages int)) {
	a := l.account(dir)
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.begin(0)
}

// Usage counts the mailbox and returns what it holds.
func (l *Ledger) Usage(dir string) (bytes int64, messages int, err error) {
	a := l.account(dir)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := l.count(dir, a); err != nil {
		return 0, 0, err
	}
	return a.bytes, a.messages, nil
}

func (l *Ledger) account(dir string) *account {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[dir]
	if a == nil {
		a = new(account)
		l.accounts[dir] = a
	}
	return a
}

// room needs a.mu held.
func (l *Ledger) room(dir string, a *account, bytes int64) error {
	limit, err := l.limit(dir)
	if err != nil || limit <= 0 {
		return err
	}
	age := time.Since(a.counted)
	if a.counts == 0 || age >= trustFor || a.doubtful && a.changes == 0 || age >= refuseFor && !a.fits(bytes, limit) {
		if err := l.count(dir, a); err != nil {
			return err
		}
	}
	if !a.fits(bytes, limit) {
		return &Error{Dir: dir, Limit: limit, Used: a.bytes + a.reserved, Asked: bytes}
	}
	return nil
}

func (a *account) fits(bytes, limit int64) bool {
	return bytes <= limit-a.bytes-a.reserved
}

// count needs a.mu held.
func (l *Ledger) count(dir string, a *account) error {
	bytes, messages, err := l.usage(dir)
	if err != nil {
		return err
	}
	a.bytes, a.messages, a.counted = bytes, messages, time.Now()
	a.counts++
	a.doubtful = a.changes > 0
	return nil
}

// begin opens a change for which so many bytes are reserved. It needs a.mu held.
func (a *account) begin(reserved int64) (settle func(bytes int64, messages int)) {
	a.reserved += reserved
	a.changes++
	counts := a.counts
	return func(bytes int64, messages int) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.reserved -= reserved
		a.changes--
		if a.counts == counts || bytes > 0 {
			a.bytes += bytes
			a.messages += messages
		}
	}
}
