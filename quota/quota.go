// Package quota limits how much mail a mailbox and a domain may hold.
//
// Start with [Ledger]: the mail store asks it for room before a delivery ([Ledger.Reserve]) and
// tells it about deletions ([Ledger.Release]). [Limits] and [Usage] are its numbers, [Error] is its
// refusal, and an [Event] says that a mailbox has become too full. Sizes in the configuration are
// read and written in size.go.
//
// The Ledger is a cache; the mailbox itself is the truth. The Ledger counts a mailbox when it is
// first asked about it, and then follows the changes it is told. It counts again from time to time,
// and always before it refuses a message. A domain is the sum of its mailboxes and has an account
// of its own, kept in the same way.
package quota

import (
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Options are the functions that a Ledger calls. It may call them at any time, from several
// goroutines, for different directories. It returns their errors to its caller.
type Options struct {
	// Limits returns the limits of a mailbox and of its domain. Room and Reserve call it once each.
	// A mailbox or domain without limits is not counted.
	Limits func(dir string) (mailbox, domain Limits, err error)
	// Usage counts a mailbox. A mailbox that no longer exists holds nothing.
	Usage func(dir string) (Usage, error)
	// Members lists the mailboxes of a domain. It may be nil if no domain has limits.
	Members func(domainDir string) ([]string, error)
	// Stamp returns a comparable value that changes when the directory of a mailbox or a domain
	// changes. settled reports that the next change is certain to change the value. Stamp may be
	// nil.
	Stamp func(dir string) (stamp any, settled bool)
	// Notify receives each Event, in the goroutine that caused it, with no lock held. It must not
	// block. It may be nil.
	Notify func(Event)
}

// maxAccounts is about how many mailboxes and domains a Ledger remembers. Beyond that it forgets
// some, and counts them again when needed.
const maxAccounts = 20_000

// Ledger knows how much each mailbox and each domain holds, and how much it may hold. It is safe
// for concurrent use. However many deliveries run at once, together they stay within the limits.
// Use NewLedger to make one.
//
// A mailbox is identified by its directory, and its domain by the parent of that directory.
//
// Lock order: the mailbox's account, its domain's account, the list of accounts. A goroutine never
// holds the accounts of two mailboxes or of two domains.
type Ledger struct {
	opts  Options
	epoch atomic.Uint64 // how often all counts were forgotten

	mu       sync.RWMutex
	accounts map[string]*account // of mailboxes and domains, by directory
}

// NewLedger makes a Ledger that has counted no mailbox yet.
func NewLedger(opts Options) *Ledger {
	return &Ledger{opts: opts, accounts: make(map[string]*account)}
}

// Room returns nil if one more message of this size would fit into the mailbox now, and *Error if
// not.
func (l *Ledger) Room(dir string, bytes int64) error {
	_, err := l.admit(dir, bytes, false)
	return err
}

// Reserve reserves room for one message, or returns an *Error. The caller must reserve before it
// stores the message, and then call settle exactly once with the real change: (bytes, 1) after a
// delivery, (0, 0) after a failed one.
func (l *Ledger) Reserve(
	dir string, bytes int64,
) (settle func(bytes int64, messages int), err error) {
	return l.admit(dir, bytes, true)
}

// Release announces that messages are about to be deleted. After deleting them the caller calls
// settle exactly once with the real change, in negative numbers. Their room is free from then on.
//
// A message that must be stored whatever the limits say, such as a notice that the mailbox is
// almost full, is announced in the same way and settled with positive numbers.
func (l *Ledger) Release(dir string) (settle func(bytes int64, messages int)) {
	// A mailbox that was never asked about has no account. Its first count may overlap with this
	// change, but every first count is in doubt anyway.
	p := l.lock(dir, false, false)
	if p == (pair{}) {
		return noSettle
	}
	defer p.unlock()
	return l.begin(p, Usage{})
}

// Recount is the result of counting one account again.
type Recount struct {
	Dir    string `json:"dir"` // of the mailbox or the domain
	Domain bool   `json:"domain"`
	Before Usage  `json:"before"` // according to the ledger
	After  Usage  `json:"after"`  // as counted
}

// Recount counts every mailbox and domain again that was counted before. It returns them ordered by
// directory. It continues after an error and returns the first.
func (l *Ledger) Recount() ([]Recount, error) {
	var first error
	all := []Recount{}
	for _, a := range l.counted() {
		before, after, err := l.recount(a)
		if err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		all = append(all, Recount{Dir: a.dir, Domain: a.domain, Before: before, After: after})
	}
	return all, first
}

// Forget makes the ledger count every mailbox and domain again before it answers for it. Callers
// need it after they have removed or renamed mailboxes: a directory may belong to another mailbox
// now. Forget does not wait for a count in progress, since that count may be waiting for the
// caller.
func (l *Ledger) Forget() { l.epoch.Add(1) }

// counted returns the accounts that have been counted, ordered by directory.
func (l *Ledger) counted() []*account {
	l.mu.RLock()
	all := make([]*account, 0, len(l.accounts))
	for _, a := range l.accounts {
		all = append(all, a)
	}
	l.mu.RUnlock()
	all = slices.DeleteFunc(all, func(a *account) bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return !a.known()
	})
	slices.SortFunc(all, func(a, b *account) int { return strings.Compare(a.dir, b.dir) })
	return all
}

func (l *Ledger) recount(a *account) (before, after Usage, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	last, doubtful := a.stamp, a.doubtful
	before = a.used
	// No warning here: the limits may have changed, and only the next delivery asks for them.
	err = l.count(a)
	switch {
	case a.domain && a.stamp != last:
		// No difference to report: the next delivery would have noticed the change by the stamp.
		before = a.used
	case doubtful && a.used.Bytes <= before.Bytes && a.used.Messages <= before.Messages:
		// The ledger knew that its count may be too high. It counts again before it refuses a message.
		before = a.used
	}
	return before, a.used, err
}

// pair is a mailbox's account and its domain's. Either is nil if it has no limits.
type pair struct{ box, domain *account }

func (p pair) lock() {
	if p.box != nil {
		p.box.mu.Lock()
	}
	if p.domain != nil {
		p.domain.mu.Lock()
	}
}

func (p pair) unlock() {
	if p.domain != nil {
		p.domain.mu.Unlock()
	}
	if p.box != nil {
		p.box.mu.Unlock()
	}
}

// noSettle is the settle function if neither the mailbox nor the domain has an account.
func noSettle(int64, int) {}

// admit checks that there is room and, if reserve is set, reserves it.
func (l *Ledger) admit(dir string, bytes int64, reserve bool) (settle func(int64, int), err error) {
	box, domain, err := l.opts.Limits(dir)
	if err != nil {
		return nil, err
	}
	p := l.lock(dir, !box.none(), !domain.none())
	if p == (pair{}) {
		return noSettle, nil
	}
	more := Usage{Bytes: bytes, Messages: 1}
	var events []Event
	if p.box != nil {
		events, err = l.checkRoom(p.box, box, more, events)
	}
	if err == nil && p.domain != nil {
		events, err = l.checkRoom(p.domain, domain, more, events)
	}
	settle = noSettle
	if err == nil && reserve {
		settle = l.begin(p, more)
	}
	p.unlock()
	l.notify(events)
	if err != nil {
		return nil, err
	}
	return settle, nil
}

func (l *Ledger) notify(events []Event) {
	if l.opts.Notify == nil {
		return
	}
	for _, e := range events {
		l.opts.Notify(e)
	}
}

// lock returns the accounts of a mailbox and its domain, locked. It makes a missing account if box
// or domain, respectively, is set.
func (l *Ledger) lock(dir string, box, domain bool) pair {
	for {
		p := l.pair(dir, box, domain)
		p.lock()
		if (p.box == nil || !p.box.evicted) && (p.domain == nil || !p.domain.evicted) {
			return p
		}
		p.unlock() // evicted since it was found
	}
}

// pair returns the accounts of a mailbox and its domain, unlocked. See lock for box and domain.
func (l *Ledger) pair(dir string, box, domain bool) pair {
	l.mu.RLock()
	p := pair{l.accounts[dir], l.accounts[path.Dir(dir)]}
	l.mu.RUnlock()
	if p.box == nil && box {
		p.box = l.open(dir, false)
	}
	if p.domain == nil && domain {
		p.domain = l.open(path.Dir(dir), true)
	}
	return p
}

// open returns the account of a directory, and makes it if it is missing.
func (l *Ledger) open(dir string, domain bool) *account {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[dir]
	if a == nil {
		if len(l.accounts) >= maxAccounts {
			l.evict()
		}
		a = newAccount(dir, domain, &l.epoch)
		l.accounts[dir] = a
	}
	return a
}

// evict drops a quarter of the accounts, but only those whose loss costs no more than a new count.
// The caller holds l.mu.
func (l *Ledger) evict() {
	dropped := 0
	for dir, a := range l.accounts {
		if dropped == maxAccounts/4 {
			return
		}
		if !a.mu.TryLock() { // waiting would violate the lock order
			continue
		}
		if a.pending == 0 && !a.warned && !a.full {
			a.evicted = true
			delete(l.accounts, dir)
			dropped++
		}
		a.mu.Unlock()
	}
}
