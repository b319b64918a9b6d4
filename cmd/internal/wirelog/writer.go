// Package wirelog writes what clients and servers say to each other into files: as W3C extended log
// files, which the SMTP service of Windows wrote (w3c.go), and as a protocol log (protocol.go). Both
// are readers of package dialogue, and write through a Writer.
//
// A Writer never holds a session up. It has a queue of limited length, and drops lines that do not
// fit or that the disk does not take. It counts them, and says so in the log and in the file.
package wirelog

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

const (
	queueLength = 8192             // lines
	maxText     = 1000             // octets of a text that a client chose
	retryAfter  = 10 * time.Second // after the disk has refused a line
	sayAfter    = time.Minute      // between two lines about lines that were dropped
)

// Format is how a Writer names and begins its files. All functions are pure.
type Format struct {
	// Name is the name of the file for a line of this time.
	Name func(at time.Time) string
	// Sized gives the name of file n, from 1 on. If it is set, Name is not used, and a file of
	// MaxSize octets is followed by the next one.
	Sized   func(n int) string
	MaxSize int64
	// Ours reports whether a file is one of such files.
	Ours func(name string) bool
	// Header is written at the begin of a file, and after a restart.
	Header func(at time.Time) string
	// Remark is the line that tells of n missing lines.
	Remark func(at time.Time, n int64) string
}

// Options say where a Writer writes, and how much.
type Options struct {
	Name    string        // of the log, for messages: "W3C log"
	Dir     string        // made if it does not exist
	Keep    time.Duration // age at which a file is deleted; 0: never
	MaxAll  int64         // octets of all files, the oldest of which are deleted; 0: no limit
	Log     *slog.Logger
	newFile func(path string) (file, error) // for tests; nil: on disk
}

// file is a file that is appended to.
type file interface {
	Write([]byte) (int, error)
	Close() error
	// Size is the size when it was opened. whole reports whether it ended with a line end then.
	Size() (octets int64, whole bool)
}

// Writer writes lines to files in the background. Write may be called by many goroutines.
type Writer struct {
	opts    Options
	format  Format
	lines   chan entry
	stop    chan struct{}
	done    sync.WaitGroup
	dropped atomic.Int64 // not said yet

	// Owned by the goroutine of run.
	name    string
	file    file
	out     *bufio.Writer
	size    int64
	others  int64     // octets of the other files
	number  int       // of Format.Sized
	torn    bool      // the file may end in the middle of a line
	failed  bool      // and that was said
	retry   time.Time // not before
	said    time.Time // when dropped lines were said
	missing int64     // lines that the file does not tell yet
	pending int64     // lines that are missing if out gets lost
}

type entry struct {
	at   time.Time
	text string // with its line end
}

// NewWriter starts a Writer. The caller must call Close.
func NewWriter(opts Options, format Format) *Writer {
	if opts.newFile == nil {
		opts.newFile = openFile
	}
	w := &Writer{
		opts: opts, format: format, lines: make(chan entry, queueLength), stop: make(chan struct{}),
	}
	w.done.Go(w.run)
	return w
}

// Write queues a line, which ends with a line end. It drops the line if the queue is full.
func (w *Writer) Write(at time.Time, line string) {
	select {
	case w.lines <- entry{at, line}:
	default:
		w.dropped.Add(1)
	}
}

// Close writes what is queued and closes the file. Later lines are dropped.
func (w *Writer) Close() {
	close(w.stop)
	w.done.Wait()
}

func (w *Writer) run() {
	defer w.closeFile()
	for {
		select {
		case e := <-w.lines:
			w.put(e)
		case <-w.stop:
			for len(w.lines) > 0 {
				w.put(<-w.lines)
			}
			w.sayDropped(time.Time{})
			return
		}
		if len(w.lines) == 0 {
			w.flush()
		}
	}
}

// put writes a line, or drops it.
func (w *Writer) put(e entry) {
	now := time.Now()
	if now.Before(w.retry) {
		w.drop(1, now)
		return
	}
	if err := w.write(e); err != nil {
		w.fail(err, now)
		w.drop(1, now)
	}
	if n := w.dropped.Swap(0); n > 0 {
		w.drop(n, now)
	}
}

func (w *Writer) write(e entry) error {
	if err := w.choose(e); err != nil {
		return err
	}
	if w.opts.MaxAll > 0 && w.others+w.size+int64(len(e.text)) > w.opts.MaxAll {
		w.prune(e.at)
		if w.others+w.size+int64(len(e.text)) > w.opts.MaxAll {
			return errors.New("the file of today has reached the size limit")
		}
	}
	text := e.text
	if w.missing > 0 {
		text = w.format.Remark(e.at, w.missing) + text
	}
	if w.torn {
		text = "\n" + text
	}
	n, err := w.out.WriteString(text)
	w.size += int64(n)
	if err == nil {
		w.pending += 1 + w.missing // a remark that gets lost must be made again
		w.torn, w.missing = false, 0
	}
	return err
}

// choose opens the file for a line, if it is not open.
func (w *Writer) choose(e entry) error {
	name := w.fileName(e)
	if w.file != nil && name == w.name {
		return nil
	}
	w.closeFile()
	if err := os.MkdirAll(w.opts.Dir, 0o750); err != nil {
		return err
	}
	f, err := w.opts.newFile(filepath.Join(w.opts.Dir, name))
	if err != nil {
		return err
	}
	size, whole := f.Size()
	w.name, w.file, w.size, w.torn = name, f, size, !whole
	w.out = bufio.NewWriterSize(f, 32<<10)
	w.prune(e.at)
	header := w.format.Header(e.at)
	if w.torn {
		header = "\n" + header
	}
	w.torn = false
	w.size += int64(len(header))
	_, err = w.out.WriteString(header)
	return err
}

func (w *Writer) fileName(e entry) string {
	if w.format.Sized == nil {
		return w.format.Name(e.at)
	}
	if w.number == 0 {
		w.number = w.latestNumber()
	}
	if w.file != nil && w.format.MaxSize > 0 && w.size+int64(len(e.text)) > w.format.MaxSize {
		w.number++
	}
	return w.format.Sized(w.number)
}

// latestNumber returns the number of the file to go on with.
func (w *Writer) latestNumber() int {
	for n := 1; ; n++ {
		info, err := os.Stat(filepath.Join(w.opts.Dir, w.format.Sized(n)))
		if err != nil || w.format.MaxSize == 0 || info.Size() < w.format.MaxSize {
			return n
		}
	}
}

// prune deletes files that are too old, and the oldest that are too much. It counts the others.
func (w *Writer) prune(now time.Time) {
	w.others = 0
	entries, err := os.ReadDir(w.opts.Dir)
	if err != nil {
		return
	}
	var others []fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && info.Mode().IsRegular() && e.Name() != w.name && w.format.Ours(e.Name()) {
			others = append(others, info)
			w.others += info.Size()
		}
	}
	for _, name := range toDelete(others, now, w.opts.Keep, w.room()) {
		path := filepath.Join(w.opts.Dir, name.Name())
		if err := os.Remove(path); err != nil {
			w.opts.Log.Warn("an old file of the "+w.opts.Name+" could not be deleted", "error", err)
			continue
		}
		w.others -= name.Size()
	}
}

// flush passes buffered lines to the system.
func (w *Writer) flush() {
	if w.file == nil {
		return
	}
	if err := w.out.Flush(); err != nil {
		w.fail(err, time.Now())
		return
	}
	w.pending = 0
	if w.failed {
		w.failed = false
		w.opts.Log.Info("the "+w.opts.Name+" is written again", "dir", w.opts.Dir)
	}
}

// fail says once that lines cannot be written. The file is opened again later.
func (w *Writer) fail(err error, now time.Time) {
	w.retry = now.Add(retryAfter)
	w.missing, w.pending = w.missing+w.pending, 0
	if w.file != nil {
		w.file.Close()
		w.file = nil
	}
	if w.failed {
		return
	}
	w.failed = true
	w.opts.Log.Error("the "+w.opts.Name+" cannot be written; mail is not affected, lines are missing",
		"dir", w.opts.Dir, "error", err, "hint", "the server's account must be able to write there, and "+
			"ReadWritePaths of the systemd unit must name a folder outside /var/log/pillarbox")
}

// drop counts lines that are missing.
func (w *Writer) drop(n int64, now time.Time) {
	w.missing += n
	if !w.failed { // the failure says it
		w.sayDropped(now)
	}
}

// sayDropped logs that lines are missing, not more often than sayAfter; the zero time says it now.
func (w *Writer) sayDropped(now time.Time) {
	w.missing += w.dropped.Swap(0)
	if w.missing == 0 || !now.IsZero() && now.Sub(w.said) < sayAfter {
		return
	}
	w.said = now
	w.opts.Log.Warn("lines of the "+w.opts.Name+" are missing: they came faster than they were written",
		"lines", w.missing, "dir", w.opts.Dir)
}

func (w *Writer) closeFile() {
	if w.file == nil {
		return
	}
	w.flush()
	if w.file != nil { // flush has not failed
		if err := w.file.Close(); err != nil {
			w.fail(fmt.Errorf("close: %w", err), time.Now())
		}
		w.file = nil
	}
}

// room is how many octets the other files may have.
func (w *Writer) room() int64 {
	if w.opts.MaxAll == 0 {
		return noLimit
	}
	return max(0, w.opts.MaxAll-w.size)
}
