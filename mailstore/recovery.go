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

// recovery makes true what the log says: every message is whole in each mailbox that is still there, what was deleted is
// gone, and all this is on the disk. It trusts the log and not what can be read of the files, because a page that could
// not be written reads as if it had been.
type recovery struct {
	store *Store
	log   *slog.Logger

	last  map[string]*source // by path: its content; nil: the file is removed
	order []string           // the paths, oldest first

	file *content // an open file with the content of from, for all names that follow each other
	from *source
}

func newRecovery(s *Store, log *slog.Logger) *recovery {
	return &recovery{store: s, log: log, last: make(map[string]*source)}
}

// read takes a record.
func (r *recovery) read(record []byte) error {
	all, err := decode(record)
	if err != nil {
		return err
	}
	for _, c := range all {
		if _, known := r.last[c.path]; !known {
			r.order = append(r.order, c.path)
		}
		r.last[c.path] = c.source
	}
	return nil
}

// restore writes everything.
func (r *recovery) restore() error {
	if err := r.writeAll(); err != nil {
		return err
	}
	// Without a record, too: new records are about to use the names of mailboxes, and the last change of these, or what
	// records in the damaged part of a log stood for, may be in memory only.
	if err := r.sync(); err != nil {
		return err
	}
	if len(r.order) > 0 {
		r.log.Info("what the log held was written again", "files", len(r.order))
	}
	return nil
}

func (r *recovery) writeAll() error {
	defer r.discard()
	for _, name := range r.order {
		if err := r.write(name, r.last[name]); err != nil {
			return err
		}
	}
	return nil
}

func (r *recovery) discard() {
	_ = r.file.discard() // the start removes what stays
	r.file, r.from = nil, nil
}

// write gives a file its content, or takes it away. A mailbox that is not there any more was removed.
func (r *recovery) write(name string, from *source) error {
	s := r.store
	if err := s.checkMailbox(path.Dir(name)); errors.Is(err, ErrNoMailbox) {
		if from != nil {
			r.log.Warn("a message in the log is for a mailbox that is not there; it was removed or renamed by hand", "file", name)
		}
		return nil
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
		r.log.Warn("a thing that is no file had the name of a message; it gets another name", "file", name, "new_name", aside)
		if err := s.fsys.Rename(name, aside); err != nil {
			return err
		}
		return r.place(name, name, from)
	}
	return r.replace(name, there, from)
}

// replace puts the content in the place of a file that is there. A large message that has this name already is on the
// disk, and a rename between two names of one file would leave both.
func (r *recovery) replace(name string, there fs.FileInfo, from *source) error {
	fsys := r.store.fsys
	file, err := r.content(name, from)
	if file == nil || err != nil {
		return err
	}
	if info, err := file.Stat(); err != nil || durable.SameFile(there, info) {
		return err
	}
	temp := path.Join(incomingDir, "."+r.store.ids.next()) // the next start removes what stays
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

// place gives the content a free name; name is what it is for.
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

// copyTo gives the content to a file on another file system, durably: the sync at the end does not reach it.
func (r *recovery) copyTo(free string, from *source) error {
	if from.large == "" {
		return durable.WriteFile(r.store.fsys, free, from.content, filePerm)
	}
	if _, err := r.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return durable.WriteFrom(r.store.fsys, free, r.file, filePerm)
}

// content opens a file with the content; nil if that is lost.
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
		r.log.Error("the file of a message that was being delivered is gone", "file", large, "message", name)
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

// sync brings everything to the disk.
func (r *recovery) sync() error {
	if !r.store.syncEach {
		return r.store.fsys.SyncAll()
	}
	return r.store.syncPaths(r.order)
}

// syncPaths syncs files and their directories one by one, for file systems whose SyncAll is not trusted.
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

// syncRecords is syncPaths for what records stand for.
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
