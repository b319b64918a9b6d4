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
	recordRemoved byte = 'R' // messages that are not in a mailbox any more

	// removedPerRecord keeps records of the second kind small.
	removedPerRecord = 1000
	// patience is how long a deletion waits for room in the log.
	patience = 10 * time.Second
)

// journal is what stands between an acknowledgement and the sync behind it.
//
// A record of a message holds its file name, the mailboxes and its content; of messages removed, the mailbox and the
// file names. Strings and lists are written with their length before them.
type journal struct {
	log *durable.Log

	mu sync.Mutex
	// oldest is the smallest Name.ID of the messages in each file of the log; "" if there is none.
	oldest [2]string
}

// message returns when the log has the message. applied is to be called when it has its names, or will not get them.
func (j *journal) message(id, name string, dirs []string, content []byte) (applied func(), err error) {
	head := appendString([]byte{recordMessage}, name)
	head = binary.AppendUvarint(head, uint64(len(dirs)))
	for _, dir := range dirs {
		head = appendString(head, dir)
	}
	file, applied, err := j.log.Append(head, content)
	if err != nil {
		return nil, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.oldest[file] == "" || id < j.oldest[file] {
		j.oldest[file] = id
	}
	return applied, nil
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
		record := appendString([]byte{recordRemoved}, dir)
		for _, name := range some {
			record = appendString(record, name)
		}
		if err := j.append(record); err != nil {
			return fmt.Errorf("%s: deletions: %w", dir, err)
		}
	}
	return nil
}

// append waits for room: unlike a message, a deletion has no other way.
func (j *journal) append(record []byte) error {
	for waited, wait := time.Duration(0), time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		j.log.Announce()
		_, applied, err := j.log.Append(record)
		if err == nil {
			applied()
			return nil
		}
		if !errors.Is(err, durable.ErrLogFull) || waited >= patience {
			return err
		}
		time.Sleep(wait)
		waited += wait
	}
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

// logged is a message as the log has it.
type logged struct {
	name    string
	dirs    []string
	content []byte
}

// decode returns the message, or else what was removed from a mailbox.
func decode(record []byte) (m logged, dir string, removed []string, err error) {
	if len(record) == 0 {
		return m, "", nil, errRecord
	}
	d := decoder{rest: record[1:]}
	switch record[0] {
	case recordMessage:
		m.name = d.string()
		for range d.number() {
			m.dirs = append(m.dirs, d.string())
		}
		m.content = d.rest
	case recordRemoved:
		dir = d.string()
		for len(d.rest) > 0 {
			removed = append(removed, d.string())
		}
	default:
		d.err = errRecord
	}
	return m, dir, removed, d.err
}

// replay puts what an earlier process acknowledged back into the mailboxes, where it is missing, and finishes its
// deletions: what was being deleted may still have its name, though nobody ever synced what it names.
type replay struct {
	store *Store
	log   *slog.Logger

	mu    sync.Mutex
	last  map[string]*logged // by path, what became of it last: a message, or nil for a deletion
	order []string           // the paths, oldest first
	gone  map[string]bool    // paths that were deleted while the replay could not be done
	put   int                // messages that were missing, or not whole
}

// read takes a record.
func (r *replay) read(record []byte) error {
	m, dir, removed, err := decode(record)
	if err != nil {
		return err
	}
	for _, name := range removed {
		r.note(path.Join(dir, name), nil)
	}
	for _, dir := range m.dirs {
		r.note(path.Join(dir, m.name), &m)
	}
	return nil
}

func (r *replay) note(name string, m *logged) {
	if _, known := r.last[name]; !known {
		r.order = append(r.order, name)
	}
	r.last[name] = m
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
		if err := r.restoreOne(name, r.last[name]); err != nil {
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

func (r *replay) restoreOne(name string, m *logged) error {
	s := r.store
	if err := s.checkMailbox(path.Dir(name)); errors.Is(err, ErrNoMailbox) {
		return nil // removed since
	} else if err != nil {
		return err
	}
	there, err := s.fsys.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if m == nil {
			return nil
		}
	case err != nil:
		return err
	case !there.Mode().IsRegular(): // somebody's, and nobody's mail
		if m == nil {
			return nil
		}
		n, _ := ParseName(m.name)
		n.ID = s.ids.next()
		r.log.Warn("something that is no file has the name of a message; the message gets another", "file", name, "new name", n.String())
		name = path.Join(path.Dir(name), n.String())
	case m == nil:
		return s.fsys.Remove(name)
	default:
		if s.holds(name, m.content) {
			return nil
		}
	}
	r.put++
	return durable.WriteFile(s.fsys, name, m.content, filePerm)
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

// redo writes the files of a message anew while the server runs, after a failed sync. Only those that are still there:
// the rest has been deleted.
func (s *Store) redo(record []byte) error {
	m, _, _, err := decode(record)
	if err != nil {
		return err
	}
	for _, dir := range m.dirs {
		name := path.Join(dir, m.name)
		if _, err := s.fsys.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := durable.WriteFile(s.fsys, name, m.content, filePerm); err != nil {
			return err
		}
	}
	return nil
}
