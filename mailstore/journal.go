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
	journalDir  = "log"
	reserveFile = journalDir + "/reserve"

	recordMessage byte = 'M' // a message and the mailboxes that it is in
	recordSpooled byte = 'S' // a message that is in the spool too, and its state there
	recordLarge   byte = 'L' // as the two above, for a message whose content is synced in the incoming directory
	recordState   byte = 'U' // another state of a message in the spool
	recordRemoved byte = 'R' // files that are not in a mailbox, or the spool, any more

	// removedPerRecord keeps records of the last kind small.
	removedPerRecord = 1000
	// patience is how long a change waits for room in the log.
	patience = 10 * time.Second

	// What a replay may take from the disk, in bytes, beside whole blocks of content.
	diskBlock   = 4096
	costOfInode = 512
	costOfName  = 256 // in a directory that has room for some already
)

// journal is what stands between an acknowledgement and the sync that follows it.
//
// A record of a message holds its file name, the mailboxes and its content; one in the spool has its id and its state
// before that. A record of a large message has its id and state in any case, an empty state meaning that it is not in the
// spool, and no content. A record of a state has the id and the state; of what was removed, the directory and the file
// names. Strings and lists are written with their length before them.
type journal struct {
	log     *durable.Log
	reserve *durable.Reserve
	held    atomic.Bool // the reserve is whole, so that a replay cannot fail for want of room

	mu    sync.Mutex
	files [2]logged
	last  int      // the file that had the last record
	trash []string // files in the incoming directory that no record needs any more
}

// logged is what one file of the log knows.
type logged struct {
	oldest string            // the smallest Name.ID of its messages; "": it has none
	states map[string][]byte // of messages in the spool, by id, unless the other file has a later one
	large  []string          // files in the incoming directory that its records need
	paid   map[string]bool   // directories whose next block is in the cost of its records
}

// submission is a message that is to be committed.
type submission struct {
	id, name string
	dirs     []string
	state    []byte // in the spool; nil: it does not go there
	content  []byte // nil: of a large message

	announced bool // to the log
}

// message returns when the log has the message. applied is to be called when it has its names. It waits for room in the
// log. The error is durable.ErrRecordSize if the log cannot have a message of this size.
func (j *journal) message(m submission) (applied func(), err error) {
	about := noted{id: m.id, state: m.state, dirs: m.places(), announced: m.announced}
	if m.content == nil {
		about.large = path.Join(incomingDir, m.id)
	}
	return j.append(about, j.cost(m), m.head(), m.content)
}

// noted is what is remembered of a record: a message, perhaps with its state in the spool, or its file in the incoming
// directory. The zero value is that of a removal.
type noted struct {
	id    string
	state []byte
	large string
	dirs  []string

	announced bool // the record, to the log
}

// head is the record without the content.
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

// cost is what a replay of the message may take from the disk.
func (j *journal) cost(m submission) int64 {
	cost := costOfFile(len(m.content))
	if m.state != nil {
		cost += costOfFile(len(m.state)) + costOfName
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	paid := j.files[j.last].paid
	for _, dir := range m.places() {
		cost += costOfName
		if !paid[dir] {
			cost += diskBlock
		}
	}
	return cost
}

// places are the directories that the message gets a name in.
func (m submission) places() []string {
	if m.state == nil {
		return m.dirs
	}
	return append(slices.Clone(m.dirs), spoolDir)
}

func costOfFile(size int) int64 {
	return int64(size+diskBlock-1)/diskBlock*diskBlock + costOfInode
}

// state returns when the log has another state of a message in the spool.
func (j *journal) state(id string, state []byte) (applied func(), err error) {
	return j.append(noted{id: id, state: state}, costOfFile(len(state)), appendString([]byte{recordState}, id), state)
}

// unspooled returns when the log knows that a message leaves the spool.
func (j *journal) unspooled(id string) (applied func(), err error) {
	applied, err = j.append(noted{}, 0, removal(spoolDir, spooledNames(id)))
	if err == nil {
		j.mu.Lock()
		defer j.mu.Unlock()
		for i := range j.files {
			delete(j.files[i].states, id)
		}
	}
	return applied, err
}

// removed says that messages are about to be deleted from a mailbox, not more than removedPerRecord: what the log holds
// of them must not bring them back. It returns when that is durable, with those of the names that the log may hold; others
// cost nothing. applied is to be called when they are deleted.
func (j *journal) removed(dir string, names []string) (held []string, applied func(), err error) {
	held = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !j.holds(name) })
	if len(held) == 0 {
		return nil, func() {}, nil
	}
	applied, err = j.append(noted{}, 0, removal(dir, held))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: deletions: %w", dir, err)
	}
	return held, applied, nil
}

// append waits for room.
func (j *journal) append(about noted, cost int64, parts ...[]byte) (applied func(), err error) {
	applied, err = j.appendNow(about, cost, parts)
	if !errors.Is(err, durable.ErrLogFull) {
		return applied, err
	}
	about.announced = false
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		room := j.log.Room()
		applied, err = j.appendNow(about, cost, parts)
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

func (j *journal) appendNow(about noted, cost int64, parts [][]byte) (applied func(), err error) {
	if !about.announced {
		j.log.Announce()
	}
	file, applied, err := j.log.Append(cost, parts...)
	if err == nil {
		j.note(file, about)
	}
	return applied, err
}

// note remembers what a file of the log knows.
func (j *journal) note(file int, about noted) {
	if about.id == "" {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	f := &j.files[file]
	j.last = file
	for _, dir := range about.dirs {
		if f.paid == nil {
			f.paid = make(map[string]bool)
		}
		f.paid[dir] = true
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
	delete(j.files[1-file].states, about.id)
}

// cut is called when a file of the log was cut.
func (j *journal) cut(file int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.trash = append(j.trash, j.files[file].large...)
	j.files[file] = logged{}
}

// takeTrash returns the files that may be removed now.
func (j *journal) takeTrash() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	trash := j.trash
	j.trash = nil
	return trash
}

// lastState is the state of a message in the spool, if the log has it. The file of the state is not trusted before the
// sync that cuts the log: a page that could not be written may have been dropped.
func (j *journal) lastState(id string) ([]byte, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, f := range j.files {
		if state, ok := f.states[id]; ok {
			return state, true
		}
	}
	return nil, false
}

// avoids reports whether a new state of a message must not go through the log, but to its file at once: without the
// reserve a replay may have no room for it. A state that the log has already would come back at a replay; so another one
// must follow it there.
func (j *journal) avoids(id string) bool {
	if j.held.Load() {
		return false
	}
	_, logged := j.lastState(id)
	return !logged
}

// holds reports whether the log may hold a message with this file name.
func (j *journal) holds(name string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.ContainsFunc(j.files[:], func(f logged) bool { return f.oldest != "" && name >= f.oldest })
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

// errRecord says that a record is none of ours, although its checksum is right.
var errRecord = errors.New("the log holds a record that this version does not know")

// decoder takes a record apart. After an error everything is empty.
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

// source is what a file's content comes from.
type source struct {
	content []byte
	large   string // the file that has it; "": content has it
}

// change is what a record says of one file: its content, or that it is gone.
type change struct {
	path string
	*source
}

// decode returns what a record stands for. A change without a source is a removal.
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
		dir := d.string()
		for len(d.rest) > 0 {
			all = append(all, change{path: path.Join(dir, d.string())})
		}
	default:
		d.err = errRecord
	}
	return all, d.err
}

// message reads the rest of a record of a message, whose files share one source.
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

// spooled is message for one that is in the spool, if it has a state.
func (d *decoder) spooled(id, state, large string) []change {
	all := d.message(large)
	if state == "" {
		return all
	}
	from := &source{content: d.rest, large: large}
	if len(all) > 0 {
		from = all[0].source
	}
	return append(all, change{spooledMessage(id), from}, change{spooledState(id), &source{content: []byte(state)}})
}
