// Package badmail keeps what can neither be delivered nor be reported, in data/badmail, for an administrator to look at. Of
// each message there is itself (.eml), mostly its envelope (.env), and why it is there (.txt). Strangers can make it grow, so
// it has a ceiling, by age and by size: the oldest go first.
package badmail

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"pillarbox/mailstore/durable"
)

// Dir is where the files are.
const Dir = "badmail"

const (
	perm = 0o600
	// block is what a file takes on the disk at least.
	block = 4096
	// logRest is the time between two lines in the log about messages that were kept.
	logRest = time.Minute
)

// Limits are the ceiling. A zero is no limit.
type Limits struct {
	Age  time.Duration
	Size int64 // octets on the disk
}

// Usage is how much is kept.
type Usage struct {
	Messages int
	Size     int64 // octets on the disk
	Limit    int64 // of them; 0: none
}

// Message is a message to be kept.
type Message struct {
	Original func() (io.ReadCloser, error)
	Size     int64  // octets of the original; 0: not known
	Envelope []byte // nil: there is none
	Reason   string // lines of text
}

// Store keeps messages within its limits. It is safe for concurrent use.
type Store struct {
	fsys  durable.FS
	log   *slog.Logger
	grown func(Usage) // is told once when half of the ceiling is used

	mu      sync.Mutex
	limits  Limits
	read    bool // the directory was
	readAt  time.Time
	kept    []kept
	size    int64
	told    bool // that half is used
	logged  time.Time
	unsaid  int // messages kept since the last line in the log
	dropped int // removed since then, to stay within the ceiling
}

// kept is a message as the store knows it, the oldest first in Store.kept.
type kept struct {
	id   string
	at   time.Time
	size int64
}

// New makes a Store below the data directory. grown is told when half of the ceiling by size is used, and then not again
// until less than a quarter is; it must not block. It may be nil.
func New(fsys durable.FS, log *slog.Logger, grown func(Usage)) *Store {
	return &Store{fsys: fsys, log: log, grown: grown}
}

// SetLimits changes the ceiling. It holds from the next Put or Trim on.
func (s *Store) SetLimits(l Limits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits = l
}

// Put keeps a message under a name that begins with id, durably, and removes the oldest until all is within the ceiling. A
// message that is larger than the whole ceiling is not kept.
func (s *Store) Put(id string, m Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.readOnce(); err != nil {
		return err
	}
	if s.limits.Size > 0 && m.Size > s.limits.Size {
		s.log.Warn("message not kept in badmail: it is larger than all that may be there", "id", id, "size", m.Size, "limit", s.limits.Size)
		return nil
	}
	name, err := s.write(id, m)
	if err != nil {
		return err
	}
	one := kept{name, time.Now(), s.measure(name)}
	s.kept = append(s.kept, one)
	s.size += one.size
	s.unsaid++
	if err := s.trim(one.at); err != nil { // the message is there all the same
		s.log.Error("cannot remove old messages from badmail", "error", err)
	}
	s.tell(one.at)
	return nil
}

// write makes the files of a message. The envelope comes last: it says that the others are whole.
func (s *Store) write(id string, m Message) (name string, err error) {
	if err := s.fsys.MkdirAll(Dir, 0o700); err != nil {
		return "", err
	}
	name, err = s.freeName(id)
	if err != nil {
		return "", err
	}
	r, err := m.Original()
	if err != nil {
		return "", err
	}
	defer r.Close()
	file := path.Join(Dir, name)
	if err := durable.WriteFrom(s.fsys, file+".eml", r, perm); err != nil {
		return "", err
	}
	if err := durable.WriteFile(s.fsys, file+".txt", []byte(m.Reason), perm); err != nil {
		return "", errors.Join(err, s.remove(name))
	}
	if m.Envelope == nil {
		return name, nil
	}
	if err := durable.WriteFile(s.fsys, file+".env", m.Envelope, perm); err != nil {
		return "", errors.Join(err, s.remove(name))
	}
	return name, nil
}

// measure is what the files of a message take on the disk.
func (s *Store) measure(name string) (size int64) {
	for _, suffix := range suffixes() {
		if fi, err := s.fsys.Lstat(path.Join(Dir, name+suffix)); err == nil {
			size += onDisk(fi.Size())
		}
	}
	return size
}

// freeName is a name that no file has: the recipients of one message may fail one after the other.
func (s *Store) freeName(id string) (string, error) {
	for n, free := 2, id; ; n++ {
		_, err := s.fsys.Lstat(path.Join(Dir, free+".eml"))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return free, nil
		case err != nil:
			return "", err
		}
		free = fmt.Sprintf("%s-%d", id, n)
	}
}

// Trim reads the directory again, which people may have changed, and removes the messages beyond the ceiling.
func (s *Store) Trim() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read = false
	if err := s.readOnce(); err != nil {
		return err
	}
	now := time.Now()
	err := s.trim(now)
	s.tell(now)
	return err
}

// Remove deletes a message, durably. A message that does not exist is no error.
func (s *Store) Remove(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := slices.IndexFunc(s.kept, func(k kept) bool { return k.id == id }); at >= 0 {
		s.size -= s.kept[at].size
		s.kept = slices.Delete(s.kept, at, at+1)
	}
	return s.remove(id)
}

// Usage is how much is kept, as far as the store knows.
func (s *Store) Usage() Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.usage()
}

func (s *Store) usage() Usage { return Usage{len(s.kept), s.size, s.limits.Size} }

// readOnce reads the directory, unless that was done before.
func (s *Store) readOnce() error {
	if s.read {
		return nil
	}
	all, err := List(s.fsys)
	if err != nil {
		return err
	}
	first := s.kept == nil
	s.kept, s.size = make([]kept, 0, len(all)), 0
	for _, e := range all {
		s.kept = append(s.kept, kept{e.ID, e.Kept, e.Size})
		s.size += e.Size
	}
	if first { // a restart does not repeat a notice
		s.told = s.half()
	}
	s.read, s.readAt = true, time.Now()
	return nil
}

// readRest is the time between two looks at the directory, which costs a call for each file.
const readRest = time.Minute

// trim removes the oldest until all is within the ceiling. What people have removed by hand counts no more.
func (s *Store) trim(now time.Time) error {
	if s.limits.Size > 0 && s.size > s.limits.Size && now.Sub(s.readAt) > readRest {
		s.read = false
		if err := s.readOnce(); err != nil {
			return err
		}
	}
	for len(s.kept) > 0 && s.limits.exceeded(s.kept[0].at, s.size, now) {
		old := s.kept[0]
		if err := s.remove(old.id); err != nil {
			return err
		}
		s.kept, s.size = s.kept[1:], s.size-old.size
		s.dropped++
	}
	return nil
}

// exceeded reports whether the oldest message has to go.
func (l Limits) exceeded(oldest time.Time, size int64, now time.Time) bool {
	return l.Size > 0 && size > l.Size || l.Age > 0 && now.Sub(oldest) > l.Age
}

// tell says in the log, and to whom it may concern, that the store has grown or has lost something.
func (s *Store) tell(now time.Time) {
	if s.unsaid+s.dropped > 0 && (s.logged.IsZero() || now.Sub(s.logged) >= logRest) {
		s.log.Warn("messages kept in badmail, which can neither be delivered nor reported; 'pillarbox admin badmail list' shows them",
			"new", s.unsaid, "removed", s.dropped, "messages", len(s.kept), "size", s.size, "limit", s.limits.Size)
		s.logged, s.unsaid, s.dropped = now, 0, 0
	}
	switch {
	case s.half() && !s.told:
		s.told = true
		if s.grown != nil {
			s.grown(s.usage())
		}
	case s.size < s.mark()/2:
		s.told = false
	}
}

func (s *Store) half() bool { return s.size >= s.mark() }

// mark is the size that people are told of.
func (s *Store) mark() int64 {
	if s.limits.Size > 0 {
		return s.limits.Size / 2
	}
	return 50_000_000
}

func (s *Store) remove(id string) error { return Remove(s.fsys, id) }

// onDisk is what a file takes, at least.
func onDisk(size int64) int64 { return (size + block - 1) / block * block }

// suffixes are those of a message's files. The message itself is removed last: a crash before that leaves it to be found.
func suffixes() []string { return []string{".env", ".txt", ".eml"} }

// Entry is a message that is kept.
type Entry struct {
	ID       string    `json:"id"`
	Kept     time.Time `json:"kept"` // since when
	Size     int64     `json:"size"` // octets on the disk, of all its files
	Message  int64     `json:"message_size"`
	Files    []string  `json:"files"`
	Complete bool      `json:"complete"` // the message and its envelope are there
}

// Has reports whether it has a file with this suffix.
func (e *Entry) Has(suffix string) bool { return slices.Contains(e.Files, e.ID+suffix) }

// List returns the messages that are kept below a data directory, the oldest first. A missing directory is no error.
func List(fsys durable.FS) ([]Entry, error) {
	names, err := fsys.ReadNames(Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	slices.Sort(names)
	found := make(map[string]*Entry)
	for _, name := range names {
		suffix := path.Ext(name)
		if durable.IsTemp(name) || !slices.Contains(suffixes(), suffix) {
			continue
		}
		fi, err := fsys.Lstat(path.Join(Dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		id := strings.TrimSuffix(name, suffix)
		if found[id] == nil {
			found[id] = &Entry{ID: id, Kept: fi.ModTime()}
		}
		found[id].add(name, suffix, fi)
	}
	all := make([]Entry, 0, len(found))
	for _, e := range found {
		e.Complete = e.Has(".eml") && e.Has(".env")
		all = append(all, *e)
	}
	slices.SortFunc(all, func(a, b Entry) int { return cmp.Or(a.Kept.Compare(b.Kept), cmp.Compare(a.ID, b.ID)) })
	return all, nil
}

func (e *Entry) add(name, suffix string, fi fs.FileInfo) {
	e.Files = append(e.Files, name)
	e.Size += onDisk(fi.Size())
	if fi.ModTime().Before(e.Kept) {
		e.Kept = fi.ModTime()
	}
	if suffix == ".eml" {
		e.Message = fi.Size()
	}
}

// Read returns one file of an entry, such as ".txt".
func Read(fsys durable.FS, id, suffix string) ([]byte, error) {
	return durable.ReadSmall(fsys, path.Join(Dir, id+suffix), durable.MaxSmall)
}

// Remove deletes a message's files, durably. A missing file is no error.
func Remove(fsys durable.FS, id string) error {
	for _, suffix := range suffixes() {
		if err := fsys.Remove(path.Join(Dir, id+suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return fsys.SyncDir(Dir)
}
