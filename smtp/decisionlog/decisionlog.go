// Package decisionlog stores the latest decisions of package policy with their facts. An
// administrator can ask what a changed configuration would change, and which machine could not
// send. The log is not a complete record: mail never waits for it, its files are never synced, and
// records that come too fast are dropped and counted.
//
// Files below the data directory:
//
//	journal/decisions.jsonl     JSON, one decision per line, the newest last
//	journal/decisions.1.jsonl   the decisions before: the first file after it has reached MaxSize
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

	// MaxSize is the largest size of each of the two files, in octets.
	MaxSize   = 4 << 20
	maxRecord = 64 << 10
	queue     = 1024
)

// CauseQuota is the cause of a refusal for lack of room in a mailbox.
const CauseQuota = "quota"

// CauseMailbox is the cause of a refusal by a rule of the recipient's mailbox.
const CauseMailbox = "mailbox"

// Record is one decision. It holds no password, because facts hold none.
type Record struct {
	Time    time.Time    `json:"time"`
	Trace   string       `json:"trace"` // the id in the refusal and in the log; "" for an accept
	Stage   string       `json:"stage,omitempty"`
	Cause   string       `json:"cause,omitempty"` // "": the rules; else CauseQuota or CauseMailbox
	Facts   policy.Facts `json:"facts"`
	Verdict string       `json:"verdict"`         // policy.Verdict as a word
	Reply   string       `json:"reply,omitempty"` // to the client; "" for an accept
}

// Refused reports whether the decision was a refusal.
func (r Record) Refused() bool { return r.Verdict == policy.Refuse.String() }

// Log stores records. It is safe for concurrent use.
type Log struct {
	fsys    durable.FS
	dropped atomic.Uint64
	done    chan struct{} // closed after the last record is written

	mu     sync.RWMutex // held to close queue; read-locked to send to it
	queue  chan *Record
	closed bool // owner: mu

	// The fields below belong to the goroutine of run.
	file durable.File // nil means not open
	size int64
	max  int64
}

// Open returns a Log below a data directory. It creates the file with the first record, and opens
// it again after an error. The caller must close the Log.
func Open(fsys durable.FS) *Log {
	j := &Log{fsys: fsys, done: make(chan struct{}), queue: make(chan *Record, queue), max: MaxSize}
	go j.run()
	return j
}

// Add queues a record and never waits. The caller must not change the record afterwards.
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

// Dropped returns the number of records that were not written: they came too fast, they were too
// long, or the disk failed.
func (j *Log) Dropped() uint64 { return j.dropped.Load() }

// Close writes the queued records. Records that are added later are dropped.
func (j *Log) Close() {
	j.mu.Lock()
	if !j.closed {
		j.closed = true
		close(j.queue)
	}
	j.mu.Unlock()
	<-j.done
}

// run writes the queued records, as many at a time as are waiting.
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
			j.closeFile() // the next batch opens it again
		}
	}
	j.closeFile()
}

func (j *Log) closeFile() {
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
		j.closeFile()
		if err := errors.Join(j.fsys.Rename(current, older), j.open()); err != nil {
			return err
		}
	}
	n, err := j.file.Write(batch)
	j.size += int64(n)
	return err
}

// open opens the file to append to it. If a crash has cut the last line short, open ends that line,
// so that the next record begins a line of its own.
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
