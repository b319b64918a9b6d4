package mailstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

// DeletedDir is the directory in a mailbox that holds its deleted messages. The name of a file is the
// deletion's id, a dot and the name that the message had.
const DeletedDir = "deleted"

const maxBase = 255 // the longest name in a directory, in octets

// IsDeletedFile reports whether a file of this name in DeletedDir is a deleted message.
func IsDeletedFile(file string) bool {
	_, ok := parseKept(file)
	return ok
}

// DeletedMessage is a message that was deleted and can be restored.
type DeletedMessage struct {
	// ID identifies the deletion. It is the unique-id of the message after Restore.
	ID string
	// UID is the unique-id that the message had; "" if its file name was too long to be kept.
	UID     string
	Size    int64 // as in Message
	Arrived time.Time
	Deleted time.Time // in whole seconds

	file string // in DeletedDir
	name string // in the mailbox before; "": not known
}

// KeepDeleted decides whether deleted messages stay restorable from now on. Without a call they do
// not: each deletion is final. It is final too while the log has no reserve, because the disk is
// full then.
func (s *Store) KeepDeleted(keep bool) { s.keepDeleted.Store(keep) }

// keepsDeleted reports whether a message that is deleted now can be kept.
func (s *Store) keepsDeleted() bool {
	l := s.log.Load()
	return s.keepDeleted.Load() && (l == nil || l.reserveHeld.Load())
}

// keptName returns the name of a deleted message's file.
func keptName(id, name string) string {
	if kept := id + "." + name; len(kept) <= maxBase {
		return kept
	}
	return id + nameSuffix
}

// parseKept is the inverse of keptName. The size and the arrival of a foreign message are not set.
func parseKept(file string) (d DeletedMessage, ok bool) {
	if len(file) < idLen+len(nameSuffix) || !isID(file[:idLen]) || file[idLen] != '.' {
		return d, false
	}
	d = DeletedMessage{ID: file[:idLen], Deleted: IDTime(file[:idLen]), file: file}
	if file[idLen:] == nameSuffix {
		return d, true
	}
	d.name = file[idLen+1:]
	if !isMessage(d.name) {
		return d, false
	}
	if n, ours := ParseName(d.name); ours {
		d.UID, d.Size, d.Arrived = n.ID, n.Size, IDTime(n.ID)
	} else {
		d.UID = foreignUID(d.name)
	}
	return d, true
}

// restoredName returns the name that a restored message gets in the mailbox.
func (d *DeletedMessage) restoredName() string {
	if n, ok := ParseName(d.name); ok {
		n.ID = d.ID
		return n.String()
	}
	return d.ID + nameSuffix // a foreign message stays one
}

// ours reports whether the store has named the message.
func (d *DeletedMessage) ours() bool {
	_, ok := ParseName(d.name)
	return ok
}

// Deleted returns the deleted messages of a mailbox that can be restored, the oldest deletion first.
// Errors are ErrNoMailbox, ErrRecovering and those of the file system.
func (s *Store) Deleted(dir string) ([]DeletedMessage, error) {
	if err := s.gate.enter(); err != nil {
		return nil, err
	}
	defer s.gate.leave()
	return s.deletedIn(dir)
}

func (s *Store) deletedIn(dir string) ([]DeletedMessage, error) {
	all, err := s.keptIn(dir)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	present, err := s.list(dir)
	if err != nil {
		return nil, err
	}
	there := make(map[string]bool, 2*len(present.entries))
	for _, e := range present.entries {
		there[present.uid(e)] = true
		there[present.name(e)] = true
	}
	all = onlyDeleted(all, there)
	for i := range all {
		if err := s.describeKept(dir, &all[i]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// keptIn returns all deletions of a mailbox as its directory has them, the oldest first.
func (s *Store) keptIn(dir string) ([]DeletedMessage, error) {
	if err := s.checkMailbox(dir); err != nil {
		return nil, err
	}
	files, err := s.fsys.ReadDir(path.Join(dir, DeletedDir))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("%s: deleted mail: %w", dir, err)
	}
	var all []DeletedMessage
	for _, file := range files {
		if d, ok := parseKept(file.Name()); ok && file.Type().IsRegular() {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b DeletedMessage) int { return strings.Compare(a.ID, b.ID) })
	return all, nil
}

// onlyDeleted leaves out what a crash in the middle of a deletion or of a restore has left behind:
// there is a second name of the same message. present has the unique-ids and the file names of the
// messages in the mailbox. all is sorted by ID.
func onlyDeleted(all []DeletedMessage, present map[string]bool) []DeletedMessage {
	deleted := make(map[string]int, len(all)) // the last deletion of each message, by unique-id
	for i, d := range all {
		if d.ours() || isID(d.UID) {
			deleted[d.UID] = i
		}
	}
	var only []DeletedMessage
	for i, d := range all {
		last, again := deleted[d.UID]
		_, restored := deleted[d.ID] // and deleted again
		switch {
		case present[d.ID] || restored:
		case d.ours() && present[d.name]:
		case again && last != i:
		default:
			only = append(only, d)
		}
	}
	return only
}

// OpenDeleted opens a message that Deleted has returned, as it is in its file. The error is
// fs.ErrNotExist if the message was restored or removed since.
func (s *Store) OpenDeleted(dir string, d DeletedMessage) (io.ReadCloser, error) {
	f, _, err := s.openRegular(path.Join(dir, DeletedDir, d.file))
	return f, err
}

// describeKept sets what the name of a foreign message does not say.
func (s *Store) describeKept(dir string, d *DeletedMessage) error {
	if d.ours() {
		return nil
	}
	name := path.Join(dir, DeletedDir, d.file)
	fi, err := s.fsys.Lstat(name)
	if err != nil {
		return err
	}
	id := identify(fi)
	if d.Arrived = id.mtime; len(d.name) >= idLen && isID(d.name[:idLen]) {
		d.Arrived = IDTime(d.name[:idLen]) // as view.arrived
	}
	size, known := s.sizes.get(name, id)
	if !known {
		size, _ = s.measure(name, id) // the file's own size if it cannot be read
	}
	d.Size = size
	return nil
}

// Restore puts deleted messages back into their mailbox, durably, and returns those that it has put
// back. A message gets the ID of its deletion as its unique-id. IDs that Deleted does not return are
// passed over. If the quota has no room for all of them, the error is an *OverQuotaError and the
// mailbox is unchanged.
//
// The log is emptied first, because it knows the messages by their former place.
func (s *Store) Restore(dir string, ids []string) (done []DeletedMessage, err error) {
	all, err := s.Deleted(dir)
	if err != nil {
		return nil, err
	}
	wanted := make(map[string]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	all = slices.DeleteFunc(all, func(d DeletedMessage) bool { return !wanted[d.ID] })
	if len(all) == 0 {
		return nil, nil
	}
	settle, err := s.reserveAll(dir, all)
	if err != nil {
		return nil, err
	}
	moved := make([]bool, len(all))
	err = s.alone(func() error { return s.putBack(dir, all, moved) })
	for i, d := range all {
		if moved[i] {
			done = append(done, d)
			settle[i](d.Size, 1)
		} else {
			settle[i](0, 0)
		}
	}
	return done, err
}

// reserveAll reserves quota for each of the messages, or for none.
func (s *Store) reserveAll(dir string, all []DeletedMessage) ([]func(int64, int), error) {
	settle := make([]func(int64, int), 0, len(all))
	for _, d := range all {
		one := func(int64, int) {}
		if s.quota != nil {
			var err error
			if one, err = s.quota.Reserve(dir, d.Size); err != nil {
				for _, undo := range settle {
					undo(0, 0)
				}
				return nil, s.quotaError(dir, err)
			}
		}
		settle = append(settle, one)
	}
	return settle, nil
}

// putBack renames the files. The new names are synced first, so that a crash leaves a message with
// two names rather than with none; onlyDeleted knows which counts.
func (s *Store) putBack(dir string, all []DeletedMessage, moved []bool) error {
	if err := s.checkMailbox(dir); err != nil {
		return err
	}
	var failed error
	for i, d := range all {
		err := s.fsys.Rename(path.Join(dir, DeletedDir, d.file), path.Join(dir, d.restoredName()))
		moved[i] = err == nil
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = fmt.Errorf("%s: a deleted message was not restored: %w", dir, err)
			break
		}
	}
	for _, d := range []string{dir, path.Join(dir, DeletedDir)} {
		if err := s.syncDir(d); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(failed, err)
		}
	}
	return failed
}

// Purge removes the deleted messages of a mailbox that doomed selects, for good, and returns what it
// has removed. Call Checkpoint before it if the log may still bring one of them back.
func (s *Store) Purge(dir string, doomed func(DeletedMessage) bool) (gone Stat, err error) {
	if err := s.gate.enter(); err != nil {
		return gone, err
	}
	defer s.gate.leave()
	all, err := s.keptIn(dir)
	if err != nil {
		return gone, err
	}
	var errs []error
	for _, d := range all {
		if err := s.describeKept(dir, &d); err != nil || !doomed(d) {
			continue // one that is gone meanwhile
		}
		err := s.fsys.Remove(path.Join(dir, DeletedDir, d.file))
		switch {
		case err == nil:
			gone.Messages++
			gone.Bytes += d.Size
		case !errors.Is(err, fs.ErrNotExist):
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		err = fmt.Errorf("%s: %d deleted messages not removed: %w", dir, len(errs), errs[0])
	}
	if gone.Messages > 0 {
		err = errors.Join(err, s.fsys.SyncDir(path.Join(dir, DeletedDir)))
	}
	return gone, err
}

// makeDeletedDir makes the directory for deleted messages, and reports whether it is there. The
// directory is synced before a message moves there: otherwise a crash could leave the message without
// a name.
func (m *Maildrop) makeDeletedDir() bool {
	s, name := m.store, path.Join(m.dir, DeletedDir)
	if fi, err := s.fsys.Lstat(name); err == nil {
		return fi.IsDir()
	}
	return s.fsys.Mkdir(name, dirPerm) == nil && s.syncDir(m.dir) == nil
}

// syncDir syncs a directory. If that fails, a recovery repeats what the log says.
func (s *Store) syncDir(dir string) error {
	err := s.fsys.SyncDir(dir)
	if err != nil && s.log.Load() != nil && !errors.Is(err, fs.ErrNotExist) {
		s.requireRecovery(err)
	}
	return err
}

// discard removes a message's name from its mailbox. All deletions of messages come this way. Keeping
// the message is best effort: a deletion makes room, so it must not need any.
func (m *Maildrop) discard(d doomed) error {
	name := path.Join(m.dir, d.name)
	if d.kept != "" && m.store.fsys.Rename(name, path.Join(m.dir, d.kept)) == nil {
		return nil
	}
	return m.store.fsys.Remove(name)
}
