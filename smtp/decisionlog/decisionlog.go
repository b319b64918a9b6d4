// Package decisionlog keeps the last decisions, facts only, so that an administrator
// can ask why something was refused, what a changed configuration would change,
// and which machine it was that could not send. It is a help, no record: mail
// never waits for it or fails with it, nothing is synced, and what comes too
// fast is dropped and counted.
//
// Below the data directory:
//
//	journal/decisions.jsonl     JSON, a decision a line, the newest last
//	journal/decisions.1.jsonl   those before, once the first has reached MaxSize
package decisionlog

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"pillarbox/mailstore/durable"
	"pillarbox/smtp/policy"
)

const (
	dir     = "journal"
	current = "journal/decisions.jsonl"
	older   = "journal/decisions.1.jsonl"

	// MaxSize is the length of a file in octets at which the next is begun. There
	// are two.
	MaxSize   = 4 << 20
	maxRecord = 64 << 10
	queue     = 1024
)

// Record is one decision. It holds no password: facts have none.
type Record struct {
	Time    time.Time    `json:"time"`
	Trace   string       `json:"trace"` // as in the refusal and in the log
	Stage   string       `json:"stage,omitempty"`
	Facts   policy.Facts `json:"facts"`
	Verdict string       `json:"verdict"`         // as policy.Verdict says it
	Reply   string       `json:"reply,omitempty"` // to the client; "" when accepted
}

// Refused reports whether it was a refusal.
func (r Record) Refused() bool { return r.Verdict == policy.Refuse.String() }

// Log takes records. Safe for concurrent use.
type Log struct {
	fsys    durable.FS
	dropped atomic.Uint64
	done    chan struct{} // closed when the last record has been written

	mu     sync.RWMutex // guards the end of queue, not its use
	queue  chan *Record
	closed bool // owner: mu

	// Of the writer alone:
	file durable.File // nil: not open
	size int64
	max  int64
}

// Open returns a Log below a data directory. The file is made when there is
// something to write, and made again should it vanish with an error. Close it.
func Open(fsys durable.FS) *Log {
	j := &Log{fsys: fsys, done: make(chan struct{}), queue: make(chan *Record, queue), max: MaxSize}
	go j.run()
	return j
}

// Add writes a record soon. It never waits; the record must not change any more.
func (j *Log) Add(r Record) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	if j.closed {
		j.dropped.Add(1)
		return
	}
	select {
	case j.queue <- &r:
	default:
		j.dropped.Add(1)
	}
}

// Dropped is how many records have not been written, be it that they came too
// fast, that they were too long, or that the disk failed.
func (j *Log) Dropped() uint64 { return j.dropped.Load() }

// Close writes what was added before it. Later records are dropped.
func (j *Log) Close() {
	j.mu.Lock()
	if !j.closed {
		j.closed = true
		close(j.queue)
	}
	j.mu.Unlock()
	<-j.done
}

// run writes what comes, in pieces as large as what waits.
func (j *Log) run() {
	defer close(j.done)
	var batch []byte
	for r := range j.queue {
		lines := 0
		for batch = batch[:0]; ; r = <-j.queue {
			if line, err := json.Marshal(r); err != nil || len(line) > maxRecord {
				j.dropped.Add(1)
			} else {
				batch = append(append(batch, line...), '\n')
				lines++
			}
			if len(batch) >= maxRecord || len(j.queue) == 0 {
				break
			}
		}
		if err := j.write(batch); err != nil {
			j.dropped.Add(uint64(lines))
			j.shut() // the next batch tries from the beginning
		}
	}
	j.shut()
}

func (j *Log) shut() {
	if j.file != nil {
		j.file.Close()
		j.file = nil
	}
}

func (j *Log) write(batch []byte) error {
	if err := j.open(); err != nil {
		return err
	}
	if j.size > 0 && j.size+int64(len(batch)) > j.max {
		j.shut()
		if err := errors.Join(j.fsys.Rename(current, older), j.open()); err != nil {
			return err
		}
	}
	n, err := j.file.Write(batch)
	j.size += int64(n)
	return err
}

// open appends to what is there. A line that a crash has torn is ended first, or
// it would spoil the next one too.
func (j *Log) open() (err error) {
	if j.file != nil {
		return nil
	}
	if err := j.fsys.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if j.file, err = j.fsys.OpenFile(current, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		j.file = nil
		return err
	}
	if j.size, err = j.file.Seek(0, io.SeekEnd); err != nil || j.size == 0 {
		return err
	}
	last := make([]byte, 1)
	if _, err = j.file.Seek(-1, io.SeekEnd); err != nil {
		return err
	}
	if _, err = io.ReadFull(j.file, last); err != nil || last[0] == '\n' {
		return err
	}
	n, err := j.file.Write([]byte{'\n'})
	j.size += int64(n)
	return err
}
