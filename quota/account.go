package quota

import (
	"sync/atomic"
	"time"
)

const (
	// refuseFor is how long a count stands that is in doubt, or that says there is no room where the directory cannot tell
	// whether it has changed since.
	refuseFor = 10 * time.Second
	// trustFor is how long a count stands at all: messages put in by hand, and mailboxes added to a domain, are noticed
	// after this time.
	trustFor = time.Hour
	// restFactor is how many times as long as a count took the next one waits, so that a domain of thousands of
	// mailboxes is not counted all the time.
	restFactor = 20
)

// account is one mailbox, or one domain. Its lock is held while it is counted, so that no change begins meanwhile.
//
// A count that meets a change under way cannot know which side of it it saw. Such a change is booked so that the
// account says too much rather than too little, and the count is in doubt: it is repeated soon, and before it
// refuses anything. The first count is always in doubt: for who had no limits, no change was announced.
type account struct {
	dir    string
	domain bool

	mu       lock
	limits   Limits // as last asked
	used     Usage  // stored
	reserved Usage  // deliveries that are under way
	changes  int    // deliveries and deletions that are under way
	counted  time.Time
	took     time.Duration // the last count
	counts   int           // how many times it was counted
	epoch    uint64        // of the ledger, when the last count began
	current  *atomic.Uint64
	doubtful bool
	stamp    any  // of the directory, when it was counted
	settled  bool // another change would have changed the stamp
	gone     bool // it is not in the list of accounts any more

	warned bool // a Warning was given, and the level has been reached since
	full   bool // a Full was given, and nothing has become better since
}

func newAccount(dir string, domain bool, epoch *atomic.Uint64) *account {
	return &account{dir: dir, domain: domain, mu: make(lock, 1), current: epoch}
}

// lock is a mutex that is held while a mailbox is counted, which may wait for the mail store. Waiting for it is waiting for
// a channel, so that a test in virtual time does not stand still meanwhile.
type lock chan struct{}

func (l lock) Lock()   { l <- struct{}{} }
func (l lock) Unlock() { <-l }

func (l lock) TryLock() bool {
	select {
	case l <- struct{}{}:
		return true
	default:
		return false
	}
}

// known reports whether it was counted, and not forgotten since. It needs a.mu held.
func (a *account) known() bool { return a.counts > 0 && a.epoch == a.current.Load() }

// room makes sure that so much more fits in. It needs a.mu held.
func (l *Ledger) room(a *account, limits Limits, more Usage, events []Event) ([]Event, error) {
	if limits != a.limits {
		a.limits = limits
		a.full = a.full && !limits.relaxed(a.used)
	}
	if limits.none() {
		return events, nil
	}
	if l.stale(a, more, time.Now()) {
		if err := l.count(a); err != nil {
			return events, err
		}
	}
	events = a.warn(events)
	resource, lacking := limits.lacks(a.used.Add(a.reserved), more)
	if !lacking {
		return events, nil
	}
	return a.refuse(resource, more, events), a.error(resource, more)
}

// stale says whether to count before so much more is let in. It needs a.mu held.
func (l *Ledger) stale(a *account, more Usage, now time.Time) bool {
	if !a.known() {
		return true
	}
	age, rest := now.Sub(a.counted), restFactor*a.took
	if age >= trustFor || a.doubtful && age >= max(refuseFor, rest) {
		return true
	}
	quiet := a.changes == 0 && age >= rest // a count that meets a change says too much
	if a.domain && quiet && l.changed(a) {
		return true
	}
	if _, lacking := a.limits.lacks(a.used.Add(a.reserved), more); !lacking {
		return false
	}
	// A refusal is for good: what makes room must be seen first.
	return age >= max(refuseFor, rest) || quiet && (a.doubtful || l.mayHaveRoom(a))
}

// mayHaveRoom reports whether a count may be lower now than it was. Messages come and go in the mailboxes of a domain
// without a trace in its own directory, so a domain is counted again, as often as rest permits.
func (l *Ledger) mayHaveRoom(a *account) bool {
	return l.opts.Stamp != nil && (a.domain || l.changed(a))
}

// changed reports whether the directory may be another than the one that was counted. It needs a.mu held.
func (l *Ledger) changed(a *account) bool {
	if l.opts.Stamp == nil {
		return false
	}
	stamp, _ := l.opts.Stamp(a.dir)
	return stamp != a.stamp || !a.settled
}

// count needs a.mu held.
func (l *Ledger) count(a *account) error {
	start, epoch, first := time.Now(), a.current.Load(), !a.known()
	var stamp any
	var settled bool
	if l.opts.Stamp != nil { // before it is counted: what changes meanwhile changes it, too
		stamp, settled = l.opts.Stamp(a.dir)
	}
	used, err := l.usage(a)
	if err != nil {
		return err
	}
	a.stamp, a.settled = stamp, settled
	if used.Bytes < a.used.Bytes || used.Messages < a.used.Messages {
		a.full = a.full && !a.limits.relaxed(used)
	}
	if first {
		// Nobody knows what was told before the start. Better no second notice than one with each start.
		_, a.warned = a.limits.Warns(used)
	}
	a.doubtful = a.changes > 0 || first
	a.used, a.counted = used, time.Now()
	a.took = a.counted.Sub(start)
	a.counts++
	a.epoch = epoch
	return nil
}

// usage counts a mailbox, or all those of a domain.
func (l *Ledger) usage(a *account) (sum Usage, err error) {
	if !a.domain {
		return l.opts.Usage(a.dir)
	}
	boxes, err := l.opts.Members(a.dir)
	if err != nil {
		return Usage{}, err
	}
	for _, dir := range boxes {
		one, err := l.opts.Usage(dir)
		if err != nil {
			return Usage{}, err
		}
		sum = sum.Add(one)
	}
	return sum, nil
}

// begin opens a change for which so much is reserved. It needs the locks of both accounts.
func (l *Ledger) begin(p pair, reserved Usage) (settle func(bytes int64, messages int)) {
	var boxCounts, domainCounts int
	if p.box != nil {
		boxCounts = p.box.begin(reserved)
	}
	if p.domain != nil {
		domainCounts = p.domain.begin(reserved)
	}
	return func(bytes int64, messages int) {
		gained := Usage{bytes, int64(messages)}
		var events []Event
		if p.box != nil {
			events = p.box.end(boxCounts, reserved, gained, events)
		}
		if p.domain != nil {
			events = p.domain.end(domainCounts, reserved, gained, events)
		}
		l.notify(events)
	}
}

// begin needs a.mu held. It returns the number of the count that the change begins under.
func (a *account) begin(reserved Usage) (counts int) {
	a.reserved = a.reserved.Add(reserved)
	a.changes++
	return a.counts
}

// end books what came of a change.
func (a *account) end(counts int, reserved, gained Usage, events []Event) []Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reserved = a.reserved.Add(Usage{-reserved.Bytes, -reserved.Messages})
	a.changes--
	if a.counts == counts || gained.Messages > 0 {
		a.used = a.used.Add(gained)
	}
	if gained.Messages < 0 {
		a.full = a.full && !a.limits.relaxed(a.used)
	}
	return a.warn(events)
}

// warn adds a Warning when the level has been reached since it was not. It needs a.mu held.
func (a *account) warn(events []Event) []Event {
	if !a.known() {
		return events
	}
	before := a.warned
	var resource Resource
	if resource, a.warned = a.limits.Warns(a.used); a.warned && !before {
		events = append(events, a.event(Warning, resource))
	}
	return events
}

// refuse adds a Full for the first message that is refused. A message that is larger than the limit itself says
// nothing about the mailbox. It needs a.mu held.
func (a *account) refuse(resource Resource, more Usage, events []Event) []Event {
	if a.full || resource == Bytes && more.Bytes > a.limits.Bytes {
		return events
	}
	a.full = true
	e := a.event(Full, resource)
	e.Asked = more.Bytes
	return append(events, e)
}

func (a *account) event(kind Kind, resource Resource) Event {
	return Event{Kind: kind, Dir: a.dir, Domain: a.domain, Resource: resource, Limits: a.limits, Used: a.used}
}

func (a *account) error(resource Resource, more Usage) error {
	all := a.used.Add(a.reserved)
	if resource == Messages {
		return &Error{a.dir, a.domain, Messages, a.limits.Messages, all.Messages, more.Messages}
	}
	return &Error{a.dir, a.domain, Bytes, a.limits.Bytes, all.Bytes, more.Bytes}
}
