package durable

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// defaultSegment is the size of each of the two files of a Log, in bytes.
	defaultSegment = 16 << 20
	// defaultDelay is how long records wait at most before what they stand for is synced.
	defaultDelay = 5 * time.Second
	// gatherFor is how long the first writer of a group waits for those that are known to come.
	gatherFor = time.Millisecond
	// forgetLate is after how many groups everybody is waited for again.
	forgetLate = 256
	// maxSpare is how many groups there are at once, usually: one is written while another gathers.
	maxSpare = 2
	// maxGroup is when a group is written without waiting for more, in bytes.
	maxGroup = 1 << 20
)

// ErrLogFull says that the log takes no record now: it is closed, the record is too large for it, or what it holds
// could not be settled yet. Nothing was written; the caller makes its change durable in another way.
var ErrLogFull = errors.New("log is full")

// LogOptions say how a Log works. The zero value of each field but Redo is good.
type LogOptions struct {
	Segment int64         // size of each of the two files in bytes, a multiple of 4096; 0: 16 MiB
	Delay   time.Duration // between a record and the sync that makes it superfluous; 0: 5 s

	// Redo does again, durably, what a record stands for, whatever became of it on the disk. It is called for
	// the records that are waiting when a sync behind the log fails: nothing can be told then about what
	// the sync was for, and a second one would succeed without having written it.
	Redo func(record []byte) error
	Cut  func(file int) // called when the records in file 0 or 1 have gone; nil: nobody asks
	Log  *slog.Logger   // nil: nothing is said
}

// Log lets many small changes be durable with few syncs. A record of the change is appended, together with those of
// all who wait, with one write and one flush; the change itself is made without a sync. Some seconds later, or
// when the log's file is full, everything on the file system is synced at once, and the records are cut. After a
// crash, Replay gives the records whose change may be lost.
//
// The log has two files of fixed size, written from end to end before the first use, so that a flush of records
// moves nothing but records. One file takes groups of records while what is in the other is settled. A group counts
// only whole: a checksum covers it, it carries the number of its file's present life, which is random and never
// leaves the machine, and its own number in that life, so that neither the remains of earlier groups nor anything
// that a stranger wrote into a record is taken for a group. Groups begin at multiples of 4096 bytes: nothing that was
// acknowledged shares a block with what is written later.
//
// A Log is safe for concurrent use.
type Log struct {
	fsys FS
	opts LogOptions

	writing   sync.Mutex  // held while a group is written, or the files change roles
	segments  [2]*segment // guarded by writing
	active    *segment    // one of them; nil before Replay, after Close
	settling  sync.Mutex  // held while a file is settled; taken before writing
	late      int         // of those announced, how many were waited for in vain; guarded by writing
	groups    int         // written; guarded by writing
	announced atomic.Int64
	flushes   atomic.Int64
	abandoned atomic.Bool // nothing may be cut any more

	mu        sync.Mutex
	gathering *group   // nil: the next writer opens one and leads it
	spare     [][]byte // memory of groups that were written, for others

	swapped chan struct{} // wakes the settler: there is a file to settle
	stop    context.CancelFunc
	settler sync.WaitGroup
}

// OpenLog opens the log in the directory dir, which it makes when it is missing. It takes no records before Replay.
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
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	l := &Log{fsys: fsys, opts: opts, swapped: make(chan struct{}, 1)}
	for i := range l.segments {
		s, err := openSegment(fsys, path.Join(dir, fmt.Sprintf("log%d", i)), i, opts.Segment, opts.Log)
		if err != nil {
			return nil, errors.Join(err, l.closeFiles())
		}
		l.segments[i] = s
	}
	return l, nil
}

// Replay calls do with each record that is in the log, oldest first, and then done. When done returns, whatever the
// records stand for is on the disk; so they are cut, and the log begins to take records. The memory of a record
// belongs to do. After an error the log is as it was, and takes no records.
func (l *Log) Replay(do func(record []byte) error, done func() error) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	older, newer := l.segments[0], l.segments[1]
	if older.epoch > newer.epoch {
		older, newer = newer, older
	}
	for _, s := range []*segment{older, newer} {
		if err := s.records(do); err != nil {
			return err
		}
	}
	if err := done(); err != nil {
		return err
	}
	last := newer.epoch
	for i, s := range []*segment{older, newer} {
		if err := s.cut(last + uint64(i) + 1); err != nil {
			return err
		}
		s.used.Store(false)
	}
	l.active = older
	var ctx context.Context
	ctx, l.stop = context.WithCancel(context.Background())
	l.settler.Go(func() { l.settleAlways(ctx) })
	return nil
}

// Announce says that a record is coming, so that the first writer of a group waits for it, a very short time. One
// call of Append, or of Retract, takes it back.
func (l *Log) Announce() { l.announced.Add(1) }

// Retract takes an announcement back.
func (l *Log) Retract() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arrived()
}

// arrived needs mu held.
func (l *Log) arrived() {
	none := l.announced.Add(-1) == 0
	if g := l.gathering; g != nil && (none || g.enough > 0 && g.records >= g.enough) {
		g.goAhead()
	}
}

// Flushes is how many times the log has asked the disk to write, since it was opened.
func (l *Log) Flushes() int64 { return l.flushes.Load() }

// Append returns when the record, which is parts put together, is on the disk. Announce was called before. The
// caller then makes the change that the record stands for, and calls applied once, whether or not the change
// succeeded; until then, and until a sync after that, the log keeps the record. file is 0 or 1, that which has it.
//
// An error other than ErrLogFull says that writing failed, for all records of the group; the log is ready for the next.
func (l *Log) Append(parts ...[]byte) (file int, applied func(), err error) {
	g, leads := l.join(parts)
	if g == nil {
		l.Retract()
		return 0, nil, ErrLogFull
	}
	if leads {
		l.lead(g)
	} else {
		<-g.done
	}
	if g.err != nil {
		return 0, nil, g.err
	}
	return g.segment.index, g.segment.pending.Done, nil
}

// join adds a record to the group that gathers, which is nil if no group could take the record; leads says that
// the record is the first in it.
func (l *Log) join(parts [][]byte) (g *group, leads bool) {
	size := recordSize(parts)
	if groupHeader+size > min(int(l.opts.Segment)-blockSize, maxGroup) {
		return nil, false
	}
	for {
		l.mu.Lock()
		g := l.gathering
		if leads = g == nil; leads {
			g = newGroup(l.memory())
			l.gathering = g
		}
		if g.add(parts, size) {
			l.arrived()
			l.mu.Unlock()
			return g, leads
		}
		g.goAhead()
		l.mu.Unlock()
		<-g.closed
	}
}

// memory needs mu held.
func (l *Log) memory() []byte {
	n := len(l.spare)
	if n == 0 {
		return nil
	}
	m := l.spare[n-1]
	l.spare = l.spare[:n-1]
	return m
}

// lead writes a group, once the one before it is written and those who were announced have joined.
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

// gather waits for as many records as are announced now, however many are announced meanwhile: with many writers
// there would always be another. Those who were waited for in vain, such as a client that has fallen silent in the
// middle of a message, are not counted again for a while.
func (l *Log) gather(g *group) {
	if l.groups++; l.groups%forgetLate == 0 {
		l.late = 0
	}
	l.mu.Lock()
	announced := int(l.announced.Load())
	l.late = min(l.late, announced)
	coming := announced - l.late
	g.enough = g.records + coming
	l.mu.Unlock()
	if coming == 0 {
		return
	}
	timer := time.NewTimer(gatherFor)
	defer timer.Stop()
	select {
	case <-g.ahead:
	case <-timer.C:
		l.mu.Lock()
		l.late += max(0, g.enough-g.records)
		l.mu.Unlock()
	}
}

// write needs writing held.
func (l *Log) write(g *group) error {
	if l.active == nil {
		return ErrLogFull
	}
	if !l.active.fits(g) && !(l.swap() && l.active.fits(g)) {
		return ErrLogFull
	}
	l.flushes.Add(1)
	g.segment = l.active
	return l.active.write(g)
}

// swap makes the other file the active one, if it is free, and leaves the one that was to the settler. It needs
// writing held.
func (l *Log) swap() bool {
	other := l.segments[1-l.active.index]
	if !other.empty() {
		return false
	}
	l.active = other
	select {
	case l.swapped <- struct{}{}:
	default:
	}
	return true
}

// settleAlways settles the file that is not active whenever there is something in it, and the active one when what
// is in it has waited long enough.
func (l *Log) settleAlways(ctx context.Context) {
	ticker := time.NewTicker(l.opts.Delay)
	defer ticker.Stop()
	for ctx.Err() == nil {
		var err error
		select {
		case <-l.swapped:
			err = l.settleResting()
		case <-ticker.C:
			err = l.Settle()
		case <-ctx.Done():
			return
		}
		if err != nil && !errors.Is(err, errAbandoned) {
			l.opts.Log.Error("cannot sync behind the log; new mail is synced message by message until that succeeds", "error", err)
		}
	}
}

// Settle brings to the disk now what all records stand for that were appended before the call, and cuts them. It is for
// those who are about to change what the records name, such as the name of a directory.
func (l *Log) Settle() error {
	if err := l.settleResting(); err != nil {
		return err
	}
	l.writing.Lock()
	if l.active != nil && !l.active.empty() {
		l.swap()
	}
	l.writing.Unlock()
	return l.settleResting()
}

// settleResting brings to the disk what the records in the file that is not active stand for, and cuts it.
func (l *Log) settleResting() error {
	l.settling.Lock()
	defer l.settling.Unlock()
	l.writing.Lock()
	if l.active == nil {
		l.writing.Unlock()
		return nil
	}
	resting, epoch := l.segments[1-l.active.index], l.active.epoch+1
	l.writing.Unlock()
	if resting.empty() {
		return nil
	}
	resting.pending.Wait()
	if l.abandoned.Load() {
		return errAbandoned
	}
	if err := l.syncBehind(resting); err != nil {
		return err
	}
	l.flushes.Add(1)
	if err := resting.cut(epoch); err != nil {
		return err
	}
	if l.opts.Cut != nil {
		l.opts.Cut(resting.index)
	}
	resting.used.Store(false) // only now may it be written to
	return nil
}

// syncBehind syncs everything, or does again what the records of the resting file stand for. A sync that fails is
// told about once, whatever it was that could not be written: the other file is in doubt as well.
func (l *Log) syncBehind(resting *segment) error {
	l.flushes.Add(1)
	err := l.fsys.SyncAll()
	if err != nil {
		for _, s := range l.segments {
			s.doubtful.Store(true)
		}
	}
	if !resting.doubtful.Load() {
		return nil
	}
	if redoErr := resting.records(l.opts.Redo); redoErr != nil {
		return errors.Join(err, redoErr)
	}
	l.opts.Log.Warn("a sync behind the log failed; the messages concerned were written again", "error", err)
	return nil
}

// Close settles what the log holds and gives its files back. After an error Replay will find the rest.
func (l *Log) Close() error {
	if l.stop == nil {
		return l.closeFiles()
	}
	l.stop()
	l.settler.Wait()
	err := l.Settle()
	l.writing.Lock()
	defer l.writing.Unlock()
	l.active = nil
	return errors.Join(err, l.closeFiles())
}

// errAbandoned ends the settler.
var errAbandoned = errors.New("the log is given up")

// Abandon gives the log's files back as they are, for Replay to find: some of what the records stand for cannot be done.
// give calls what Append returned for those records.
func (l *Log) Abandon(give func()) error {
	l.abandoned.Store(true)
	l.stop()
	give()
	l.settler.Wait()
	l.writing.Lock()
	defer l.writing.Unlock()
	l.active = nil
	return l.closeFiles()
}

func (l *Log) closeFiles() error {
	var errs []error
	for _, s := range l.segments {
		if s != nil {
			errs = append(errs, s.file.Close())
		}
	}
	return errors.Join(errs...)
}
