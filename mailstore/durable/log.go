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
	// defaultSegment is the size of each of the two files of a Log, in bytes.
	defaultSegment = 16 << 20
	// defaultDelay is how long records wait at most before what they stand for is synced.
	defaultDelay = 5 * time.Second
	// gatherFor is how long the first writer of a group waits for the announced ones.
	gatherFor = time.Millisecond
	// forgetLate is the number of groups after which late writers are waited for again.
	forgetLate = 256
	// maxSpare is how many groups there are at once, usually: one is written while another gathers.
	maxSpare = 2
	// maxGroup is the size in bytes at which a group is written without waiting for more.
	maxGroup = 1 << 20
	// maxDamaged is how many damaged files are kept; the oldest go first.
	maxDamaged = 8
	// nextSuffix ends the name of a new file that is to take the place of a damaged one.
	nextSuffix = ".new"
	// damagedPrefix begins the names of damaged files that are kept.
	damagedPrefix = "damaged-"
)

var (
	// ErrLogFull says that the log takes no record now: what it holds is not synced yet. Nothing was written. LogRoom
	// tells when to try again.
	ErrLogFull = errors.New("the log is full")
	// ErrRecordSize says that a record is too large for the log.
	ErrRecordSize = errors.New("the record is too large for the log")
	// ErrLogDown says that the log takes no record before the next Replay: it is new or closed, or a sync failed.
	ErrLogDown = errors.New("the log has to be replayed")
)

// LogOptions say how a Log works. The zero value is good.
type LogOptions struct {
	Segment int64         // size of each of the two files in bytes, a multiple of 4096; 0: 16 MiB
	Delay   time.Duration // between a record and the sync that makes it superfluous; 0: 5 s
	// Budget is what all records together may cost, see Append. 0 means no limit.
	Budget int64

	// Sync brings to the disk what the records stand for that each gives. nil: FS.SyncAll.
	Sync func(each func(do func(record []byte) error) error) error
	// Failed is called once after a failed sync. From then on the log takes no record and cuts none, until Replay is
	// called again: the kernel reports such a failure once, and a second sync would succeed without the lost data.
	// Failed must not wait for the log. nil: no caller needs to know.
	Failed func(err error)
	Cut    func(file int) // called when the records in file 0 or 1 have gone; nil: no caller needs to know
	Log    *slog.Logger   // nil: nothing is logged
}

// Log lets many small changes be durable with few syncs. A record of the change is appended, together with those of
// other writers, with one write and one flush; the change itself is made without a sync. Some seconds later, or when
// the log's file is full, everything on the file system is synced at once, and the records are cut. After a crash,
// and after a failed sync, Replay gives the records whose change may be lost.
//
// The log has two files of fixed size, written from end to end before the first use, so that a flush of records moves
// nothing but records. One file takes groups of records while what is in the other is synced. A group counts only
// whole: a checksum covers it, and it carries the random number of its file's present life and its own number in that
// life. The life never leaves the machine. So neither the remains of earlier groups nor anything that a stranger wrote
// into a record is taken for a group. Groups begin at multiples of 4096 bytes: no acknowledged record shares a block with
// what is written later. The header of a file stands at both of its ends.
//
// A Log is safe for concurrent use.
type Log struct {
	fsys FS
	dir  string
	opts LogOptions

	// Locks in the order in which they are taken: syncing, writing, mu.
	syncing   mutex       // held while a file is synced and cut
	writing   mutex       // held while a group is written, or the files change roles
	segments  [2]*segment // guarded by writing
	active    *segment    // one of them; nil: the log takes no records; guarded by writing
	late      int         // of those announced, how many were waited for in vain; guarded by writing
	groups    int         // written; guarded by writing
	announced atomic.Int64
	flushes   atomic.Int64

	mu        sync.Mutex
	gathering *group        // nil: the next writer opens one and leads it
	spare     [][]byte      // memory of groups that were written, for others
	room      chan struct{} // closed when a file was cut

	swapped chan struct{} // wakes the syncer: there is a file to sync
	stop    context.CancelFunc
	syncer  sync.WaitGroup
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
	if err := errors.Join(fsys.MkdirAll(dir, 0o700), removeTemps(fsys, dir)); err != nil {
		return nil, err
	}
	l := &Log{
		fsys: fsys, dir: dir, opts: opts, syncing: newMutex(), writing: newMutex(),
		room: make(chan struct{}), swapped: make(chan struct{}, 1),
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

// removeTemps removes unfinished files, each as large as a file of the log.
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

// Replay calls do with each record that is in the log, oldest first, and then done. When done returns, all that the
// records stand for is on the disk; so they are cut, and the log begins to take records. The memory of a record
// belongs to do. After an error the log is as it was, and takes no records; Replay may be called again.
//
// Replay is called after OpenLog, and after LogOptions.Failed. No change of a record may be under way. What Append
// returned for records that were replayed does nothing any more.
//
// A file that is damaged gives what is whole in it, and is kept beside the new one under a name that begins with "damaged-".
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
		if err := s.records(do); err != nil {
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
	if err := l.fsys.SyncDir(l.dir); err != nil { // records must not go into a file whose name may be lost
		return err
	}
	last := newer.epoch
	for i, s := range []*segment{older, newer} {
		if err := s.cut(last + uint64(i) + 1); err != nil {
			return err
		}
		if l.opts.Cut != nil {
			l.opts.Cut(s.index)
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

// keepDamaged puts a damaged file aside and makes another in its place. What can fail comes before that, so that it can
// be tried again.
func (l *Log) keepDamaged(s *segment) error {
	if s.damage == "" {
		return nil
	}
	next := s.name + nextSuffix
	fresh, err := openSegment(l.fsys, next, s.index, l.opts.Segment)
	if err != nil {
		return err
	}
	kept := path.Join(l.dir, damagedPrefix+time.Now().UTC().Format("20060102T150405.000Z-")+path.Base(s.name))
	err = l.fsys.Link(s.name, kept)
	if err == nil {
		if err = l.fsys.Rename(next, s.name); err != nil {
			err = errors.Join(err, l.fsys.Remove(kept))
		}
	}
	if err != nil {
		return errors.Join(err, fresh.file.Close())
	}
	l.opts.Log.Error("a file of the log was damaged; the whole records in it were taken, and it is kept", "file", s.name, "damage", s.damage, "kept_as", kept)
	_ = s.file.Close()
	fresh.name, fresh.epoch = s.name, s.epoch
	*s = *fresh
	l.forgetDamaged()
	return nil
}

// forgetDamaged removes the oldest of too many damaged files, if it can.
func (l *Log) forgetDamaged() {
	names, _ := DamagedLogs(l.fsys, l.dir)
	for len(names) > maxDamaged {
		_ = l.fsys.Remove(names[0])
		names = names[1:]
	}
}

// Announce says that a record is coming, so that the first writer of a group waits for it, a very short time. One
// call of Append, or of Retract, takes it back.
func (l *Log) Announce() { l.announced.Add(1) }

// Retract takes an announcement back.
func (l *Log) Retract() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arrivedLocked()
}

func (l *Log) arrivedLocked() {
	none := l.announced.Add(-1) == 0
	if g := l.gathering; g != nil && (none || g.enough > 0 && g.records >= g.enough) {
		g.goAhead()
	}
}

// Flushes is how many times the log has asked the disk to write, since it was opened.
func (l *Log) Flushes() int64 { return l.flushes.Load() }

// Room returns a channel that is closed when a file of the log was cut. It is asked for before Append is called that
// may find the log full.
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

// Append returns when the record, which is parts put together, is on the disk. Announce was called before. cost is what
// a replay of the record may take from the disk, in bytes. The caller then makes the change that the record stands for,
// and calls applied once; until then, and until a sync after that, the log keeps the record. file is 0 or 1, that which
// has it.
//
// ErrLogFull, ErrRecordSize and ErrLogDown say that nothing was written. Any other error says that writing failed, for
// all records of the group; the log is ready for the next.
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
	return g.segment.index, g.users.done, nil
}

// join adds a record to the group that gathers, which is nil if no group could take the record; leads says that
// the record is the first in it.
func (l *Log) join(cost int64, parts [][]byte) (g *group, leads bool) {
	size, limit := recordSize(parts), min(int(l.opts.Segment)-2*blockSize, maxGroup) // a group fits into a file
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
		g.goAhead()
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
// there would always be another. Writers that were waited for in vain, such as a client that has fallen silent in the
// middle of a message, are not counted again for a while. It needs writing held.
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
		return ErrLogDown
	}
	budget := l.opts.Budget / 2
	if !l.active.fits(g, budget) && !(l.swap() && l.active.fits(g, budget)) {
		return ErrLogFull
	}
	l.flushes.Add(1)
	g.segment, g.users = l.active, l.active.users
	return l.active.write(g)
}

// swap makes the other file the active one, if it is free, and leaves the one that was to the syncer. It needs
// writing held.
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
	case l.swapped <- struct{}{}:
	default:
	}
}

// syncAlways syncs the file that is not active whenever there is something in it, and the active one when its records
// have waited long enough.
func (l *Log) syncAlways(ctx context.Context) {
	ticker := time.NewTicker(l.opts.Delay)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-l.swapped:
		case <-ticker.C:
			l.retire()
		case <-ctx.Done():
			return
		}
		if _, users := l.resting(); users != nil && users.orTell(l.wakeSyncer) {
			_ = l.syncResting(users) // Failed tells
		}
	}
}

// retire lets no more records into the active file, if the other one is free.
func (l *Log) retire() {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.active != nil && l.active.hasRecords() {
		l.swap()
	}
}

// resting is the file that is to be synced and cut, and the records of its life whose change is being made; nil if there
// is none.
func (l *Log) resting() (*segment, *pending) {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.active == nil {
		return nil, nil
	}
	if s := l.segments[1-l.active.index]; s.hasRecords() {
		return s, s.users
	}
	return nil, nil
}

// Checkpoint brings to the disk now what all records stand for that were appended before the call, and cuts them. It
// waits until their changes are made. It is for those who are about to change what the records name, such as the name of
// a directory. If the log is stopped meanwhile, or a sync of others fails, the records are still there: ErrLogDown.
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

// syncIdle is syncResting as soon as no change of a record in the file is under way.
func (l *Log) syncIdle() error {
	_, users := l.resting()
	if users == nil {
		return nil
	}
	users.wait()
	return l.syncResting(users)
}

// syncResting brings to the disk what the records in the file that is not active stand for, and cuts it. No change of
// them is under way. If another caller has cut that life of it meanwhile, there is nothing to do.
func (l *Log) syncResting(idle *pending) error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	s, users := l.resting()
	if users == nil || users != idle {
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
		err = s.cut(l.active.epoch + 1)
	}
	if err != nil {
		l.fail(err)
		return err
	}
	if l.opts.Cut != nil {
		l.opts.Cut(s.index)
	}
	l.wakeWaiting()
	return nil
}

func (l *Log) sync(s *segment) error {
	if l.opts.Sync == nil {
		return l.fsys.SyncAll()
	}
	return l.opts.Sync(s.records)
}

// fail stops the log until the next Replay. A sync that fails is told about once, whatever it was that could not be
// written: the other file is in doubt as well. It needs writing held.
func (l *Log) fail(err error) {
	l.active = nil
	l.opts.Log.Error("a sync failed; what the log holds is written again", "error", err)
	l.wakeWaiting()
	if l.opts.Failed != nil {
		l.opts.Failed(err)
	}
}

// Stop lets the log take no record and cut none until the next Replay, as after a failed sync. It is for those who could
// not make a change that the log has; they call it before applied.
func (l *Log) Stop() {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.active = nil
	l.wakeWaiting()
}

// Close makes a Checkpoint and gives the log's files back. After an error the next Replay will find the rest.
func (l *Log) Close() error {
	err := l.Checkpoint()
	if errors.Is(err, ErrLogDown) {
		err = nil
	}
	return errors.Join(err, l.Abandon())
}

// Abandon gives the log's files back as they are, for the next Replay to find.
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
		if err := s.file.Close(); !errors.Is(err, fs.ErrClosed) { // a damaged file may be put aside, and no other be there
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
