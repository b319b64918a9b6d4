// Package quota keeps mailboxes and domains within their limits.
//
// The Ledger is a cache: it counts a mailbox when first asked about it, keeps account of what it is told, and counts
// again before it refuses a message, and now and then. What is in the mailbox is the truth. A domain is the sum of its
// mailboxes, with an account of its own that is kept the same way.
package quota

import (
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Options are what a Ledger needs. The functions may be called at any time, by several goroutines, for different
// directories; their errors are handed on.
type Options struct {
	// Limits returns what holds for a mailbox and for its domain. It is asked once in each Room and Reserve. Who has
	// no limits is not counted.
	Limits func(dir string) (mailbox, domain Limits, err error)
	// Usage counts a mailbox. One that is gone holds nothing.
	Usage func(dir string) (Usage, error)
	// Members lists the mailboxes of a domain. It may be nil where no domain has limits.
	Members func(domainDir string) ([]string, error)
	// Stamp tells a directory, of a mailbox or a domain, from the same one after a change; settled says that the next
	// change will show in it. The value can be compared. It may be nil.
	Stamp func(dir string) (stamp any, settled bool)
	// Notify is told of each Event, by whatever goroutine brought it about: it must not block. No lock is held. It may
	// be nil.
	Notify func(Event)
}

// maxAccounts is about how many mailboxes and domains a Ledger remembers: more are counted more often.
const maxAccounts = 20_000

// Ledger knows how much each mailbox and each domain holds and how much it may. It is safe for concurrent use, and no
// number of deliveries at once takes one over its limits. The zero Ledger is not usable; call NewLedger.
//
// A mailbox is known by its directory, and its domain by the directory around it.
//
// Locks are taken in this order: a mailbox's account, its domain's account, the list of accounts. Nobody holds the
// accounts of two mailboxes, or of two domains.
type Ledger struct {
	opts  Options
	epoch atomic.Uint64 // how often all counts were forgotten

	mu       sync.RWMutex
	accounts map[string]*account // of mailboxes and domains, by directory
}

// NewLedger makes a Ledger that has counted nothing yet.
func NewLedger(opts Options) *Ledger {
	return &Ledger{opts: opts, accounts: make(map[string]*account)}
}

// Room returns nil when one more message of this size would fit into the mailbox now, and *Error when it would not.
func (l *Ledger) Room(dir string, bytes int64) error {
	_, err := l.admit(dir, bytes, false)
	return err
}

// Reserve sets room for one message aside, or returns an *Error. The message must not be stored before. The
// caller calls settle once, with what the mailbox really gained: (bytes, 1), or (0, 0) if the delivery failed.
func (l *Ledger) Reserve(dir string, bytes int64) (settle func(bytes int64, messages int), err error) {
	return l.admit(dir, bytes, true)
}

// Release announces that messages are about to be deleted. The caller calls settle once, with what the mailbox
// really gained, which is to say with negative numbers; their room is free from then on.
//
// A message that must be put in whatever the limits say, such as a notice that the mailbox is almost full, is
// announced in the same way, and settled with positive numbers.
func (l *Ledger) Release(dir string) (settle func(bytes int64, messages int)) {
	// Who was never asked about has no account. Should its first count meet this change, it is in doubt anyway.
	p := l.lock(dir, false, false)
	if p == (pair{}) {
		return nothing
	}
	defer p.unlock()
	return l.begin(p, Usage{})
}

// Recount is one account that was counted anew.
type Recount struct {
	Dir    string `json:"dir"` // the mailbox, or the directory of the domain
	Domain bool   `json:"domain"`
	Before Usage  `json:"before"` // what the ledger believed
	After  Usage  `json:"after"`
}

// Recount counts every mailbox and domain anew that was counted before, and returns them ordered by directory. It goes
// on after an error and returns the first.
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

// Forget makes the ledger count every mailbox and domain anew before it is asked again. It is for a caller that has
// removed mailboxes or given them other names: a directory that was counted may be another mailbox's now. It waits for
// no count: one that is under way may wait for the caller.
func (l *Ledger) Forget() { l.epoch.Add(1) }

// counted returns the accounts that hold a count, ordered by directory.
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
	last := a.stamp
	before = a.used
	err = l.count(a) // without a warning: the limits may have changed, and the next delivery asks for them
	if a.domain && a.stamp != last {
		before = a.used // the next delivery would have seen by the directory that it must be counted
	}
	return before, a.used, err
}

// pair is a mailbox's account and its domain's; nil for one that nobody watches.
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

// nothing settles what is not kept account of.
func nothing(int64, int) {}

// admit asks for room and, if reserve says so, sets it aside.
func (l *Ledger) admit(dir string, bytes int64, reserve bool) (settle func(int64, int), err error) {
	box, domain, err := l.opts.Limits(dir)
	if err != nil {
		return nil, err
	}
	p := l.lock(dir, !box.none(), !domain.none())
	if p == (pair{}) {
		return nothing, nil
	}
	more := Usage{Bytes: bytes, Messages: 1}
	var events []Event
	if p.box != nil {
		events, err = l.room(p.box, box, more, events)
	}
	if err == nil && p.domain != nil {
		events, err = l.room(p.domain, domain, more, events)
	}
	settle = nothing
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

// lock returns the accounts of a mailbox and its domain, locked. box and domain say whether one that is missing is made.
func (l *Ledger) lock(dir string, box, domain bool) pair {
	for {
		p := l.pair(dir, box, domain)
		p.lock()
		if (p.box == nil || !p.box.gone) && (p.domain == nil || !p.domain.gone) {
			return p
		}
		p.unlock() // dropped since it was found
	}
}

// pair finds the accounts of a mailbox and its domain. Those that have limits are made.
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

// open returns the account of a directory and makes it when it is missing.
func (l *Ledger) open(dir string, domain bool) *account {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[dir]
	if a == nil {
		if len(l.accounts) >= maxAccounts {
			l.makeRoom()
		}
		a = newAccount(dir, domain, &l.epoch)
		l.accounts[dir] = a
	}
	return a
}

// makeRoom drops a quarter of the accounts, as far as they remember nothing but a count. It needs mu held.
func (l *Ledger) makeRoom() {
	dropped := 0
	for dir, a := range l.accounts {
		if dropped == maxAccounts/4 {
			return
		}
		if !a.mu.TryLock() { // the order of locks is the other one
			continue
		}
		if a.changes == 0 && !a.warned && !a.full {
			a.gone = true
			delete(l.accounts, dir)
			dropped++
		}
		a.mu.Unlock()
	}
}
