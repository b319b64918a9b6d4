// Package badmail keeps messages that can be neither delivered nor reported, in data/badmail, for
// an administrator. Each message has up to three files: the message (.eml), its envelope (.env,
// usually present) and the reason (.txt). Start with Store; its callers are the delivery package
// and the POP3 collector. Remote senders can fill the directory, so Store limits its age and size:
// the oldest messages are deleted first.
package badmail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"pillarbox/mailstore/durable"
)

// Dir is the directory, relative to the data directory.
const Dir = "badmail"

const (
	perm = 0o600
	// block is the disk space that a file takes at least, in octets.
	block = 4096
	// logRest is the shortest time between two log lines about kept messages.
	logRest = time.Minute
)

// Limits limit what is kept. 0 means no limit.
type Limits struct {
	Age  time.Duration
	Size int64 // octets on disk
}

// Usage says how much is kept.
type Usage struct {
	Messages int
	Size     int64 // octets on disk
	Limit    int64 // octets; 0: no limit
}

// Message is a message to be kept.
type Message struct {
	Original func() (io.ReadCloser, error)
	Size     int64  // octets of the original; 0: unknown
	Envelope []byte // nil: none
	Reason   string // lines of text
}

// Store keeps messages within its limits. It is safe for concurrent use.
type Store struct {
	fsys  durable.FS
	log   *slog.Logger
	grown func(Usage) // called once when half of the limit is used

	last atomic.Pointer[Usage] // after the last operation

	busy     durable.Mutex // guards all below; an operation holds it while the disk works
	limits   Limits
	read     bool // the directory has been read
	readAt   time.Time
	kept     []kept
	size     int64
	told     bool // grown was called
	logged   time.Time
	unlogged int // messages kept since the last log line
	dropped  int // messages deleted for the limits since then
}

// kept is a message in Store.kept, which has the oldest first.
type kept struct {
	id   string
	at   time.Time
	size int64
}

// New returns a Store below the data directory. grown is called when half of the size limit is
// used. It is called again only after the size fell below a quarter. grown must not block; it may
// be nil.
func New(fsys durable.FS, log *slog.Logger, grown func(Usage)) *Store {
	return &Store{fsys: fsys, log: log, grown: grown, busy: durable.NewMutex()}
}

// begin waits until no other operation is under way. The function that it returns ends the operation.
func (s *Store) begin() (end func()) {
	s.busy.Lock()
	return func() {
		used := s.usage()
		s.last.Store(&used)
		s.busy.Unlock()
	}
}

// SetLimits changes the limits. They apply from the next Put or Trim on.
func (s *Store) SetLimits(l Limits) {
	defer s.begin()()
	s.limits = l
}

// Put stores a message durably, under a name that starts with id. Then it deletes the oldest
// messages until the limits are met. A message larger than the whole limit is not stored.
func (s *Store) Put(id string, m Message) error {
	defer s.begin()()
	if err := s.readOnce(); err != nil {
		return err
	}
	if s.limits.Size > 0 && m.Size > s.limits.Size {
		s.log.Warn("message not kept in badmail: it is larger than the size limit",
			"message_id", id, "size", m.Size, "limit", s.limits.Size)
		return nil
	}
	name, err := s.write(id, m)
	if err != nil {
		return err
	}
	one := kept{name, time.Now(), s.measure(name)}
	s.kept = append(s.kept, one)
	s.size += one.size
	s.unlogged++
	if err := s.trim(one.at); err != nil { // the message is stored all the same
		s.log.Error("cannot delete old messages from badmail", "error", err)
	}
	s.tell(one.at)
	return nil
}

// write writes the files of a message. The envelope comes last: its presence shows that the others
// are complete.
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

// measure returns the size of a message's files on disk, in octets.
func (s *Store) measure(name string) (size int64) {
	for _, suffix := range suffixes() {
		if fi, err := s.fsys.Lstat(path.Join(Dir, name+suffix)); err == nil {
			size += onDisk(fi.Size())
		}
	}
	return size
}

// freeName returns an unused name. One message may come several times, once for each recipient that
// failed.
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

// Trim reads the directory again, because an administrator may have changed it. Then it deletes
// messages beyond the limits.
func (s *Store) Trim() error {
	defer s.begin()()
	s.read = false
	if err := s.readOnce(); err != nil {
		return err
	}
	now := time.Now()
	err := s.trim(now)
	s.tell(now)
	return err
}

// trimInterval is the time between two calls of Trim by Run.
const trimInterval = time.Hour

// Run calls Trim at once and every hour, until ctx ends.
func (s *Store) Run(ctx context.Context) {
	ticks := time.NewTicker(trimInterval)
	defer ticks.Stop()
	for {
		if err := s.Trim(); err != nil {
			s.log.Error("cannot delete old messages from badmail", "error", err)
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return
		}
	}
}

// Remove deletes a message, durably. A message that does not exist is no error.
func (s *Store) Remove(id string) error {
	defer s.begin()()
	if at := slices.IndexFunc(s.kept, func(k kept) bool { return k.id == id }); at >= 0 {
		s.size -= s.kept[at].size
		s.kept = slices.Delete(s.kept, at, at+1)
	}
	return s.remove(id)
}

// Usage returns how much is kept, by the store's last look at the directory. It never waits for the disk:
// during an operation it returns what was kept before.
func (s *Store) Usage() Usage {
	if last := s.last.Load(); last != nil {
		return *last
	}
	return Usage{}
}

func (s *Store) usage() Usage { return Usage{len(s.kept), s.size, s.limits.Size} }

// readOnce reads the directory if it has not been read yet.
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
	if first { // no second notice after a restart
		s.told = s.half()
	}
	s.read, s.readAt = true, time.Now()
	return nil
}

// readRest is the shortest time between two reads of the directory in trim. A read costs a call for
// each file.
const readRest = time.Minute

// trim deletes the oldest messages until the limits are met. Before that it takes note of files
// that an administrator has deleted.
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

// exceeded reports whether the oldest message must be deleted.
func (l Limits) exceeded(oldest time.Time, size int64, now time.Time) bool {
	return l.Size > 0 && size > l.Size || l.Age > 0 && now.Sub(oldest) > l.Age
}

// tell logs kept and deleted messages, and calls grown if half of the limit is used.
func (s *Store) tell(now time.Time) {
	if s.unlogged+s.dropped > 0 && (s.logged.IsZero() || now.Sub(s.logged) >= logRest) {
		s.log.Warn("messages kept in badmail: they can be neither delivered nor reported; "+
			"'pillarbox admin badmail list' shows them",
			"new", s.unlogged, "removed", s.dropped, "messages", len(s.kept),
			"size", s.size, "limit", s.limits.Size)
		s.logged, s.unlogged, s.dropped = now, 0, 0
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

// mark is the size at which grown is called, in octets.
func (s *Store) mark() int64 {
	if s.limits.Size > 0 {
		return s.limits.Size / 2
	}
	return 50_000_000
}

func (s *Store) remove(id string) error { return Remove(s.fsys, id) }

// onDisk returns the disk space that a file takes at least.
func onDisk(size int64) int64 { return (size + block - 1) / block * block }

// suffixes returns the suffixes of a message's files, in the order of deletion. The message is
// deleted last, so that it is still found after a crash.
func suffixes() []string { return []string{".env", ".txt", ".eml"} }

// Entry is a kept message.
type Entry struct {
	ID       string    `json:"id"`
	Kept     time.Time `json:"kept"` // when it was stored
	Size     int64     `json:"size"` // octets on disk, of all its files
	Message  int64     `json:"message_size"`
	Files    []string  `json:"files"`
	Complete bool      `json:"complete"` // it has .eml and .env
}

// Has reports whether the message has a file with this suffix.
func (e *Entry) Has(suffix string) bool { return slices.Contains(e.Files, e.ID+suffix) }

// List returns the messages kept below a data directory, the oldest first. A missing directory is
// no error.
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
	slices.SortFunc(all, func(a, b Entry) int {
		return cmp.Or(a.Kept.Compare(b.Kept), cmp.Compare(a.ID, b.ID))
	})
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

// Read returns one file of a message, such as ".txt".
func Read(fsys durable.FS, id, suffix string) ([]byte, error) {
	return durable.ReadSmall(fsys, path.Join(Dir, id+suffix), durable.MaxSmall)
}

// Remove deletes a message's files, durably. A missing file is no error.
func Remove(fsys durable.FS, id string) error {
	for _, suffix := range suffixes() {
		err := fsys.Remove(path.Join(Dir, id+suffix))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return fsys.SyncDir(Dir)
}
