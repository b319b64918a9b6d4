package mailstore

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"pillarbox/mailstore/durable"
)

const (
	spoolDir      = "queue"
	quarantineDir = spoolDir + "/quarantine"

	messageSuffix = ".eml"
	stateSuffix   = ".env"
)

// ErrNotSpooled says that there is no such message in the spool.
var ErrNotSpooled = errors.New("no such message in the queue")

// Spool is where messages wait that are still to be sent to other servers: data/queue, with two files for each, <id>.eml, which
// is the same file as in the mailboxes that the message went to, and <id>.env, its state, which package queue
// makes up and the spool only keeps. A message is in the spool as long as its state is. A small message that goes into no
// mailbox gets its files only when it has not left after a moment: the log has it.
//
// Changes are as durable as a message that was committed. A Spool is safe for concurrent use; the changes of one message
// follow each other.
type Spool struct {
	store *Store
	// replacing is held while the file of a state is written, so that a state that has to be written again after a
	// failed sync is the last one.
	replacing sync.Mutex
	unwritten unwrittens
}

// Spool is the store's spool. Incoming.Spool puts messages there.
func (s *Store) Spool() *Spool { return &s.spool }

func spooledMessage(id string) string { return spoolDir + "/" + id + messageSuffix }

func spooledState(id string) string { return spoolDir + "/" + id + stateSuffix }

func isState(name string) bool {
	return path.Dir(name) == spoolDir && strings.HasSuffix(name, stateSuffix)
}

// spooledNames are the files of a message. Without its state it is not in the spool; so that goes first.
func spooledNames(id string) []string { return []string{id + stateSuffix, id + messageSuffix} }

// Open gives a message in the spool to be read; the caller closes it.
func (sp *Spool) Open(id string) (io.ReadCloser, int64, error) {
	if !isID(id) {
		return nil, 0, fmt.Errorf("%.60q: %w", id, ErrNotSpooled)
	}
	if r, size, ok := sp.openUnwritten(id); ok {
		return r, size, nil
	}
	f, fi, err := sp.store.openRegular(spooledMessage(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("%s: %w", id, ErrNotSpooled)
	} else if err != nil {
		return nil, 0, err
	}
	return f, fi.Size(), nil
}

// State returns the state of a message.
func (sp *Spool) State(id string) ([]byte, error) {
	if !isID(id) {
		return nil, fmt.Errorf("%.60q: %w", id, ErrNotSpooled)
	}
	if state, ok := sp.stateUnwritten(id); ok {
		return state, nil
	}
	f, _, err := sp.store.openRegular(spooledState(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", id, ErrNotSpooled)
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// Update replaces the state of a message that is in the spool. When it returns nil the new state is durable.
func (sp *Spool) Update(id string, state []byte) error {
	s := sp.store
	j := s.journal.Load()
	if j == nil {
		if r := s.stuck.Load(); r != nil {
			r.forget(spoolDir, []string{id + stateSuffix})
		}
		return sp.replace(id, state, durable.WriteFile)
	}
	if done, err := sp.updateUnwritten(j, id, state); done {
		return err
	}
	applied, err := sp.logState(j, id, state)
	if err != nil {
		return err
	}
	defer applied()
	return sp.replace(id, state, durable.Replace)
}

// logState puts a new state into the log. applied is to be called when its file has it.
func (sp *Spool) logState(j *journal, id string, state []byte) (applied func(), err error) {
	file, applied, err := j.append(stateRecord(id, state))
	if err != nil {
		return nil, fmt.Errorf("queue: state of %s: %w", id, err)
	}
	j.note(file, id)
	return applied, nil
}

// logRemoval puts into the log that a message leaves. applied is to be called when its files are gone.
func (sp *Spool) logRemoval(j *journal, id string) (applied func(), err error) {
	_, applied, err = j.append(removal(spoolDir, spooledNames(id)))
	if err != nil {
		return nil, fmt.Errorf("queue: removing %s: %w", id, err)
	}
	return applied, nil
}

func (sp *Spool) replace(id string, state []byte, write func(durable.FS, string, []byte, fs.FileMode) error) error {
	sp.replacing.Lock()
	defer sp.replacing.Unlock()
	if err := write(sp.store.fsys, spooledState(id), state, filePerm); err != nil {
		return fmt.Errorf("queue: state of %s: %w", id, err)
	}
	return nil
}

// redo writes a state's file again, with what it holds now: the record that asks for it may be an old one.
func (sp *Spool) redo(name string) error {
	sp.replacing.Lock()
	defer sp.replacing.Unlock()
	state, err := durable.ReadFile(sp.store.fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return durable.WriteFile(sp.store.fsys, name, state, filePerm)
}

// Remove takes a message out of the spool; in mailboxes it stays. When it returns nil that is durable. A message that is
// not there is no error.
func (sp *Spool) Remove(id string) error {
	if j := sp.store.journal.Load(); j != nil {
		if done, err := sp.removeUnwritten(j, id); done {
			return err
		}
	}
	return sp.leave(id, sp.unlink, spoolDir)
}

// leave lets the log forget a message and takes its files away. Without a log, the directories that this changes are synced.
func (sp *Spool) leave(id string, take func(id string) error, changed ...string) error {
	s := sp.store
	if j := s.journal.Load(); j != nil {
		applied, err := sp.logRemoval(j, id)
		if err != nil {
			return err
		}
		defer applied()
		return take(id)
	}
	if r := s.stuck.Load(); r != nil {
		r.forget(spoolDir, spooledNames(id))
	}
	err := take(id)
	for _, dir := range changed {
		err = errors.Join(err, s.fsys.SyncDir(dir))
	}
	return err
}

func (sp *Spool) unlink(id string) error {
	return sp.eachFile(id, sp.store.fsys.Remove)
}

// eachFile does something with the files of a message that are there. After an error it leaves the message alone.
func (sp *Spool) eachFile(id string, do func(name string) error) error {
	for _, name := range spooledNames(id) {
		if err := do(path.Join(spoolDir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("queue: %w", err)
		}
	}
	return nil
}

// List returns the ids of all messages, in the order of their arrival, and those of the messages without a state, which
// nobody acknowledged, or of which somebody took it away. What an earlier process left of unfinished states is removed
// if clean is set; only the process that holds the lock of the data directory may do that, and before it updates any.
func (sp *Spool) List(clean bool) (ids, strays []string, err error) {
	names, err := sp.store.fsys.ReadNames(spoolDir)
	if err != nil {
		return nil, nil, fmt.Errorf("queue: %w", err)
	}
	const state, message = 1, 2
	found := make(map[string]int, len(names)/2)
	for _, id := range sp.unwritten.ids() {
		found[id] = state | message
	}
	for _, name := range names {
		if id, ok := strings.CutSuffix(name, stateSuffix); ok && isID(id) {
			found[id] |= state
		} else if id, ok := strings.CutSuffix(name, messageSuffix); ok && isID(id) {
			found[id] |= message
		} else if clean && durable.IsTemp(name) {
			err = cmp.Or(err, sp.store.fsys.Remove(path.Join(spoolDir, name)))
		}
	}
	for id, what := range found {
		if what&state != 0 {
			ids = append(ids, id)
		} else {
			strays = append(strays, id)
		}
	}
	if sp.store.stuck.Load() != nil {
		strays = nil // the log may have their states
	}
	slices.Sort(ids)
	slices.Sort(strays)
	return ids, strays, err
}

// Quarantine takes a message out of the spool and keeps its files aside, in data/queue/quarantine.
func (sp *Spool) Quarantine(id string) error {
	if m := sp.unwritten.find(id); m != nil {
		if err := sp.writeOut(m); err != nil {
			return err
		}
	}
	if err := sp.store.fsys.MkdirAll(quarantineDir, dirPerm); err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	return sp.leave(id, sp.moveAside, quarantineDir, spoolDir)
}

func (sp *Spool) moveAside(id string) error {
	return sp.eachFile(id, func(name string) error {
		return sp.store.fsys.Rename(name, path.Join(quarantineDir, path.Base(name)))
	})
}
