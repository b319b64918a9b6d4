package track

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"pillarbox/mailstore/durable"
)

const (
	dir = "track"

	// maxBuffer is the number of octets that may wait for the disk. Further events are dropped.
	maxBuffer = 4 << 20
	// maxLive is the size at which a .events file is closed and packed. Search reads the whole of
	// the current file, so it must be small.
	maxLive = 8 << 20

	writePause = 100 * time.Millisecond // between two writes
	syncPause  = time.Second            // between a write and its sync
	complaint  = time.Hour              // between two log lines about one trouble
)

// Options are the settings of a Log. The zero value of a limit means no limit.
type Options struct {
	Keep     time.Duration // age at which a day's events are deleted
	MaxSize  int64         // octets of all files; the oldest are deleted
	Subjects bool          // store the subjects of messages
	Discard  bool          // store nothing; only the readers get the events
}

// Reader learns of every event while it happens, in the goroutine that adds it. It must neither
// wait nor keep e.
type Reader func(e *Event)

// Log writes events. It is safe for concurrent use. Add and Dropped may be called on a nil Log,
// which has no events.
type Log struct {
	fsys    durable.FS
	log     *slog.Logger
	readers []Reader
	options atomic.Pointer[Options]
	dropped atomic.Uint64

	mu     sync.Mutex
	buffer []byte // owner: mu; records that wait for the disk
	count  int    // owner: mu; number of records in buffer
	closed bool   // owner: mu

	wake    chan struct{}      // has a value while buffer may have records
	flush   chan chan struct{} // requests of Flush
	closing chan struct{}      // closed by Close
	done    chan struct{}      // closed when run has ended

	w writer
}

// Open returns a Log below a data directory that hands every event to the readers. It touches the
// disk in the background only. The caller must close it.
func Open(fsys durable.FS, o Options, log *slog.Logger, readers ...Reader) *Log {
	l := &Log{
		fsys: fsys, log: log, readers: readers, wake: make(chan struct{}, 1),
		flush: make(chan chan struct{}), closing: make(chan struct{}), done: make(chan struct{}),
	}
	l.options.Store(&o)
	l.w = writer{fsys: fsys, packing: make(chan struct{}, 1)}
	go l.run()
	return l
}

// SetOptions takes effect for the next event.
func (l *Log) SetOptions(o Options) { l.options.Store(&o) }

// Add tells the readers of an event and stores it. It does not wait for the disk.
func (l *Log) Add(e Event) {
	if l == nil {
		return
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	o := l.options.Load()
	if !o.Subjects {
		e.Subject = ""
	}
	e.clean()
	for _, read := range l.readers {
		read(&e)
	}
	if o.Discard {
		return
	}
	l.mu.Lock()
	if l.closed || len(l.buffer) > maxBuffer {
		l.dropped.Add(1)
	} else {
		l.buffer = appendRecord(l.buffer, &e)
		l.count++
	}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Dropped returns the number of events that were not stored: they came too fast, or the disk
// failed.
func (l *Log) Dropped() uint64 {
	if l == nil {
		return 0
	}
	return l.dropped.Load()
}

// Flush returns when all events that were added before it are in the file, or could not be
// written. Search finds them then. They may not be synced yet.
func (l *Log) Flush() {
	if l == nil {
		return
	}
	written := make(chan struct{})
	select {
	case l.flush <- written:
		<-written
	case <-l.done:
	}
}

// Close writes and syncs the events. Later ones are dropped.
func (l *Log) Close() {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	l.mu.Unlock()
	if first {
		close(l.closing)
	}
	<-l.done
}

// run owns the writer.
func (l *Log) run() {
	defer close(l.done)
	if o := *l.options.Load(); !o.Discard {
		l.w.pack(l.closing, o, l.complain)
	}
	wake := l.wake
	var pause, sync <-chan time.Time
	var spare []byte
	for {
		select {
		case <-wake:
			spare = l.write(spare)
			wake, pause = nil, time.After(writePause)
			if sync == nil {
				sync = time.After(syncPause)
			}
		case <-pause:
			wake, pause = l.wake, nil
		case <-sync:
			l.complain("cannot sync the events of mail", l.w.sync())
			sync = nil
		case written := <-l.flush:
			spare = l.write(spare)
			close(written)
		case <-l.closing:
			l.write(spare)
			l.complain("cannot close the events of mail", errors.Join(l.w.sync(), l.w.close()))
			l.w.packing <- struct{}{} // waits for the last pack
			return
		}
	}
}

// write writes the buffered records. spare replaces the buffer meanwhile. It returns the buffer to
// use next time.
func (l *Log) write(spare []byte) []byte {
	l.mu.Lock()
	full, count := l.buffer, l.count
	l.buffer, l.count = spare[:0], 0
	l.mu.Unlock()
	if len(full) == 0 {
		return full
	}
	rolled, err := l.w.write(full, time.Now().UTC())
	if err != nil {
		l.dropped.Add(uint64(count))
	}
	l.complain("cannot write the events of mail; mail is not affected", err)
	if rolled {
		l.w.pack(l.closing, *l.options.Load(), l.complain)
	}
	if cap(full) > maxBuffer/16 {
		return nil // memory for a burst is not kept
	}
	return full
}

// complain logs an error, once an hour, with the number of events that were dropped so far.
func (l *Log) complain(text string, err error) {
	if err == nil || !l.w.mayComplain(time.Now()) {
		return
	}
	l.log.Warn(text, "error", err, "dropped_events", l.Dropped())
}

// writer writes records into the current file. It belongs to one goroutine, but for the fields of
// packing.
type writer struct {
	fsys durable.FS
	file durable.File // nil: not open
	name string       // of file
	day  string
	size int64

	packing    chan struct{} // holds a value while files are packed
	toPack     atomic.Pointer[packJob]
	complaints atomic.Int64 // time of the last log line about an error, Unix nanoseconds
}

func (w *writer) mayComplain(now time.Time) bool {
	last := w.complaints.Load()
	return (last == 0 || now.UnixNano()-last >= int64(complaint)) &&
		w.complaints.CompareAndSwap(last, now.UnixNano())
}

// write appends records. rolled reports whether it closed a file that was complete.
func (w *writer) write(records []byte, now time.Time) (rolled bool, err error) {
	day := now.Format(dayLayout)
	if w.file != nil && (w.day != day || w.size >= maxLive) {
		err = errors.Join(w.sync(), w.close())
		rolled = true
	}
	if w.file == nil {
		if err := w.open(day); err != nil {
			return rolled, err
		}
	}
	n, writeErr := w.file.Write(records)
	w.size += int64(n)
	if writeErr != nil {
		w.close() // the next write opens it again
	}
	return rolled, errors.Join(err, writeErr)
}

// open opens the last file of the day, or a new one if that is full or packed.
func (w *writer) open(day string) error {
	if err := w.fsys.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	files, err := list(w.fsys)
	if err != nil {
		return err
	}
	number := 1
	for _, f := range files {
		if f.day == day && f.number >= number {
			number = f.number
			if f.packed {
				number++
			}
		}
	}
	for {
		name := fileName(day, number, liveSuffix)
		f, err := w.fsys.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		if w.size, err = f.Seek(0, io.SeekEnd); err != nil {
			f.Close()
			return err
		}
		w.file, w.name, w.day = f, name, day
		if w.size < maxLive {
			return nil
		}
		w.close()
		number++
	}
}

// sync makes what was written durable. The name of a new file is synced with it: the file is
// otherwise gone after a power cut.
func (w *writer) sync() error {
	if w.file == nil {
		return nil
	}
	return errors.Join(w.file.Sync(), w.fsys.SyncDir(dir))
}

func (w *writer) close() error {
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	w.file = nil
	return err
}

const (
	dayLayout  = "20060102"
	liveSuffix = ".events"
	packSuffix = ".pack"
)

// eventFile is a file of events.
type eventFile struct {
	name   string
	day    string // in UTC, as dayLayout
	number int
	packed bool
}

func fileName(day string, number int, suffix string) string {
	return fmt.Sprintf("%s/%s-%03d%s", dir, day, number, suffix)
}

// list returns the files of events, the oldest first. If a file is there in both forms, because a
// crash came before the first was removed, it returns the packed one.
func list(fsys durable.FS) ([]eventFile, error) {
	names, err := fsys.ReadNames(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var files []eventFile
	for _, base := range names {
		f := eventFile{name: path.Join(dir, base)}
		stem, live := strings.CutSuffix(base, liveSuffix)
		if !live {
			stem, f.packed = strings.CutSuffix(base, packSuffix)
		}
		if n, _ := fmt.Sscanf(stem, "%8s-%d", &f.day, &f.number); n == 2 && (live || f.packed) {
			files = append(files, f)
		}
	}
	slices.SortFunc(files, func(a, b eventFile) int {
		if c := strings.Compare(a.day, b.day); c != 0 {
			return c
		}
		if a.number != b.number {
			return a.number - b.number
		}
		return strings.Compare(b.name, a.name) // .pack before .events
	})
	return slices.CompactFunc(files, func(a, b eventFile) bool {
		return a.day == b.day && a.number == b.number
	}), nil
}

// Append writes events without a Log, for a command that runs beside a server or without one. It
// leaves packing and limits to the server.
func Append(fsys durable.FS, events ...Event) error {
	w := writer{fsys: fsys}
	now := time.Now()
	var records []byte
	for _, e := range events {
		if e.Time.IsZero() {
			e.Time = now
		}
		e.clean()
		records = appendRecord(records, &e)
	}
	_, err := w.write(records, now.UTC())
	return errors.Join(err, w.sync(), w.close())
}
