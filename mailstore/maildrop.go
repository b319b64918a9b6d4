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
	// UID is the unique-id of POP3's UIDL (RFC 1939, section 7): 1 to 70 characters from 0x21 to
	// 0x7E, unique in the maildrop and the same in every session.
	UID string
	// Size is the number of octets that Maildrop.Open returns.
	Size int64
	// Dotted means that a line may begin with a dot. If it is false, none does.
	Dotted bool
}

// Maildrop is a mailbox that is open for one POP3 session (RFC 1939, section 3). No other session
// of this process has it open, and the list of messages does not change while mail arrives. It
// belongs to one goroutine; only Close may be called from another.
type Maildrop struct {
	store   *Store
	dir     string
	dirInfo fs.FileInfo // the directory at the time of the listing
	view    *view
	removed []bool // by index, so that no message is counted twice; nil before Remove
	closed  sync.Once
}

// OpenMaildrop lists a mailbox and locks it until Close. Deliveries ignore the lock. Errors are
// ErrInUse, ErrNoMailbox, ErrRecovering and those of the file system.
func (s *Store) OpenMaildrop(dir string) (*Maildrop, error) {
	if !s.lock(dir) {
		return nil, fmt.Errorf("%s: %w", dir, ErrInUse)
	}
	v, info, err := s.viewAndInfo(dir)
	if err != nil {
		s.unlock(dir)
		return nil, err
	}
	return &Maildrop{store: s, dir: dir, dirInfo: info, view: v}, nil
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

// Messages returns the messages in order of arrival. Open and Remove take indexes into this slice.
// It is shared and must not be changed.
func (m *Maildrop) Messages() []Message { return m.view.messages }

// Octets returns the sum of all sizes.
func (m *Maildrop) Octets() int64 { return m.view.octets }

// Open returns message i: exactly Size octets, with CRLF at the end of each line. If the file is
// shorter, Content.Read returns io.ErrUnexpectedEOF; the caller has promised Size octets and should
// close the connection. The caller closes the Content. Errors are ErrGone, ErrDamaged and those of
// the file system.
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
		id = "" // never in the log
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
		r = foreignText(f)
	}
	return &Content{r: r, left: size, file: f}, nil
}

// openRegular opens a regular file for reading. It refuses anything else, such as symbolic links.
func (s *Store) openRegular(name string) (io.ReadCloser, fs.FileInfo, error) {
	named, err := s.fsys.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	if !named.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s: %w: not a regular file", name, ErrDamaged)
	}
	// O_NONBLOCK: a named pipe that has replaced the file must not block the opening.
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

// Remove deletes the messages with these indexes and returns when that is durable. Store.KeepDeleted
// decides whether they can be restored. It continues
// after an error; the error then says how many messages remain. A message that is already gone is
// no error. ErrNoMailbox means that the mailbox was removed or renamed, even if a new mailbox has
// its name; then Remove has deleted no message.
//
// A record in the log decides about messages that the log may hold. If their files cannot be
// deleted now, a recovery deletes them before any other operation.
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
	if err := m.checkSameMailbox(); err != nil {
		return err
	}
	if m.removed == nil {
		m.removed = make([]bool, len(m.view.messages))
	}
	keep := m.store.keepsDeleted() && m.makeDeletedDir()
	var errs []error
	for chunk := range slices.Chunk(indexes, removedPerRecord) {
		errs = append(errs, m.removeChunk(chunk, keep, &gone)...)
	}
	var err error
	if keep {
		// First, so that a crash leaves a message with two names rather than with none.
		err = m.store.syncDir(path.Join(m.dir, DeletedDir))
	}
	err = errors.Join(err, m.store.syncDir(m.dir))
	if len(errs) > 0 {
		// All failures on one disk are alike; the first error is enough.
		failed := fmt.Errorf("%s: %d of %d messages not deleted: %w",
			m.dir, len(errs), len(indexes), errs[0])
		err = errors.Join(failed, err)
	}
	return err
}

// tally counts removed messages.
type tally struct {
	bytes    int64
	messages int
}

// doomed is a message that is being deleted. kept is where its file goes, relative to the mailbox;
// "" means nowhere.
type doomed struct{ name, kept string }

// removeChunk deletes messages, and returns an error for each that remains.
func (m *Maildrop) removeChunk(indexes []int, keep bool, gone *tally) (errs []error) {
	all := make([]doomed, len(indexes))
	for n, i := range indexes {
		all[n].name, _ = m.view.file(i)
		if keep {
			all[n].kept = path.Join(DeletedDir, keptName(m.store.ids.next(), all[n].name))
		}
	}
	var logged []doomed
	// The record comes before any removal: otherwise a crash would bring messages back.
	if l := m.store.log.Load(); l != nil {
		var applied func()
		var err error
		if logged, applied, err = l.removed(m.dir, all); err != nil {
			return slices.Repeat([]error{err}, len(indexes))
		}
		defer applied()
	}
	for n, i := range indexes {
		if m.removed[i] {
			continue
		}
		err := m.discard(all[n])
		switch {
		case err == nil || errors.Is(err, fs.ErrNotExist):
		case slices.Contains(logged, all[n]):
			m.store.requireRecovery(err) // the recovery deletes it
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

// checkSameMailbox fails if the directory is not the one that was listed.
func (m *Maildrop) checkSameMailbox() error {
	now, err := m.store.fsys.Lstat(m.dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !durable.SameFile(now, m.dirInfo) {
		return &NoMailboxError{Dir: m.dir}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", m.dir, err)
	}
	return nil
}

// Close unlocks the maildrop. An open Content can still be read. Only the first call has an effect.
func (m *Maildrop) Close() error {
	m.closed.Do(func() { m.store.unlock(m.dir) })
	return nil
}
