package mailstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"sync"
	"syscall"

	"pillarbox/mailstore/durable"
)

// Message is a message as a POP3 client sees it.
type Message struct {
	// UID is the message's unique-id (RFC 1939, UIDL): 1 to 70 characters from 0x21 to 0x7E, different from all
	// others in the maildrop, the same in every session.
	UID string
	// Size is how many octets Maildrop.Open will give.
	Size int64
	// Dotted says that some line may begin with a dot. If it is false, none does.
	Dotted bool
}

// Maildrop is a mailbox opened for one session (RFC 1939, section 3): nobody else in this process has it open, and
// the list of messages stays as it was at the start, whatever arrives. It belongs to one goroutine; only Close may
// be called from another.
type Maildrop struct {
	store   *Store
	dir     string
	home    fs.FileInfo // the directory, when it was listed
	view    *view
	removed []bool // by index, so that nothing is counted twice; nil before the first Remove
	closed  sync.Once
}

// OpenMaildrop lists a mailbox and locks it until Close. Errors are ErrInUse, ErrNoMailbox, ErrRecovering and those of the
// file system. Deliveries do not wait for the lock, and go on while it is held.
func (s *Store) OpenMaildrop(dir string) (*Maildrop, error) {
	if !s.lock(dir) {
		return nil, fmt.Errorf("%s: %w", dir, ErrInUse)
	}
	v, home, err := s.viewAndHome(dir)
	if err != nil {
		s.unlock(dir)
		return nil, err
	}
	return &Maildrop{store: s, dir: dir, home: home, view: v}, nil
}

func (s *Store) lock(dir string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.inUse[dir]; taken {
		return false
	}
	s.inUse[dir] = struct{}{}
	return true
}

func (s *Store) unlock(dir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.inUse, dir)
}

// Messages returns the messages in the order of their arrival. The slice is shared with others and must not be
// changed. Indexes into it are what Open and Remove take.
func (m *Maildrop) Messages() []Message { return m.view.messages }

// Octets is the sum of all sizes.
func (m *Maildrop) Octets() int64 { return m.view.octets }

// Open returns message i: exactly Size octets, lines ending in CRLF. If the file yields fewer while being read, the
// error of the Content is io.ErrUnexpectedEOF; the caller cannot keep its promise to the client and should hang up.
// The caller closes the Content. Errors are ErrGone, ErrDamaged and those of the file system.
func (m *Maildrop) Open(i int) (*Content, error) {
	file, foreign := m.view.file(i)
	if foreign != nil && foreign.err != nil {
		return nil, foreign.err
	}
	if err := m.store.gate.enter(); err != nil {
		return nil, err
	}
	defer m.store.gate.leave()
	name := path.Join(m.dir, file)
	id := file
	if foreign != nil {
		id = "" // the log knows nothing of it
	}
	f, fi, err := m.store.openContent(id, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", name, ErrGone)
	}
	if err != nil {
		return nil, err
	}
	size := m.view.messages[i].Size
	if err := verify(fi, size, foreign); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
	}
	var r io.Reader = f
	if foreign != nil {
		r = newCRLFReader(f)
	}
	return &Content{r: r, left: size, file: f}, nil
}

// openRegular opens a file for reading and refuses everything but regular files, symbolic links among the rest.
func (s *Store) openRegular(name string) (io.ReadCloser, fs.FileInfo, error) {
	named, err := s.fsys.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	if !named.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s: %w: not a regular file", name, ErrDamaged)
	}
	// Should a pipe have taken its place by now, do not wait for a writer.
	f, err := s.fsys.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	opened, err := f.Stat()
	if err == nil && !durable.SameFile(named, opened) {
		err = fmt.Errorf("%s: %w: replaced while being opened", name, ErrDamaged)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, opened, nil
}

// Remove deletes the messages with these indexes and returns when that is durable. It goes on after an error; the
// error then tells how many messages are still there. A message that is gone already is no error. ErrNoMailbox says that
// the mailbox was removed or has another name, even if another mailbox has its name now: nothing was deleted. Of what the
// log has, its record decides: what cannot be deleted at once is deleted by a recovery, before anything else acts on the
// store.
func (m *Maildrop) Remove(indexes []int) error {
	if len(indexes) == 0 {
		return nil
	}
	var gone tally
	if m.store.quota != nil {
		settle := m.store.quota.Release(m.dir)
		defer func() { settle(-gone.bytes, -gone.messages) }()
	}
	if err := m.store.gate.enter(); err != nil {
		return err
	}
	defer m.store.gate.leave()
	if err := m.sameMailbox(); err != nil {
		return err
	}
	if m.removed == nil {
		m.removed = make([]bool, len(m.view.messages))
	}
	var errs []error
	for some := range slices.Chunk(indexes, removedPerRecord) {
		errs = append(errs, m.removeSome(some, &gone)...)
	}
	err := m.store.fsys.SyncDir(m.dir)
	if err != nil && m.store.journal.Load() != nil && !errors.Is(err, fs.ErrNotExist) {
		m.store.fall(err) // what the log has of it is done by the recovery
	}
	if len(errs) > 0 {
		// The same disk fails them alike; the first error is enough.
		err = errors.Join(fmt.Errorf("%s: %d of %d messages not deleted: %w", m.dir, len(errs), len(indexes), errs[0]), err)
	}
	return err
}

// tally counts messages.
type tally struct {
	bytes    int64
	messages int
}

// removeSome deletes messages, and returns an error for each that stays.
func (m *Maildrop) removeSome(indexes []int, gone *tally) (errs []error) {
	names := make([]string, len(indexes))
	for n, i := range indexes {
		names[n], _ = m.view.file(i)
	}
	var logged []string
	if j := m.store.journal.Load(); j != nil { // before anything is gone, or a crash would bring it back
		var applied func()
		var err error
		if logged, applied, err = j.removed(m.dir, names); err != nil {
			return slices.Repeat([]error{err}, len(indexes))
		}
		defer applied()
	}
	for n, i := range indexes {
		if m.removed[i] {
			continue
		}
		err := m.store.fsys.Remove(m.dir + "/" + names[n])
		switch {
		case err == nil || errors.Is(err, fs.ErrNotExist):
		case slices.Contains(logged, names[n]):
			m.store.fall(err) // the recovery deletes it
		default:
			errs = append(errs, err)
			continue
		}
		m.removed[i] = true
		gone.bytes += m.view.messages[i].Size
		gone.messages++
	}
	return errs
}

// sameMailbox fails if the directory is not the one that was listed.
func (m *Maildrop) sameMailbox() error {
	now, err := m.store.fsys.Lstat(m.dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !durable.SameFile(now, m.home) {
		return &NoMailboxError{Dir: m.dir}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", m.dir, err)
	}
	return nil
}

// Close unlocks the maildrop. Messages that are being read can be read on. Only the first call does anything.
func (m *Maildrop) Close() error {
	m.closed.Do(func() { m.store.unlock(m.dir) })
	return nil
}
