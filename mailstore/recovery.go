package mailstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"syscall"

	"pillarbox/mailstore/durable"
)

// recovery carries out the records of the log again. Afterwards every message is whole in each of
// its mailboxes that still exist, every deleted message is gone, and the disk has all of this. The
// exception is a large message whose file is missing: that message is lost, the log of the server
// says so, and the recovery succeeds. The content of existing files is not trusted: a page that
// could not be written still reads as written.
type recovery struct {
	store *Store
	log   *slog.Logger

	last  map[string]*source // content by path; nil: the file is removed
	order []string           // paths, oldest first
	kept  map[string]bool    // the paths in order that are those of deleted messages

	file *content // content of from, for names that share it
	from *source
}

func newRecovery(s *Store, log *slog.Logger) *recovery {
	return &recovery{store: s, log: log, last: make(map[string]*source), kept: make(map[string]bool)}
}

// read adds a record.
func (r *recovery) read(record []byte) error {
	all, err := decode(record)
	if err != nil {
		return err
	}
	for _, c := range all {
		if c.source != nil && c.moved != "" {
			if !r.move(&c) {
				continue
			}
		}
		if _, known := r.last[c.path]; !known {
			r.order = append(r.order, c.path)
		}
		r.last[c.path] = c.source
	}
	return nil
}

// move gives the change of a deleted message its content, if the log has it. It returns false if an
// earlier record has moved or removed the message.
func (r *recovery) move(c *change) bool {
	r.kept[c.path] = true
	from, known := r.last[c.moved]
	if known {
		c.source = from
	}
	return !known || from != nil
}

// ids calls do with the IDs of the messages that the records name.
func (r *recovery) ids(do func(id string)) {
	for _, name := range r.order {
		if base := path.Base(name); !r.kept[name] && len(base) > idLen && isID(base[:idLen]) {
			do(base[:idLen])
		}
	}
}

// restore carries out all records and syncs.
func (r *recovery) restore() error {
	if err := r.writeAll(); err != nil {
		return err
	}
	// The sync is needed without records too. New records will use the names of mailboxes, and a
	// change of these may be in memory only. So may changes whose records were in the damaged part
	// of a log.
	if err := r.sync(); err != nil {
		return err
	}
	if len(r.order) > 0 {
		r.log.Info("carried out the records of the log again", "files", len(r.order))
	}
	return nil
}

func (r *recovery) writeAll() error {
	defer r.discard()
	for _, name := range r.order {
		do := r.write
		if r.kept[name] {
			do = r.writeKept
		}
		if err := do(name, r.last[name]); err != nil {
			return err
		}
	}
	return nil
}

// writeKept gives a deleted message its place. Without space it is deleted for good: a recovery must
// not fail because of deleted mail.
func (r *recovery) writeKept(name string, from *source) error {
	s, dir := r.store, path.Dir(name)
	if err := s.checkMailbox(path.Dir(dir)); errors.Is(err, ErrNoMailbox) {
		return nil // removed by hand, with all of its mail
	} else if err != nil {
		return err
	}
	err := s.fsys.Mkdir(dir, dirPerm)
	switch {
	case err != nil && !errors.Is(err, fs.ErrExist):
	case from.moved != "":
		if err = s.fsys.Rename(from.moved, name); errors.Is(err, fs.ErrNotExist) {
			err = nil // it has moved already
		}
	default:
		err = r.write(name, from)
	}
	if !durable.NoSpace(err) && !errors.Is(err, syscall.EXDEV) && !errors.Is(err, syscall.ENOTDIR) {
		return err
	}
	r.log.Warn("a deleted message cannot be restored: there is no place for it", "file", name, "error", err)
	err = s.fsys.Remove(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		err = nil
	}
	return err
}

func (r *recovery) discard() {
	_ = r.file.discard() // the next start removes a leftover
	r.file, r.from = nil, nil
}

// write gives a file its content, or removes it.
func (r *recovery) write(name string, from *source) error {
	s := r.store
	if err := s.checkMailbox(path.Dir(name)); errors.Is(err, ErrNoMailbox) {
		if made, err := r.remake(path.Dir(name), from); !made || err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	there, err := s.fsys.Lstat(name)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case from == nil && (err != nil || !there.Mode().IsRegular()):
		return nil
	case from == nil:
		return s.fsys.Remove(name)
	case err != nil:
		return r.place(name, name, from)
	case !there.Mode().IsRegular():
		aside := path.Join(path.Dir(name), "."+path.Base(name)+"."+s.ids.next())
		r.log.Warn("renamed an object that had a message's name and is not a regular file",
			"file", name, "new_name", aside)
		if err := s.fsys.Rename(name, aside); err != nil {
			return err
		}
		return r.place(name, name, from)
	}
	return r.replace(name, there, from)
}

// remake makes a mailbox again that is gone although the log has a message for it. The server empties
// the log before it removes or renames a mailbox. So the mailbox was removed by hand, or it was new
// and the disk has lost its name. The message was acknowledged.
func (r *recovery) remake(box string, from *source) (made bool, err error) {
	if from == nil {
		return false, nil // a deletion has nothing left to do
	}
	err = r.store.fsys.MkdirAll(box, 0o700)
	if errors.Is(err, syscall.ENOTDIR) || errors.Is(err, fs.ErrExist) {
		r.log.Error("a message in the log is lost: something that is no directory has the name of "+
			"its mailbox", "mailbox", box)
		return false, nil
	}
	if err == nil {
		r.log.Warn("made a mailbox again that was gone: the log has mail that was accepted for it",
			"mailbox", box)
	}
	return err == nil, err
}

// replace replaces an existing file. A large message that already has this name needs no change; a
// rename between two names of one file would leave both.
func (r *recovery) replace(name string, there fs.FileInfo, from *source) error {
	fsys := r.store.fsys
	file, err := r.content(name, from)
	if file == nil || err != nil {
		return err
	}
	if info, err := file.Stat(); err != nil || durable.SameFile(there, info) {
		return err
	}
	temp := path.Join(incomingDir, "."+r.store.ids.next()) // the next start removes a leftover
	if err := r.place(name, temp, from); err != nil {
		return err
	}
	err = fsys.Rename(temp, name)
	if err == nil {
		return nil
	}
	gone := fsys.Remove(temp)
	if errors.Is(err, syscall.EXDEV) {
		return errors.Join(r.copyTo(name, from), gone)
	}
	return errors.Join(err, gone)
}

// place links the content at the unused name free; name is the message's own name, for the log.
func (r *recovery) place(name, free string, from *source) error {
	file, err := r.content(name, from)
	if file == nil || err != nil {
		return err
	}
	err = r.store.fsys.LinkFile(file.File, free)
	if errors.Is(err, syscall.EXDEV) {
		return r.copyTo(free, from)
	}
	return err
}

// copyTo copies the content to a file on another file system and syncs it, because the final sync
// does not reach that file system.
func (r *recovery) copyTo(free string, from *source) error {
	if from.large == "" {
		return durable.WriteFile(r.store.fsys, free, from.content, filePerm)
	}
	if _, err := r.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return durable.WriteFrom(r.store.fsys, free, r.file, filePerm)
}

// content opens a file with the content; nil means that the content is lost.
func (r *recovery) content(name string, from *source) (file *content, err error) {
	if r.from == from && r.file != nil {
		return r.file, nil
	}
	r.discard()
	if from.large != "" {
		file, err = r.open(name, from.large)
	} else {
		file, err = r.make(from.content)
	}
	r.file, r.from = file, from
	return file, err
}

func (r *recovery) open(name, large string) (*content, error) {
	f, err := r.store.fsys.OpenFile(large, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		r.log.Error("lost a message: the file that its record names is missing",
			"file", large, "message", name)
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return &content{File: f, fsys: r.store.fsys}, nil
}

func (r *recovery) make(text []byte) (*content, error) {
	file, err := r.store.unnamedContent("." + r.store.ids.next())
	if err != nil {
		return nil, err
	}
	if _, err := file.Write(text); err != nil {
		return nil, errors.Join(err, file.discard())
	}
	return file, nil
}

// sync syncs everything.
func (r *recovery) sync() error {
	if !r.store.syncEach {
		return r.store.fsys.SyncAll()
	}
	return r.store.syncPaths(r.order)
}

// syncPaths syncs files and their directories one by one, for file systems whose SyncAll is not
// trusted.
func (s *Store) syncPaths(paths []string) error {
	dirs := make(map[string]bool)
	for _, name := range paths {
		dirs[path.Dir(name)] = true
		if err := s.syncFile(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for dir := range dirs {
		if err := s.fsys.SyncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (s *Store) syncFile(name string) error {
	f, err := s.fsys.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// syncRecords is syncPaths for the files of records.
func (s *Store) syncRecords(each func(do func(record []byte) error) error) error {
	var paths []string
	err := each(func(record []byte) error {
		all, err := decode(record)
		for _, c := range all {
			paths = append(paths, c.path)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	return s.syncPaths(paths)
}
