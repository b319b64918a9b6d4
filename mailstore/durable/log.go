package durable

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// defaultSegment is the size of each of the two segments of a Log, in bytes.
	defaultSegment = 16 << 20
	// defaultDelay is the longest time between a record and the sync of its change.
	defaultDelay = 5 * time.Second
	// gatherFor is how long the leader of a group waits for announced records.
	gatherFor = time.Millisecond
	// forgetLate is the number of groups after which late writers are waited for again.
	forgetLate = 256
	// maxSpare is the number of buffers kept for groups: one is written while another gathers.
	maxSpare = 2
	// maxGroup is the largest size of a group in bytes, unless it has a single record.
	maxGroup = 1 << 20
	// maxDamaged is the number of damaged files that are kept; the oldest is removed first.
	maxDamaged = 8
	// nextSuffix is the suffix of a new segment that will replace a damaged one.
	nextSuffix = ".new"
	// damagedPrefix is the prefix of damaged files that are kept.
	damagedPrefix = "damaged-"
)

var (
	// ErrLogFull means that the log has no space until its older records are synced. Nothing was
	// written. Log.Room tells when to try again.
	ErrLogFull = errors.New("the log is full")
	// ErrRecordSize means that a record is too large for the log.
	ErrRecordSize = errors.New("the record is too large for the log")
	// ErrLogDown means that the log takes no records until Replay: it is new or closed, was
	// stopped, or a sync failed.
	ErrLogDown = errors.New("the log must be replayed")
)

// LogOptions are the settings of a Log. The zero value is valid.
type LogOptions struct {
	Segment int64         // bytes of each segment, a multiple of 4096; 0: 16 MiB
	Delay   time.Duration // between a record and the sync of its change; 0: 5 s
	// Budget limits the sum of the costs of all records, see Append. 0 means no limit.
	Budget int64

	// Sync syncs the changes of the records that each passes to do. nil means FS.SyncAll.
	Sync func(each func(do func(record []byte) error) error) error
	// Failed is called once after a failed sync. From then on the log takes no record and keeps all
	// it has, until Replay is called again. The kernel reports such a failure only once, so a
	// second sync would succeed without the lost data. Failed must not wait for the log. It may be
	// nil.
	Failed  func(err error)
	Emptied func(file int) // called when segment 0 or 1 was emptied; may be nil
	// Took is told how long each write of a group with its flush took (sync false), and each sync of
	// the file system (sync true). It must not wait. It may be nil.
	Took func(sync bool, took time.Duration)
	Log  *slog.Logger // nil: no log messages
}

// Log is a write-ahead log that makes many small changes durable with few syncs. Append writes a
// record of the change, together with those of other writers, with one write and one flush. The
// caller then makes the change itself without a sync. Some seconds later, or when the active
// segment is full, everything on the file system is synced at once, and the segment with the
// records is emptied. After a crash or a failed sync, Replay returns the records whose change may
// be lost.
//
//	Append -> group -> active segment -> (other segment becomes active) -> SyncAll -> emptied
//
// The log has two segments, files of fixed size. They are written from end to end before the first
// use, so that a flush writes records only and no metadata. One segment takes records while the
// changes of the other are synced.
//
// Records are written in groups. A group is valid only as a whole: it has a checksum, the salt of
// its segment and its number. The salt is random, changes whenever the segment is emptied, and
// never leaves the machine. So remains of earlier groups are not taken for records, nor is text
// that a sender wrote into a message. Groups begin at multiples of 4096 bytes, so that an
// acknowledged record never shares a block with a later write. The header of a segment is stored at
// both its ends.
//
// A Log is safe for concurrent use.
type Log struct {
	fsys FS
	dir  string
	opts LogOptions

	// Lock order: syncing, writing, mu.
	syncing   Mutex       // held while a segment is synced and emptied
	writing   Mutex       // held while a group is written, or the active segment changes
	segments  [2]*segment // guarded by writing
	active    *segment    // one of segments; nil: no records accepted; guarded by writing
	late      int         // announced records that did not come in time; guarded by writing
	groups    int         // written so far; guarded by writing
	announced atomic.Int64
	flushes   atomic.Int64

	mu        sync.Mutex
	gathering *group        // nil: the next writer opens a group and leads it
	spare     [][]byte      // buffers of groups that were written
	room      chan struct{} // closed when a segment was emptied

	wake   chan struct{} // wakes the syncer: a segment may be ready to sync
	stop   context.CancelFunc
	syncer sync.WaitGroup
}

// OpenLog opens the log in the directory dir, and creates it if it is missing. It takes no records
// before Replay.
func OpenLog(fsys FS, dir string, opts LogOptions) (*Log, error) {
	if opts.Segment == 0 {
		opts.Segment = defaultSegment
	}
	if opts.Delay == 0 {
		opts.Delay = defaultDelay
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if err := errors.Join(fsys.MkdirAll(dir, 0o700), removeTemps(fsys, dir)); err != nil {
		return nil, err
	}
	l := &Log{
		fsys: fsys, dir: dir, opts: opts, syncing: NewMutex(), writing: NewMutex(),
		room: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	for i := range l.segments {
		s, err := openSegment(fsys, logFile(dir, i), i, opts.Segment)
		if err != nil {
			return nil, errors.Join(err, l.closeFiles())
		}
		l.segments[i] = s
	}
	return l, nil
}

// removeTemps removes unfinished files, each as large as a segment.
func removeTemps(fsys FS, dir string) error {
	names, err := fsys.ReadNames(dir)
	for _, name := range names {
		if IsTemp(name) || strings.HasSuffix(name, nextSuffix) {
			err = errors.Join(err, fsys.Remove(path.Join(dir, name)))
		}
	}
	return err
}

func logFile(dir string, i int) string { return path.Join(dir, fmt.Sprintf("log%d", i)) }

// Replay calls do with each record in the log, oldest first, and then done. do owns the memory of
// its record, and must not make its change yet. When Replay calls done, all records are on the disk.
// When done returns nil, their changes must be, too. Replay then empties the log, which takes
// records from then on. After an error the log is unchanged and takes no records; Replay may be
// called again.
//
// Call Replay after OpenLog and after LogOptions.Failed. No change of a record may be in progress.
// The applied functions of replayed records have no effect any more.
//
// A damaged segment yields its whole groups. It is kept beside its replacement, with a name that
// begins with "damaged-".
func (l *Log) Replay(do func(record []byte) error, done func() error) error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.writing.Lock()
	defer l.writing.Unlock()
	older, newer := l.segments[0], l.segments[1]
	if older.epoch > newer.epoch {
		older, newer = newer, older
	}
	for _, s := range []*segment{older, newer} {
		if err := s.replay(do); err != nil {
			return err
		}
	}
	if err := done(); err != nil {
		return err
	}
	for _, s := range l.segments {
		if err := l.keepDamaged(s); err != nil {
			return err
		}
	}
	// The names of new segments must be durable before records go there.
	if err := l.fsys.SyncDir(l.dir); err != nil {
		return err
	}
	last := newer.epoch
	for i, s := range []*segment{older, newer} {
		if err := s.reset(last + uint64(i) + 1); err != nil {
			return err
		}
		if l.opts.Emptied != nil {
			l.opts.Emptied(s.index)
		}
	}
	l.active = older
	l.wakeWaiting()
	if l.stop == nil {
		var ctx context.Context
		ctx, l.stop = context.WithCancel(context.Background())
		l.syncer.Go(func() { l.syncAlways(ctx) })
	}
	return nil
}

// keepDamaged sets a damaged segment aside and puts a new one in its place. The steps that can fail
// come first, so that they can be repeated.
func (l *Log) keepDamaged(s *segment) error {
	if s.damage == "" {
		return nil
	}
	next := s.name + nextSuffix
	fresh, err := openSegment(l.fsys, next, s.index, l.opts.Segment)
	if err != nil {
		return err
	}
	stamp := time.Now().UTC().Format("20060102T150405.000Z-")
	kept := path.Join(l.dir, damagedPrefix+stamp+path.Base(s.name))
	err = l.fsys.Link(s.name, kept)
	if err == nil {
		if err = l.fsys.Rename(next, s.name); err != nil {
			err = errors.Join(err, l.fsys.Remove(kept))
		}
	}
	if err != nil {
		return errors.Join(err, fresh.file.Close())
	}
	l.opts.Log.Error("log file damaged; its intact records were used, and the file was kept",
		"file", s.name, "damage", s.damage, "kept_as", kept)
	_ = s.file.Close()
	fresh.name, fresh.epoch = s.name, s.epoch
	*s = *fresh
	l.pruneDamaged()
	return nil
}

// pruneDamaged removes the oldest damaged files above maxDamaged. Errors are ignored.
func (l *Log) pruneDamaged() {
	names, _ := DamagedLogs(l.fsys, l.dir)
	for len(names) > maxDamaged {
		_ = l.fsys.Remove(names[0])
		names = names[1:]
	}
}

// Announce announces a record, so that the leader of a group waits for it for up to a millisecond.
// Each call must be followed by one call of Append or Retract.
func (l *Log) Announce() { l.announced.Add(1) }

// Retract withdraws an announcement.
func (l *Log) Retract() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arrivedLocked()
}

func (l *Log) arrivedLocked() {
	none := l.announced.Add(-1) == 0
	if g := l.gathering; g != nil && (none || g.expected > 0 && g.records >= g.expected) {
		g.setReady()
	}
}

// Flushes returns the number of times that the log has flushed to the disk since OpenLog.
func (l *Log) Flushes() int64 { return l.flushes.Load() }

// Room returns a channel that is closed when a segment was emptied. Call it before Append, so that
// no wake-up is missed if Append returns ErrLogFull.
func (l *Log) Room() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.room
}

func (l *Log) wakeWaiting() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.room)
	l.room = make(chan struct{})
}

// Append appends a record, the concatenation of parts, and returns when it is on the disk. Call
// Announce first. cost is the disk space in bytes that a replay of the record may take. The caller
// then makes the change and calls applied once. The log keeps the record until then, and until a
// sync after that. file is the segment with the record, 0 or 1.
//
// ErrLogFull, ErrRecordSize and ErrLogDown mean that nothing was written. Any other error is a
// failed write of the whole group; the log can take the next one.
func (l *Log) Append(cost int64, parts ...[]byte) (file int, applied func(), err error) {
	g, leads := l.join(cost, parts)
	if g == nil {
		l.Retract()
		return 0, nil, ErrRecordSize
	}
	if leads {
		l.lead(g)
	} else {
		<-g.done
	}
	if g.err != nil {
		return 0, nil, g.err
	}
	return g.segment.index, g.pending.done, nil
}

// join adds a record to the gathering group. It returns nil if the record is too large for any
// group. leads means that the record is the first of the group.
func (l *Log) join(cost int64, parts [][]byte) (g *group, leads bool) {
	// A group must fit into a segment.
	size, limit := recordSize(parts), min(int(l.opts.Segment)-2*blockSize, maxGroup)
	if groupHeader+size > limit {
		return nil, false
	}
	for {
		l.mu.Lock()
		g := l.gathering
		if leads = g == nil; leads {
			g = newGroup(l.memoryLocked())
			l.gathering = g
		}
		if g.add(cost, parts, size, limit) {
			l.arrivedLocked()
			l.mu.Unlock()
			return g, leads
		}
		g.setReady()
		l.mu.Unlock()
		<-g.closed
	}
}

func (l *Log) memoryLocked() []byte {
	n := len(l.spare)
	if n == 0 {
		return nil
	}
	m := l.spare[n-1]
	l.spare = l.spare[:n-1]
	return m
}

// lead writes a group after the previous one, once the announced writers have joined.
func (l *Log) lead(g *group) {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.gather(g)
	l.mu.Lock()
	l.gathering = nil
	l.mu.Unlock()
	close(g.closed)
	g.err = l.write(g)
	l.mu.Lock()
	if len(l.spare) < maxSpare {
		l.spare = append(l.spare, g.data)
	}
	g.data = nil
	l.mu.Unlock()
	close(g.done)
}

// gather waits for the records that are announced now. It ignores later announcements: with many
// writers it would never end. It does not wait again for a while for writers that did not come in
// time, such as a client that is silent in the middle of a message. It needs writing held.
func (l *Log) gather(g *group) {
	if l.groups++; l.groups%forgetLate == 0 {
		l.late = 0
	}
	l.mu.Lock()
	announced := int(l.announced.Load())
	l.late = min(l.late, announced)
	coming := announced - l.late
	g.expected = g.records + coming
	l.mu.Unlock()
	if coming == 0 {
		return
	}
	timer := time.NewTimer(gatherFor)
	defer timer.Stop()
	select {
	case <-g.ready:
	case <-timer.C:
		l.mu.Lock()
		l.late += max(0, g.expected-g.records)
		l.mu.Unlock()
	}
}

// write needs writing held.
func (l *Log) write(g *group) error {
	if l.active == nil {
		return ErrLogDown
	}
	budget := l.opts.Budget / 2
	if !l.active.fits(g, budget) && !(l.swap() && l.active.fits(g, budget)) {
		return ErrLogFull
	}
	l.flushes.Add(1)
	g.segment, g.pending = l.active, l.active.pending
	defer l.measure(false)()
	return l.active.write(g)
}

// measure tells LogOptions.Took the time until the call of its result.
func (l *Log) measure(sync bool) (done func()) {
	if l.opts.Took == nil {
		return func() {}
	}
	start := time.Now()
	return func() { l.opts.Took(sync, time.Since(start)) }
}

// Fill returns the part of the log that holds records whose changes are not synced yet, from 0 to
// 1. It waits while a group is written.
func (l *Log) Fill() float64 {
	l.writing.Lock()
	defer l.writing.Unlock()
	var used, size int64
	for _, s := range l.segments {
		if s == nil {
			continue
		}
		size += s.size
		if s.hasRecords() {
			used += s.end
		}
	}
	if size == 0 {
		return 0
	}
	return float64(used) / float64(size)
}

// swap makes the other segment active if it is empty, and leaves the former one to the syncer. It
// needs writing held.
func (l *Log) swap() bool {
	other := l.segments[1-l.active.index]
	if other.hasRecords() {
		return false
	}
	l.active = other
	l.wakeSyncer()
	return true
}

func (l *Log) wakeSyncer() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// syncAlways runs the syncer. It syncs the inactive segment when it has records, and switches
// segments when records have waited for the delay.
func (l *Log) syncAlways(ctx context.Context) {
	ticker := time.NewTicker(l.opts.Delay)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-l.wake:
		case <-ticker.C:
			l.retire()
		case <-ctx.Done():
			return
		}
		if _, pending := l.inactive(); pending != nil && pending.idleOrNotify(l.wakeSyncer) {
			_ = l.syncInactive(pending) // fail has reported the error
		}
	}
}

// retire switches to the other segment if that is empty and the active one has records.
func (l *Log) retire() {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.active != nil && l.active.hasRecords() {
		l.swap()
	}
}

// inactive returns the segment to be synced and emptied, and its pending changes; nil if it has no
// records.
func (l *Log) inactive() (*segment, *pendingChanges) {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.active == nil {
		return nil, nil
	}
	if s := l.segments[1-l.active.index]; s.hasRecords() {
		return s, s.pending
	}
	return nil, nil
}

// Checkpoint syncs the changes of all records appended before the call, and empties their segments.
// It waits until these changes are made. Call it before changing what the records name, such as a
// directory's name. If the log is stopped meanwhile, or another sync fails, the records are still
// there and the error is ErrLogDown.
func (l *Log) Checkpoint() error {
	if err := l.syncIdle(); err != nil {
		return err
	}
	l.retire()
	if err := l.syncIdle(); err != nil {
		return err
	}
	if l.down() {
		return ErrLogDown
	}
	return nil
}

func (l *Log) down() bool {
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.active == nil
}

// syncIdle waits for the pending changes of the inactive segment and then syncs it.
func (l *Log) syncIdle() error {
	_, pending := l.inactive()
	if pending == nil {
		return nil
	}
	pending.wait()
	return l.syncInactive(pending)
}

// syncInactive syncs the changes of the inactive segment and empties it. idle identifies the
// segment's use, and has no pending change. If another caller has emptied the segment meanwhile,
// syncInactive does nothing.
func (l *Log) syncInactive(idle *pendingChanges) error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	s, pending := l.inactive()
	if pending == nil || pending != idle {
		return nil
	}
	l.flushes.Add(1)
	err := l.sync(s)
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.active == nil {
		return ErrLogDown // stopped meanwhile: a change may be missing
	}
	if err == nil {
		l.flushes.Add(1)
		err = s.reset(l.active.epoch + 1)
	}
	if err != nil {
		l.fail(err)
		return err
	}
	if l.opts.Emptied != nil {
		l.opts.Emptied(s.index)
	}
	l.wakeWaiting()
	return nil
}

func (l *Log) sync(s *segment) error {
	defer l.measure(true)()
	if l.opts.Sync == nil {
		return l.fsys.SyncAll()
	}
	return l.opts.Sync(s.records)
}

// fail stops the log until the next Replay. The kernel reports a failed sync once, for any data, so
// the other segment is in doubt too. fail needs writing held.
func (l *Log) fail(err error) {
	l.active = nil
	l.opts.Log.Error("sync failed; the records of the log will be carried out again", "error", err)
	l.wakeWaiting()
	if l.opts.Failed != nil {
		l.opts.Failed(err)
	}
}

// Stop makes the log take no records and keep those it has, until the next Replay. It is for a
// caller that could not make the change of a record; call it before applied.
func (l *Log) Stop() {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.active = nil
	l.wakeWaiting()
}

// Close makes a Checkpoint and closes the log's files. After an error the next Replay finds the
// remaining records.
func (l *Log) Close() error {
	err := l.Checkpoint()
	if errors.Is(err, ErrLogDown) {
		err = nil
	}
	return errors.Join(err, l.Abandon())
}

// Abandon closes the log's files without a Checkpoint. The next Replay finds the records.
func (l *Log) Abandon() error {
	if l.stop != nil {
		l.stop()
		l.syncer.Wait()
	}
	l.Stop()
	return l.closeFiles()
}

func (l *Log) closeFiles() error {
	var errs []error
	for _, s := range l.segments {
		if s == nil {
			continue
		}
		// A damaged file may have been set aside without a replacement.
		if err := s.file.Close(); !errors.Is(err, fs.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
