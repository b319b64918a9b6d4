package mailstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"sync"
	"time"

	"pillarbox/mailstore/durable"
)

const (
	journalDir = "log"

	recordMessage byte = 'M' // a message and the mailboxes that it is in
	recordSpooled byte = 'S' // a message that is in the spool too, and its state there
	recordState   byte = 'U' // another state of a message in the spool
	recordRemoved byte = 'R' // files that are not in a mailbox, or the spool, any more

	// removedPerRecord keeps records of the second kind small.
	removedPerRecord = 1000
	// patience is how long a deletion waits for room in the log.
	patience = 10 * time.Second
)

// journal is what stands between an acknowledgement and the sync behind it.
//
// A record of a message holds its file name, the mailboxes and its content; one in the spool has its id and its state
// before that; a record of a state, the id and the state; of what was removed, the directory and the file names.
// Strings and lists are written with their length before them.
type journal struct {
	log *durable.Log

	mu sync.Mutex
	// oldest is the smallest Name.ID of the messages in each file of the log; "" if there is none.
	oldest [2]string
}

// message returns when the log has the message. applied is to be called when it has its names, or will not get them.
// A nil state says that it is not in the spool.
func (j *journal) message(id, name string, dirs []string, state, content []byte) (applied func(), err error) {
	head := []byte{recordMessage}
	if state != nil {
		head = appendString([]byte{recordSpooled}, id)
		head = appendString(head, string(state))
	}
	head = appendString(head, name)
	head = binary.AppendUvarint(head, uint64(len(dirs)))
	for _, dir := range dirs {
		head = appendString(head, dir)
	}
	file, applied, err := j.log.Append(head, content)
	if err != nil {
		return nil, err
	}
	j.note(file, id)
	return applied, nil
}

// note remembers which is the oldest message that a file of the log knows.
func (j *journal) note(file int, id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.oldest[file] == "" || id < j.oldest[file] {
		j.oldest[file] = id
	}
}

// cut is called when a file of the log was cut.
func (j *journal) cut(file int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.oldest[file] = ""
}

// holds reports whether the log may hold a message with this file name.
func (j *journal) holds(name string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.ContainsFunc(j.oldest[:], func(id string) bool { return id != "" && name >= id })
}

// withdrawn says that a message that the log has got no name, or lost it, in all of these mailboxes.
func (j *journal) withdrawn(name string, dirs []string) error {
	var errs []error
	for _, dir := range dirs {
		errs = append(errs, j.removed(dir, []string{name}))
	}
	return errors.Join(errs...)
}

// removed says that messages are about to be deleted from a mailbox: what the log holds of them must not bring
// them back. It returns when that is durable. Other names than those of messages in the log cost nothing.
func (j *journal) removed(dir string, names []string) error {
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !j.holds(name) })
	for some := range slices.Chunk(names, removedPerRecord) {
		_, applied, err := j.append(removal(dir, some))
		if err != nil {
			return fmt.Errorf("%s: deletions: %w", dir, err)
		}
		applied()
	}
	return nil
}

func stateRecord(id string, state []byte) []byte {
	return append(appendString([]byte{recordState}, id), state...)
}

func removal(dir string, names []string) []byte {
	record := appendString([]byte{recordRemoved}, dir)
	for _, name := range names {
		record = appendString(record, name)
	}
	return record
}

// append waits for room: unlike a message, a deletion has no other way.
func (j *journal) append(record []byte) (file int, applied func(), err error) {
	for waited, wait := time.Duration(0), time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		j.log.Announce()
		file, applied, err = j.log.Append(record)
		if err == nil || !errors.Is(err, durable.ErrLogFull) || waited >= patience {
			return file, applied, err
		}
		time.Sleep(wait)
		waited += wait
	}
}

// appendNow does not wait for room.
func (j *journal) appendNow(record []byte) (file int, applied func(), err error) {
	j.log.Announce()
	return j.log.Append(record)
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

// change is what a record says of one file: its content, or that it is gone.
type change struct {
	path    string
	content []byte
	removed bool
}

// decode returns what a record stands for.
func decode(record []byte) (all []change, err error) {
	if len(record) == 0 {
		return nil, errRecord
	}
	d := decoder{rest: record[1:]}
	switch record[0] {
	case recordMessage:
		all = d.message()
	case recordSpooled:
		id := d.string()
		state := []byte(d.string())
		all = d.message()
		all = append(all, change{path: spooledMessage(id), content: d.rest}, change{path: spooledState(id), content: state})
	case recordState:
		all = []change{{path: spooledState(d.string()), content: d.rest}}
	case recordRemoved:
		dir := d.string()
		for len(d.rest) > 0 {
			all = append(all, change{path: path.Join(dir, d.string()), removed: true})
		}
	default:
		d.err = errRecord
	}
	return all, d.err
}

// message leaves the content in rest.
func (d *decoder) message() (all []change) {
	name := d.string()
	for range d.number() {
		all = append(all, change{path: path.Join(d.string(), name)})
	}
	for i := range all {
		all[i].content = d.rest
	}
	return all
}

// replay puts what an earlier process acknowledged back into the mailboxes, where it is missing, and finishes its
// deletions: what was being deleted may still have its name, though nobody ever synced what it names.
type replay struct {
	store *Store
	log   *slog.Logger

	mu    sync.Mutex
	last  map[string]change // by path, what became of it last
	order []string          // the paths, oldest first
	gone  map[string]bool   // paths that were deleted while the replay could not be done
	put   int               // messages that were missing, or not whole
}

// read takes a record.
func (r *replay) read(record []byte) error {
	all, err := decode(record)
	if err != nil {
		return err
	}
	for _, c := range all {
		if _, known := r.last[c.path]; !known {
			r.order = append(r.order, c.path)
		}
		r.last[c.path] = c
	}
	return nil
}

// forget says that messages are about to be deleted, though the replay may not have been done yet.
func (r *replay) forget(dir string, names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone == nil {
		r.gone = make(map[string]bool)
	}
	for _, name := range names {
		r.gone[path.Join(dir, name)] = true
	}
}

// restore makes sure that every message is whole, in each mailbox that is still there, and what was deleted is not, and
// that all this is on the disk.
func (r *replay) restore() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, name := range r.order {
		if r.gone[name] {
			continue
		}
		if err := r.restoreOne(r.last[name]); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("%d messages: %w", len(errs), errs[0]) // the same disk fails them alike
	}
	if len(r.order) == 0 {
		return nil
	}
	r.log.Info("the log of an earlier run was replayed", "messages", len(r.order), "put back", r.put)
	return r.store.fsys.SyncAll()
}

func (r *replay) restoreOne(c change) error {
	s := r.store
	if err := s.checkMailbox(path.Dir(c.path)); errors.Is(err, ErrNoMailbox) {
		return nil // removed since
	} else if err != nil {
		return err
	}
	name := c.path
	there, err := s.fsys.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if c.removed {
			return nil
		}
	case err != nil:
		return err
	case !there.Mode().IsRegular(): // somebody's, and nobody's mail
		if c.removed {
			return nil
		}
		n, _ := ParseName(path.Base(name))
		n.ID = s.ids.next()
		r.log.Warn("something that is no file has the name of a message; the message gets another", "file", name, "new name", n.String())
		name = path.Join(path.Dir(name), n.String())
	case c.removed:
		return s.fsys.Remove(name)
	default:
		if s.holds(name, c.content) {
			return nil
		}
	}
	r.put++
	return durable.WriteFile(s.fsys, name, c.content, filePerm)
}

// holds reports whether a regular file can be read and holds this.
func (s *Store) holds(name string, content []byte) bool {
	f, fi, err := s.openRegular(name)
	if err != nil {
		return false
	}
	defer f.Close()
	if fi.Size() != int64(len(content)) {
		return false
	}
	there, err := io.ReadAll(f)
	return err == nil && bytes.Equal(there, content)
}

// redo writes the files of a record anew while the server runs, after a failed sync. Only those that are still there:
// the rest has been deleted.
func (s *Store) redo(record []byte) error {
	all, err := decode(record)
	if err != nil {
		return err
	}
	for _, c := range all {
		if c.removed {
			continue
		}
		if err := s.redoOne(c); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) redoOne(c change) error {
	if isState(c.path) {
		return s.spool.redo(c.path)
	}
	if _, err := s.fsys.Lstat(c.path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return durable.WriteFile(s.fsys, c.path, c.content, filePerm)
}
