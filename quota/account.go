package quota

import (
	"sync/atomic"
	"time"
)

const (
	// refuseFor is how long a count in doubt is valid. It is also how long a count may refuse
	// messages if the directory's stamp cannot tell whether it has changed.
	refuseFor = 10 * time.Second
	// trustFor is how long any count is valid. By then messages put in by hand, and mailboxes
	// added to a domain, are noticed.
	trustFor = time.Hour
	// restFactor, times the duration of the last count, is the least time until the next one. So
	// a domain of thousands of mailboxes is not counted all the time.
	restFactor = 20
)

// account is one mailbox or one domain. Its lock is held while it is counted, so that no change
// begins meanwhile.
//
// A count that overlaps with a change in progress cannot know whether it saw the state before or
// after it. In that case the account errs on the high side: it may show more than is stored, never
// less. The count is then in doubt. It is repeated soon, and in any case before the account refuses
// a message. The first count is always in doubt, since changes are not announced for a mailbox
// without an account.
type account struct {
	dir    string
	domain bool

	mu       lock
	limits   Limits        // as last returned by Options.Limits
	used     Usage         // stored
	reserved Usage         // for deliveries in progress
	pending  int           // deliveries and deletions in progress
	counted  time.Time     // end of the last count
	took     time.Duration // duration of the last count
	counts   int           // number of counts
	epoch    uint64        // the ledger's, when the last count began
	doubtful bool          // a change may have been in progress during the last count, which may be too high
	stamp    any           // the directory's, when the last count began
	settled  bool          // any change since would have changed the stamp
	evicted  bool          // no longer in the list of accounts

	ledgerEpoch *atomic.Uint64 // the ledger's now

	warned bool // a Warning was sent, and usage has stayed at the level since
	full   bool // a Full was sent, and usage has not been relaxed since
}

func newAccount(dir string, domain bool, epoch *atomic.Uint64) *account {
	return &account{dir: dir, domain: domain, mu: make(lock, 1), ledgerEpoch: epoch}
}

// lock is a mutex that is held while a mailbox is counted, which may wait for the mail store. It is
// a channel so that tests in virtual time (testing/synctest) can pass the waiting time.
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

// known reports whether the account has been counted since the last Forget. The caller holds a.mu.
func (a *account) known() bool { return a.counts > 0 && a.epoch == a.ledgerEpoch.Load() }

// checkRoom returns an *Error unless more fits. It appends what must be reported to events. The
// caller holds a.mu.
func (l *Ledger) checkRoom(a *account, limits Limits, more Usage, events []Event) ([]Event, error) {
	if limits != a.limits {
		a.limits = limits
		a.full = a.full && !limits.relaxed(a.used)
	}
	if limits.none() {
		return events, nil
	}
	if l.needsCount(a, more, time.Now()) {
		if err := l.count(a); err != nil {
			return events, err
		}
	}
	events = a.appendWarning(events)
	resource, lacking := limits.lacks(a.used.Add(a.reserved), more)
	if !lacking {
		return events, nil
	}
	return a.appendFull(resource, more, events), a.error(resource, more)
}

// needsCount reports whether the account must be counted before more can be decided. The caller
// holds a.mu.
func (l *Ledger) needsCount(a *account, more Usage, now time.Time) bool {
	if !a.known() {
		return true
	}
	age, rest := now.Sub(a.counted), restFactor*a.took
	if age >= trustFor || a.doubtful && age >= max(refuseFor, rest) {
		return true
	}
	quiet := a.pending == 0 && age >= rest // a count during a change is too high
	if a.domain && quiet && l.changed(a) {
		return true
	}
	if _, lacking := a.limits.lacks(a.used.Add(a.reserved), more); !lacking {
		return false
	}
	// A refused message is lost to the recipient, so deletions must be noticed first.
	return age >= max(refuseFor, rest) || quiet && (a.doubtful || l.mayHaveShrunk(a))
}

// mayHaveShrunk reports whether a new count may be lower than the last. Changes in a domain's
// mailboxes leave no trace in the domain's own directory, so the answer for a domain is always yes;
// restFactor limits how often it is counted.
func (l *Ledger) mayHaveShrunk(a *account) bool {
	return l.opts.Stamp != nil && (a.domain || l.changed(a))
}

// changed reports whether the directory may have changed since it was counted. The caller holds
// a.mu.
func (l *Ledger) changed(a *account) bool {
	if l.opts.Stamp == nil {
		return false
	}
	stamp, _ := l.opts.Stamp(a.dir)
	return stamp != a.stamp || !a.settled
}

// count counts the account. The caller holds a.mu.
func (l *Ledger) count(a *account) error {
	start, epoch, first := time.Now(), a.ledgerEpoch.Load(), !a.known()
	var stamp any
	var settled bool
	if l.opts.Stamp != nil { // first, so that a change during the count changes it
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
		// It is unknown whether a warning was sent before the start. Sending none is better than
		// sending one after each start.
		_, a.warned = a.limits.Warns(used)
	}
	a.doubtful = a.pending > 0 || first
	a.used, a.counted = used, time.Now()
	a.took = a.counted.Sub(start)
	a.counts++
	a.epoch = epoch
	return nil
}

// usage counts a mailbox, or all mailboxes of a domain.
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

// begin starts a change for which reserved is set aside. The caller holds the locks of both
// accounts.
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

// begin returns the number of the count under which the change begins. The caller holds a.mu.
func (a *account) begin(reserved Usage) (counts int) {
	a.reserved = a.reserved.Add(reserved)
	a.pending++
	return a.counts
}

// end books the result of a change.
func (a *account) end(counts int, reserved, gained Usage, events []Event) []Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reserved = a.reserved.Add(Usage{-reserved.Bytes, -reserved.Messages})
	a.pending--
	if a.counts == counts || gained.Messages > 0 {
		a.used = a.used.Add(gained)
	}
	if gained.Messages < 0 {
		a.full = a.full && !a.limits.relaxed(a.used)
	}
	return a.appendWarning(events)
}

// appendWarning appends a Warning if usage has reached the level, and was below it before. The
// caller holds a.mu.
func (a *account) appendWarning(events []Event) []Event {
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

// appendFull appends a Full for the first message that is refused. A message larger than the limit
// itself is no sign that the mailbox is full. The caller holds a.mu.
func (a *account) appendFull(resource Resource, more Usage, events []Event) []Event {
	if a.full || resource == Bytes && more.Bytes > a.limits.Bytes {
		return events
	}
	a.full = true
	e := a.event(Full, resource)
	e.Asked = more.Bytes
	return append(events, e)
}

func (a *account) event(kind Kind, resource Resource) Event {
	return Event{
		Kind: kind, Dir: a.dir, Domain: a.domain,
		Resource: resource, Limits: a.limits, Used: a.used,
	}
}

func (a *account) error(resource Resource, more Usage) error {
	all := a.used.Add(a.reserved)
	if resource == Messages {
		return &Error{a.dir, a.domain, Messages, a.limits.Messages, all.Messages, more.Messages}
	}
	return &Error{a.dir, a.domain, Bytes, a.limits.Bytes, all.Bytes, more.Bytes}
}
