// Package queue keeps mail for other servers until it is there, or given up: on disk a message and the state of its
// recipients (package mailstore, Spool), in memory an index of whose turn it is when. The files are the queue; what
// memory knows is read from them.
//
// Messages wait by destination. One that cannot be reached makes all wait that is for it, and delays nothing else.
// There is a goroutine for each connection, none for a message.
package queue

import (
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"reflect"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
	"pillarbox/smtp/dsn"
	"pillarbox/smtp/route"
)

const (
	defaultTotal     = 1000
	defaultPerDomain = 100

	// graceful is how long an attempt may go on after the queue was told to stop.
	graceful = 5 * time.Second
	// again is when something is tried again that failed for want of a working disk.
	again = time.Minute
)

// Deliverer makes one attempt. *remote.Remote is the one in use. It may be called by many goroutines at once.
type Deliverer interface {
	Deliver(ctx context.Context, a smtp.Attempt) smtp.Outcome
}

// DSNRequest is what the sender of a message is owed: a report on some of its recipients.
type DSNRequest struct {
	Item       *Item // not to be changed, nor kept
	Action     dsn.Action
	Recipients []Recipient
	RetryUntil time.Time // of a delay
}

// Parts are what a Queue works with.
type Parts struct {
	Spool   *mailstore.Spool
	Deliver Deliverer
	// Report makes a report and returns when it is durable. Failures of messages without a sender come too: they are
	// nobody's to hear of, and kept aside.
	Report func(DSNRequest) error
	Log    *slog.Logger
	// Now is the wall clock, which may be set; nil: time.Now.
	Now func() time.Time
}

// Config is what a Queue can be told anew while it runs.
type Config struct {
	Routes      *route.Table
	Connections int  // at a time, all destinations together; 0 means 1000
	Closed      bool // nothing is sent; it waits
}

// Queue brings messages to their destinations. It is safe for concurrent use.
type Queue struct {
	Parts
	config atomic.Pointer[Config]
	began  time.Time    // by the clock that is never set
	back   atomic.Int64 // by how much the wall clock was set back last

	seenMu sync.Mutex // before all other locks
	seen   clocks     // when it was last looked whether the wall clock was set

	ids  []string // found at Open, and not read yet
	poke chan struct{}
	work sync.WaitGroup

	overdue chan *entry // whose senders are to be told something

	mu           sync.Mutex
	running      context.Context // of workers; nil: none may start
	entries      map[string]*entry
	destinations map[string]*destination
	live         map[string]*live // items that somebody works on
	wakes        wakeHeap
	deadlines    deadlineHeap
	starved      []*destination // that wait for a worker of the whole queue, first come, first served
	trying       int            // workers
	active       map[*attempt]struct{}
	claimed      map[string]bool // keys of destinations that a ATRNSession has
}

// Open finds what an earlier run has left; nothing is sent before Run. It is to be called before any message is
// accepted: of what lies in the spool without a state by then, nobody was told that it was accepted, and it is put aside.
func Open(cfg Config, parts Parts) (*Queue, error) {
	q := &Queue{
		Parts: parts, poke: make(chan struct{}, 1), overdue: make(chan *entry, batch),
		entries: make(map[string]*entry), destinations: make(map[string]*destination), live: make(map[string]*live),
		active: make(map[*attempt]struct{}), claimed: make(map[string]bool),
	}
	q.began = time.Now()
	if q.Now == nil {
		q.Now = time.Now
	}
	q.seen = q.clocks()
	q.config.Store(&cfg)
	ids, strays, err := q.Spool.List(true)
	if errors.Is(err, mailstore.ErrRecovering) {
		return q, nil // Rescan finds them later
	} else if err != nil {
		return nil, err
	}
	for _, id := range strays {
		q.quarantine(id, errors.New("a message without its state"))
	}
	q.ids = ids
	return q, nil
}

// Rescan finds messages in the spool that the index does not know. It is called when the store was recovered.
func (q *Queue) Rescan() error {
	ids, _, err := q.Spool.List(false)
	for _, id := range ids {
		q.loadOne(id)
	}
	return err
}

// Readmit takes a message into the index that was put back into the spool by hand; its turn comes at once.
func (q *Queue) Readmit(id string) { q.loadOne(id) }

// SetConfig takes effect at once: messages that wait go the new ways.
func (q *Queue) SetConfig(cfg Config) {
	old := q.config.Swap(&cfg)
	same := reflect.DeepEqual(old.Routes, cfg.Routes) // then no file need be read to know that all stands where it should
	if !same {
		q.refileAll()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, d := range q.destinations {
		if same {
			d.route = cfg.Routes.For(d.domain) // of the new table, by which connections are kept
		}
		if d.failures > 0 {
			q.tryAnew(d) // what was set, or a password in a file, may have been the trouble
		}
	}
	for _, d := range q.destinations {
		q.start(d)
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

// destinationKey names where mail for a domain waits. What is kept for remote-triggered delivery is asked for by domain.
func destinationKey(r *route.Route, domain addr.Domain) string {
	key := r.Destination(domain)
	if r.Hold {
		key += " for " + string(domain)
	}
	return key
}

// Add puts a message into the index that was put into the spool; its first attempt begins at once. The item is the
// queue's from then on.
func (q *Queue) Add(item *Item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.entries[item.ID] != nil {
		return
	}
	e := &entry{id: item.ID, held: item.Held, at: -1}
	q.entries[item.ID] = e
	l := newLive(item)
	l.refs = 1 // who begins now need not read the file
	q.live[item.ID] = l
	q.file(e, l)
	for _, p := range e.places {
		if p.state == trying {
			p.fresh = l
			l.refs++
		}
	}
	q.letGo(item.ID, l)
	q.wakeUp()
}

// Run sends what there is, and what comes, until ctx ends; then it lets attempts finish for a few seconds.
func (q *Queue) Run(ctx context.Context) {
	workers, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	q.mu.Lock()
	q.running = workers
	for _, d := range q.destinations {
		q.start(d)
	}
	q.mu.Unlock()
	q.work.Go(func() { q.readAll(ctx) })
	for range tellers {
		q.work.Go(func() { q.tell(ctx) })
	}
	q.schedule(ctx)
	q.mu.Lock()
	q.running = nil
	q.mu.Unlock()
	late := time.AfterFunc(graceful, stop)
	q.work.Wait()
	late.Stop()
}

// readAll reads the states that an earlier run has left, while mail comes and goes already.
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
		debug.FreeOSMemory() // reading so many files once leaves more behind than the index needs
	}
}

// loadOne gives a message its entry in the index. If its state cannot be read now, it is read again later.
func (q *Queue) loadOne(id string) {
	if q.entryOf(id) != nil {
		return
	}
	q.contain(id, func() { q.loadContained(id) })
}

func (q *Queue) loadContained(id string) {
	item, err := q.read(id)
	if err != nil && !temporary(err) {
		return
	}
	if item != nil {
		q.mendOnDisk(item)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.entries[id] != nil {
		return
	}
	e := &entry{id: id, at: -1}
	q.entries[id] = e
	if err != nil {
		q.comeBack(e, err)
	} else {
		q.file(e, newLive(item))
	}
	q.wakeUp()
}

func (q *Queue) entryOf(id string) *entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.entries[id]
}

// schedule looks at what has become due.
func (q *Queue) schedule(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-q.poke:
		case <-timer.C:
		}
		now := q.watchClock()
		overdue, next := q.look(now)
		for _, e := range overdue {
			q.overdue <- e // there is room: look has counted it
		}
		timer.Reset(next.Sub(now))
	}
}

func (q *Queue) wakeUp() {
	select {
	case q.poke <- struct{}{}:
	default:
	}
}

const (
	// batch is how many messages may wait for their senders to be told something.
	batch = 100
	// tellers are the goroutines that tell them. What a report waits for, a slow disk or the DNS of a stranger's domain, is
	// in no attempt's way.
	tellers = 4
)

// tell tells the senders of overdue messages what there is to be told, until ctx ends.
func (q *Queue) tell(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-q.overdue:
			q.contain(e.id, func() { q.remind(e) })
			q.wakeUp() // there is room for another
		}
	}
}

// look starts workers for what has become due, and returns the messages whose senders are to be told something, and when to look again.
func (q *Queue) look(now time.Time) (overdue []*entry, next time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.wakes) > 0 && q.wakes[0].wake <= now.UnixNano() {
		d := q.wakes[0]
		before := d.wake
		q.start(d)
		if d.wake == before { // it waits for a worker of the whole queue, who will look at it
			q.setWake(d, never)
		}
		q.prune(d)
	}
	room := batch - len(q.overdue)
	for len(q.deadlines) > 0 && q.deadlines[0].deadline <= now.UnixNano() && len(overdue) < room {
		overdue = append(overdue, heap.Pop(&q.deadlines).(*entry))
	}
	next = now.Add(clockLook)
	if len(q.wakes) > 0 && q.wakes[0].wake < next.UnixNano() {
		next = time.Unix(0, q.wakes[0].wake)
	}
	if len(q.deadlines) > 0 && q.deadlines[0].deadline < next.UnixNano() && len(overdue) < room {
		next = time.Unix(0, q.deadlines[0].deadline)
	}
	return overdue, next
}

// total is how many workers there may be.
func (q *Queue) total() int {
	if total := q.config.Load().Connections; total > 0 {
		return total
	}
	return defaultTotal
}

// start gives a destination the workers that it may have. It needs mu held, like all below.
func (q *Queue) start(d *destination) {
	now := q.now()
	d.notBefore = soon(d.notBefore, now, d.route.Schedule.Longest())
	total := q.total()
	for q.running != nil && !q.config.Load().Closed && d.trying < q.allowance(d) {
		if q.trying >= total {
			if !d.queued && d.nextWake(now) <= now.UnixNano() {
				q.starve(d)
			}
			break
		}
		p := d.next(now)
		if p == nil {
			break
		}
		d.trying++
		q.trying++
		running := q.running
		q.work.Go(func() { q.tryAll(running, d, p) })
	}
	q.setWake(d, d.nextWake(now))
}

// allowance is how many workers a destination may have now: while many work, one until it has proved that it answers.
func (q *Queue) allowance(d *destination) int {
	if !d.proven && q.trying > q.total()/2 {
		return 1
	}
	return d.allowance()
}

// starve makes a destination wait for a worker of the whole queue, before those that could not be reached last time.
func (q *Queue) starve(d *destination) {
	d.queued = true
	at := len(q.starved)
	if d.failures == 0 {
		if first := slices.IndexFunc(q.starved, func(other *destination) bool { return other.failures > 0 }); first >= 0 {
			at = first
		}
	}
	q.starved = slices.Insert(q.starved, at, d)
}

func (q *Queue) setWake(d *destination, wake int64) {
	d.wake = wake
	heap.Fix(&q.wakes, d.at)
}

// tryAll makes the attempts of one worker: what is due for a destination, until nothing is or others wait for their turn.
func (q *Queue) tryAll(ctx context.Context, d *destination, p *place) {
	for p != nil {
		q.tryContained(ctx, d, p, q.wayTo(d), q.Deliver)
		p = q.after(d)
	}
}

// wayTo is the route of a destination now.
func (q *Queue) wayTo(d *destination) *route.Route {
	q.mu.Lock()
	defer q.mu.Unlock()
	return d.route
}

// after is what a worker does next; nil: nothing, it ends.
func (q *Queue) after(d *destination) *place {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running != nil && !q.config.Load().Closed && len(q.starved) == 0 && d.trying <= q.allowance(d) {
		if p := d.next(q.now()); p != nil {
			return p
		}
	}
	d.trying--
	q.trying--
	for len(q.starved) > 0 && q.trying < q.total() { // the first may have nothing to do any more
		other := q.starved[0]
		q.starved = q.starved[1:]
		other.queued = false
		q.start(other)
		q.prune(other)
	}
	q.start(d)
	q.prune(d)
	q.wakeUp()
	return nil
}

// destination returns the one that mail for a domain waits for, made when it is not there.
func (q *Queue) destination(r *route.Route, domain addr.Domain) *destination {
	key := destinationKey(r, domain)
	d := q.destinations[key]
	if d == nil {
		d = &destination{key: key, domain: domain, window: firstWindow, wake: never}
		q.destinations[key] = d
		heap.Push(&q.wakes, d)
	}
	d.route = r
	return d
}

// prune forgets a destination that nothing waits for, unless there is something to remember of it.
func (q *Queue) prune(d *destination) {
	if d.empty() && !d.queued && !d.notBefore.After(q.now()) && q.destinations[d.key] == d {
		delete(q.destinations, d.key)
		heap.Remove(&q.wakes, d.at)
	}
}

// file gives a message its places, and its deadline, by what its item says now. Attempts that are under way keep theirs.
func (q *Queue) file(e *entry, l *live) {
	item := l.item
	e.held, e.newer = item.Held, false
	var hurried map[string]placeState // by key of the destination: what a flush or a retry has let go stays so
	for _, p := range e.places {
		if p.state != trying && p.due == flushed {
			if hurried == nil {
				hurried = make(map[string]placeState)
			}
			hurried[p.dest.key] = p.state
		}
	}
	q.unplaceAll(e)
	var deadline time.Time
	soonest := func(at time.Time) {
		if deadline.IsZero() || at.Before(deadline) {
			deadline = at
		}
	}
	for i := range item.To {
		r := &item.To[i]
		if r.PendingDSN != "" {
			soonest(q.now().Add(again))
		}
		if !r.waits() || e.held {
			continue
		}
		soonest(q.deadline(item, r))
		if !l.taken[i] { // what comes of the attempt gives it its next place
			q.enter(e, r, r.Next)
		}
	}
	q.setDeadline(e, deadline)
	for _, p := range e.places {
		if p.state != waiting {
			continue
		}
		state, hurry := hurried[p.dest.key]
		if hurry {
			p.due, p.state = flushed, state
		}
		if p.state == released {
			p.dest.released = append(p.dest.released, p)
		} else {
			heap.Push(&p.dest.waiting, p)
		}
		q.start(p.dest)
	}
}

// enter makes the message wait for a recipient's destination, until due at the latest.
func (q *Queue) enter(e *entry, r *Recipient, due time.Time) {
	d := q.destination(q.routeOf(r), r.Address.Domain)
	at := int64(0)
	if !due.IsZero() {
		at = soon(due, q.now(), d.route.Schedule.Wait(r.Attempts, e.id)).UnixNano()
	}
	for _, p := range e.places {
		if p.dest == d {
			p.due = min(p.due, at)
			return
		}
	}
	e.places = append(e.places, &place{entry: e, dest: d, due: at, at: -1})
}

// unplaceAll takes a message out of all its destinations but those where it is being tried.
func (q *Queue) unplaceAll(e *entry) {
	kept := e.places[:0]
	for _, p := range e.places {
		if p.state == trying {
			kept = append(kept, p)
		} else {
			q.unplace(p)
		}
	}
	e.places = kept
}

// unplace takes a place out of its destination.
func (q *Queue) unplace(p *place) {
	if p.state == waiting && p.at >= 0 {
		heap.Remove(&p.dest.waiting, p.at)
	}
	if p.state == released {
		p.dest.released = slices.DeleteFunc(p.dest.released, func(other *place) bool { return other == p })
	}
	p.state = gone
	q.prune(p.dest)
}

func (q *Queue) setDeadline(e *entry, at time.Time) {
	if e.at >= 0 {
		heap.Remove(&q.deadlines, e.at)
	}
	if !at.IsZero() {
		e.deadline = at.UnixNano()
		heap.Push(&q.deadlines, e)
	}
}

// forget takes a message out of the index.
func (q *Queue) forget(e *entry) {
	q.unplaceAll(e)
	q.setDeadline(e, time.Time{})
	if q.entries[e.id] == e {
		delete(q.entries, e.id)
	}
}

// Len is how many messages are in the queue, as far as it is read.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.entries)
}
