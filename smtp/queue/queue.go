package queue

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/track"
	"pillarbox/smtp"
	"pillarbox/smtp/dsn"
	"pillarbox/smtp/route"
)

const (
	defaultTotal     = 1000
	defaultPerDomain = 100

	// graceful is how long attempts may continue after the queue was told to stop.
	graceful = 5 * time.Second
	// diskRetryDelay is the wait before an operation is repeated that failed on the disk.
	diskRetryDelay = time.Minute
)

// Deliverer makes one delivery attempt. In production it is *remote.Remote. Deliver may be called
// from many goroutines at once.
type Deliverer interface {
	Deliver(ctx context.Context, a smtp.Attempt) smtp.Outcome
}

// DSNRequest asks for one delivery report to a message's sender, about some of its recipients.
type DSNRequest struct {
	Item       *Item // read only; not valid after Report has returned
	Action     dsn.Action
	Recipients []Recipient
	RetryUntil time.Time // set for dsn.Delayed: when the queue gives up
}

// Parts are the components that a Queue works with.
type Parts struct {
	Spool   *mailstore.Spool
	Deliver Deliverer
	// Report makes a report and returns nil when the report is durable. It is also called for
	// failures of messages with the null reverse-path: no report is sent for these, so Report keeps
	// the message.
	Report func(DSNRequest) error
	Track  *track.Log // nil: no events
	Log    *slog.Logger
	// Now is the wall clock, which can be set while the queue runs. nil means time.Now.
	Now func() time.Time
}

// Config is the part of a Queue's settings that can change while it runs.
type Config struct {
	Routes      *route.Table
	Connections int  // limit for all destinations together; 0 means 1000
	Closed      bool // if set, no message is sent: all wait
}

// Queue keeps messages for other servers and has them delivered. It is safe for concurrent use.
type Queue struct {
	Parts
	config atomic.Pointer[Config]
	began  time.Time    // when it was opened, on the monotonic clock
	back   atomic.Int64 // how far the wall clock was last set back, in nanoseconds

	seenMu sync.Mutex // held by watchClock; see the package doc for the order of locks
	seen   clocks     // both clocks at the last check; guarded by seenMu

	ids  []string       // found by Open, not yet read; guarded by mu from Run on
	wake chan struct{}  // wakes schedule
	work sync.WaitGroup // all goroutines of Run

	overdue chan *entry // messages with a deadline that has passed

	mu           sync.Mutex      // guards all below
	running      context.Context // context of the workers; nil: none may start
	entries      map[string]*entry
	destinations map[string]*destination
	live         map[string]*live // items in memory, by message ID
	wakes        wakeHeap
	deadlines    deadlineHeap
	waiting      []*destination // destinations that wait for a free worker, in this order
	trying       int            // number of workers
	active       map[*Active]struct{}
	claimed      map[string]bool // keys of the destinations that an ATRNSession has claimed
}

// Open finds the messages that an earlier run left. It sends no message: Run does. Call it before
// the server accepts mail: a spooled message without a state was never confirmed to a client, and
// Open puts it into quarantine.
func Open(cfg Config, parts Parts) (*Queue, error) {
	q := &Queue{
		Parts: parts, wake: make(chan struct{}, 1), overdue: make(chan *entry, batch),
		entries: make(map[string]*entry), destinations: make(map[string]*destination),
		live: make(map[string]*live), active: make(map[*Active]struct{}),
		claimed: make(map[string]bool),
	}
	q.began = time.Now()
	if q.Now == nil {
		q.Now = time.Now
	}
	q.seen = q.clocks()
	q.config.Store(&cfg)
	ids, strays, err := q.Spool.List(true)
	if errors.Is(err, mailstore.ErrRecovering) {
		return q, nil // Rescan finds the messages later
	} else if err != nil {
		return nil, err
	}
	for _, id := range strays {
		q.quarantine(id, errors.New("a message without its state"))
	}
	q.ids = ids
	return q, nil
}

// Rescan adds spooled messages that the index does not have. Call it after the store was recovered.
func (q *Queue) Rescan() error {
	ids, _, err := q.Spool.List(false)
	for _, id := range ids {
		q.loadOne(id)
	}
	return err
}

// Readmit adds a message that was put back into the spool by an administrator. It is due at once.
func (q *Queue) Readmit(id string) { q.loadOne(id) }

// SetConfig takes effect at once. Waiting messages move to their new routes.
func (q *Queue) SetConfig(cfg Config) {
	old := q.config.Swap(&cfg)
	same := reflect.DeepEqual(old.Routes, cfg.Routes) // if so, no file need be read
	if !same {
		q.refileAll()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, d := range q.destinations {
		if same {
			d.route = cfg.Routes.For(d.domain) // pooled connections are keyed by the table's routes
		}
		if d.failures > 0 {
			q.expediteAllLocked(d) // the change, or a new password in a file, may have fixed it
		}
	}
	for _, d := range q.destinations {
		q.startWorkersLocked(d)
	}
	q.wakeUp()
}

func (q *Queue) refileAll() {
	q.mu.Lock()
	waiting := make([]string, 0, len(q.entries))
	for id := range q.entries {
		waiting = append(waiting, id)
	}
	q.mu.Unlock()
	for _, id := range waiting {
		q.refile(id)
	}
}

func (q *Queue) table() *route.Table { return q.config.Load().Routes }

func (q *Queue) routeOf(r *Recipient) *route.Route { return q.table().For(r.Address.Domain) }

// destinationKey names the destination where mail for a domain waits. ETRN-held mail has one
// destination for each domain, because ETRN and ATRN name domains.
func destinationKey(r *route.Route, domain addr.Domain) string {
	key := r.Destination(domain)
	if r.Hold {
		key += " for " + string(domain)
	}
	return key
}

// Add puts a spooled message into the index and starts its first attempt at once. The queue owns
// item from then on.
func (q *Queue) Add(item *Item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.entries[item.ID] != nil {
		return
	}
	e := &entry{id: item.ID, held: item.Held, at: -1}
	q.entries[item.ID] = e
	l := newLive(item)
	l.refs = 1 // workers that start now need not read the file
	q.live[item.ID] = l
	q.fileLocked(e, l)
	for _, p := range e.slots {
		if p.state == trying {
			p.fresh = l
			l.refs++
		}
	}
	q.releaseLocked(item.ID, l)
	q.wakeUp()
}

// Run sends the messages until ctx ends. Then it lets attempts finish for a few seconds (graceful).
func (q *Queue) Run(ctx context.Context) {
	workers, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	q.mu.Lock()
	q.running = workers
	for _, d := range q.destinations {
		q.startWorkersLocked(d)
	}
	q.mu.Unlock()
	q.work.Go(func() { q.readAll(ctx) })
	for range reporters {
		q.work.Go(func() { q.reportOverdue(ctx) })
	}
	q.schedule(ctx)
	q.mu.Lock()
	q.running = nil
	q.mu.Unlock()
	late := time.AfterFunc(graceful, stop)
	q.work.Wait()
	late.Stop()
}

// readAll reads the states that an earlier run left. New mail is accepted and sent meanwhile.
func (q *Queue) readAll(ctx context.Context) {
	for i, id := range q.ids {
		if ctx.Err() != nil {
			return
		}
		q.loadOne(id)
		if i == len(q.ids)-1 {
			q.Log.Info("the queue of an earlier run is read", "messages", len(q.ids))
		}
	}
	q.mu.Lock()
	many := len(q.ids) > 10_000
	q.ids = nil
	q.mu.Unlock()
	if many {
		debug.FreeOSMemory() // frees the garbage of so many file reads
	}
}

// loadOne gives a message its entry in the index. A state that cannot be read now is read again
// later.
func (q *Queue) loadOne(id string) {
	if q.entryOf(id) != nil {
		return
	}
	q.contain(id, func() { q.readIntoIndex(id) })
}

func (q *Queue) readIntoIndex(id string) {
	item, err := q.read(id)
	if err != nil && !temporary(err) {
		return
	}
	if item != nil {
		q.fixTimesOnDisk(item)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.entries[id] != nil {
		return
	}
	e := &entry{id: id, at: -1}
	q.entries[id] = e
	if err != nil {
		q.retryLoadLocked(e, err)
	} else {
		q.fileLocked(e, newLive(item))
	}
	q.wakeUp()
}

func (q *Queue) entryOf(id string) *entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.entries[id]
}

// Len returns how many messages the index has. Messages that Run has not read yet are not counted.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.entries)
}
