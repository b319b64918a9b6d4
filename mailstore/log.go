package mailstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"pillarbox/mailstore/durable"
)

const (
	logDir      = "log"
	reserveFile = logDir + "/reserve"

	recordMessage byte = 'M' // a message and its mailboxes
	recordSpooled byte = 'S' // a message and its mailboxes, with its state in the spool
	recordLarge   byte = 'L' // either of these, with the content synced in incoming/
	recordState   byte = 'U' // a new state of a message in the spool
	recordRemoved byte = 'R' // files deleted from a mailbox or the spool

	// removedPerRecord is the largest number of file names in one recordRemoved.
	removedPerRecord = 1000
	// appendTimeout is the longest time that a change waits for space in the log.
	appendTimeout = 10 * time.Second

	// Disk space that a replay may take, in bytes, beside whole blocks of content.
	diskBlock   = 4096
	costOfInode = 512
	costOfName  = 256 // in a directory block that already has some
)

// storeLog writes the store's records into a durable.Log. It remembers what the records of each of
// the two segments refer to.
//
// The first byte of a record is its kind. The fields follow; strings and lists begin with their
// length:
//
//	recordMessage  file name, mailboxes, content
//	recordSpooled  id, state, file name, mailboxes, content
//	recordLarge    id, state ("": not in the spool), file name, mailboxes
//	recordState    id, state
//	recordRemoved  directory, file names; a name in DeletedDir is where the file of the name before
//	               it goes. Releases before undelete remove both.
type storeLog struct {
	log         *durable.Log
	reserve     *durable.Reserve
	reserveHeld atomic.Bool // the reserve exists, so a replay has space

	mu       sync.Mutex
	segments [2]segmentInfo
	last     int      // index of the segment with the last record
	obsolete []string // files in incoming/ that no record needs
}

// segmentInfo describes the records of one segment.
type segmentInfo struct {
	// oldest is the smallest Name.ID of its messages; "" means no message.
	oldest string
	// states are the latest states of messages in the spool, by id. An older state in the other
	// segment is dropped.
	states map[string][]byte
	large  []string // files in incoming/ that its records name
	// charged holds the directories whose next block is part of the cost of its records.
	charged map[string]bool
}

// submission is a message that is to be committed.
type submission struct {
	id, name string
	dirs     []string
	state    []byte // in the spool; nil: not for the spool
	content  []byte // nil: a large message

	announced bool // to the log
}

// message appends the record of a message and returns when it is durable. The caller calls applied
// once all names exist. message waits for space in the log. The error is durable.ErrRecordSize if
// the message is too large for the log.
func (l *storeLog) message(m submission) (applied func(), err error) {
	about := recordInfo{id: m.id, state: m.state, dirs: m.linkDirs(), announced: m.announced}
	if m.content == nil {
		about.large = path.Join(incomingDir, m.id)
	}
	return l.append(about, l.cost(m), m.head(), m.content)
}

// recordInfo is what remember keeps of a record. It is the zero value for a removal.
type recordInfo struct {
	id    string
	state []byte
	large string
	dirs  []string

	announced bool // to the log
}

// head returns the record without the content.
func (m submission) head() []byte {
	var head []byte
	switch {
	case m.content == nil:
		head = appendString(appendString([]byte{recordLarge}, m.id), string(m.state))
	case m.state != nil:
		head = appendString(appendString([]byte{recordSpooled}, m.id), string(m.state))
	default:
		head = []byte{recordMessage}
	}
	head = appendString(head, m.name)
	head = binary.AppendUvarint(head, uint64(len(m.dirs)))
	for _, dir := range m.dirs {
		head = appendString(head, dir)
	}
	return head
}

// cost returns the disk space that a replay of the message may take, in bytes.
func (l *storeLog) cost(m submission) int64 {
	cost := costOfFile(len(m.content))
	if m.state != nil {
		cost += costOfFile(len(m.state)) + costOfName
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	charged := l.segments[l.last].charged
	for _, dir := range m.linkDirs() {
		cost += costOfName
		if !charged[dir] {
			cost += diskBlock
		}
	}
	return cost
}

// linkDirs returns the directories in which the message gets a name.
func (m submission) linkDirs() []string {
	if m.state == nil {
		return m.dirs
	}
	return append(slices.Clone(m.dirs), spoolDir)
}

func costOfFile(size int) int64 {
	return int64(size+diskBlock-1)/diskBlock*diskBlock + costOfInode
}

// state appends a new state of a message in the spool, and returns when it is durable.
func (l *storeLog) state(id string, state []byte) (applied func(), err error) {
	about := recordInfo{id: id, state: state}
	return l.append(about, costOfFile(len(state)), appendString([]byte{recordState}, id), state)
}

// unspooled appends the removal of a message from the spool, and returns when it is durable.
func (l *storeLog) unspooled(id string) (applied func(), err error) {
	applied, err = l.append(recordInfo{}, 0, removal(spoolDir, spooledNames(id)))
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		for i := range l.segments {
			delete(l.segments[i].states, id)
		}
	}
	return applied, err
}

// removed appends the deletion of at most removedPerRecord messages of a mailbox, and returns when
// it is durable. Without this record a replay would bring the messages back. It returns those that
// the log may hold; the others need no record. The caller calls applied when the files are
// deleted.
func (l *storeLog) removed(dir string, all []doomed) (held []doomed, applied func(), err error) {
	held = slices.DeleteFunc(slices.Clone(all), func(d doomed) bool { return !l.mayHold(d.name) })
	if len(held) == 0 {
		return nil, func() {}, nil
	}
	var names []string
	for _, d := range held {
		names = append(names, d.name)
		if d.kept != "" {
			names = append(names, d.kept)
		}
	}
	applied, err = l.append(recordInfo{}, 0, removal(dir, names))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: deletions: %w", dir, err)
	}
	return held, applied, nil
}

// append appends a record, and waits for space if the log is full.
func (l *storeLog) append(
	about recordInfo, cost int64, parts ...[]byte,
) (applied func(), err error) {
	applied, err = l.appendNow(about, cost, parts)
	if !errors.Is(err, durable.ErrLogFull) {
		return applied, err
	}
	about.announced = false
	late := time.NewTimer(appendTimeout)
	defer late.Stop()
	for {
		room := l.log.Room()
		applied, err = l.appendNow(about, cost, parts)
		if !errors.Is(err, durable.ErrLogFull) {
			return applied, err
		}
		select {
		case <-room:
		case <-late.C:
			return nil, err
		}
	}
}

func (l *storeLog) appendNow(
	about recordInfo, cost int64, parts [][]byte,
) (applied func(), err error) {
	if !about.announced {
		l.log.Announce()
	}
	file, applied, err := l.log.Append(cost, parts...)
	if err == nil {
		l.remember(file, about)
	}
	return applied, err
}

// remember records what a record in a segment refers to.
func (l *storeLog) remember(file int, about recordInfo) {
	if about.id == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f := &l.segments[file]
	l.last = file
	for _, dir := range about.dirs {
		if f.charged == nil {
			f.charged = make(map[string]bool)
		}
		f.charged[dir] = true
	}
	if f.oldest == "" || about.id < f.oldest {
		f.oldest = about.id
	}
	if about.large != "" {
		f.large = append(f.large, about.large)
	}
	if about.state == nil {
		return
	}
	if f.states == nil {
		f.states = make(map[string][]byte)
	}
	f.states[about.id] = about.state
	delete(l.segments[1-file].states, about.id)
}

// emptied is called when a segment was emptied.
func (l *storeLog) emptied(file int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.obsolete = append(l.obsolete, l.segments[file].large...)
	l.segments[file] = segmentInfo{}
}

// takeObsolete returns the files that may be removed now, once.
func (l *storeLog) takeObsolete() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	obsolete := l.obsolete
	l.obsolete = nil
	return obsolete
}

// latestState returns the state of a message in the spool if the log has it. Until the next
// checkpoint the state's file is not trusted: its pages may have been dropped after a failed write.
func (l *storeLog) latestState(id string) ([]byte, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.segments {
		if state, ok := f.states[id]; ok {
			return state, true
		}
	}
	return nil, false
}

// avoids reports whether a new state of a message must be written to its file at once instead of the
// log: without the reserve a replay may have no space for it. If the log has an earlier state of the
// message, a replay would restore that, so the new state must follow it into the log.
func (l *storeLog) avoids(id string) bool {
	if l.reserveHeld.Load() {
		return false
	}
	_, logged := l.latestState(id)
	return !logged
}

// mayHold reports whether the log may hold a message with this file name.
func (l *storeLog) mayHold(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.segments[:], func(f segmentInfo) bool {
		return f.oldest != "" && name >= f.oldest
	})
}

func removal(dir string, names []string) []byte {
	record := appendString([]byte{recordRemoved}, dir)
	for _, name := range names {
		record = appendString(record, name)
	}
	return record
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// errRecord means that the kind of a record is unknown or its fields make no sense, although its
// checksum is right.
var errRecord = errors.New("the log holds a record that this version does not know")

// decoder parses a record. After an error it returns empty values only.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) number() int {
	n, used := binary.Uvarint(d.rest)
	if used <= 0 || n > uint64(len(d.rest)) {
		d.err, d.rest = errRecord, nil
		return 0
	}
	d.rest = d.rest[used:]
	return int(n)
}

func (d *decoder) string() string {
	n := d.number()
	if n > len(d.rest) {
		d.err, d.rest = errRecord, nil
		return ""
	}
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}

// source is the content of a file.
type source struct {
	content []byte
	large   string // the file that has the content; "": content
	moved   string // the file that gets another name: a deleted message; "": content or large
}

// change is the effect of a record on one file. A nil source means that the file is removed.
type change struct {
	path string
	*source
}

// removals parses the rest of a recordRemoved. A deleted message gets its new name before it loses
// the old one.
func (d *decoder) removals() (all []change) {
	dir := d.string()
	for len(d.rest) > 0 {
		name := d.string()
		if last := len(all) - 1; last >= 0 && path.Dir(name) == DeletedDir {
			from := all[last].path
			all[last] = change{path.Join(dir, name), &source{moved: from}}
			name = path.Base(from)
		}
		all = append(all, change{path: path.Join(dir, name)})
	}
	return all
}

// decode returns the changes of a record.
func decode(record []byte) (all []change, err error) {
	if len(record) == 0 {
		return nil, errRecord
	}
	d := decoder{rest: record[1:]}
	switch record[0] {
	case recordMessage:
		all = d.message("")
	case recordSpooled:
		id, state := d.string(), d.string()
		all = d.spooled(id, state, "")
	case recordLarge:
		id, state := d.string(), d.string()
		all = d.spooled(id, state, path.Join(incomingDir, id))
	case recordState:
		path := spooledState(d.string())
		all = []change{{path, &source{content: d.rest}}}
	case recordRemoved:
		all = d.removals()
	default:
		d.err = errRecord
	}
	return all, d.err
}

// message parses the rest of a message's record. Its files share one source.
func (d *decoder) message(large string) (all []change) {
	name := d.string()
	from := &source{large: large}
	for range d.number() {
		all = append(all, change{path.Join(d.string(), name), from})
	}
	if large == "" {
		from.content = d.rest
	}
	return all
}

// spooled is message for a record with a state; an empty state means that the message is not in the
// spool.
func (d *decoder) spooled(id, state, large string) []change {
	all := d.message(large)
	if state == "" {
		return all
	}
	from := &source{content: d.rest, large: large}
	if len(all) > 0 {
		from = all[0].source
	}
	return append(all,
		change{spooledMessage(id), from},
		change{spooledState(id), &source{content: []byte(state)}})
}
