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

	"pillarbox/mailstore/durable"
)

const (
	spoolDir      = "queue"
	quarantineDir = spoolDir + "/quarantine"

	messageSuffix = ".eml"
	stateSuffix   = ".env"
)

// MaxState is how many octets the state of a message in the spool may have: 1.3 KB for each of 100,000 recipients. A
// larger file is none, and is not read.
const MaxState = 128 << 20

// ErrNotSpooled says that there is no such message in the spool.
var ErrNotSpooled = errors.New("no such message in the queue")

// Spool is where messages wait that are still to be sent to other servers: data/queue, with two files for each, <id>.eml, which
// is the same file as in the mailboxes that the message went to, and <id>.env, its state, which package queue
// makes up and the spool only keeps. A message is in the spool as long as its state is. A small message that goes into no
// mailbox gets its files only when it has not left after a moment: the log has it.
//
// Changes are as durable as a message that was committed. Every method may fail with ErrRecovering. A Spool is safe for
// concurrent use; the changes of one message follow each other.
type Spool struct {
	store   *Store
	logOnly logOnlyIndex
}

// Spool is the store's spool. Incoming.Spool puts messages there.
func (s *Store) Spool() *Spool { return &s.spool }

func spooledMessage(id string) string { return spoolDir + "/" + id + messageSuffix }

func spooledState(id string) string { return spoolDir + "/" + id + stateSuffix }

// spooledNames are the files of a message. Without its state it is not in the spool; so that goes first.
func spooledNames(id string) []string { return []string{id + stateSuffix, id + messageSuffix} }

// Open opens a message in the spool; the caller closes it.
func (sp *Spool) Open(id string) (io.ReadCloser, int64, error) {
	if !isID(id) {
		return nil, 0, fmt.Errorf("%.60q: %w", id, ErrNotSpooled)
	}
	if err := sp.store.gate.enter(); err != nil {
		return nil, 0, err
	}
	defer sp.store.gate.leave()
	if r, size, ok := sp.openLogOnly(id); ok {
		return r, size, nil
	}
	f, fi, err := sp.store.openContent(id, spooledMessage(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("%s: %w", id, ErrNotSpooled)
	}
	if err != nil {
		return nil, 0, err
	}
	return f, fi.Size(), nil
}

func (sp *Spool) openFile(id, name string) (io.ReadCloser, fs.FileInfo, error) {
	f, fi, err := sp.store.openRegular(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%s: %w", id, ErrNotSpooled)
	}
	return f, fi, err
}

// State returns the state of a message. It is ErrDamaged if that is no regular file, or larger than MaxState.
func (sp *Spool) State(id string) ([]byte, error) {
	if !isID(id) {
		return nil, fmt.Errorf("%.60q: %w", id, ErrNotSpooled)
	}
	if err := sp.store.gate.enter(); err != nil {
		return nil, err
	}
	defer sp.store.gate.leave()
	if j := sp.store.journal.Load(); j != nil {
		if state, ok := j.lastState(id); ok {
			return state, nil
		}
	}
	f, fi, err := sp.openFile(id, spooledState(id))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if fi.Size() > MaxState {
		return nil, fmt.Errorf("%s: %w: its state has %d octets", id, ErrDamaged, fi.Size())
	}
	return io.ReadAll(io.LimitReader(f, MaxState))
}

// Update replaces the state of a message that is in the spool. When it returns nil the new state is durable. The state
// belongs to the spool from then on.
func (sp *Spool) Update(id string, state []byte) error {
	s := sp.store
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	j := s.journal.Load()
	if j == nil || j.avoids(id) {
		if err := durable.WriteFile(s.fsys, spooledState(id), state, filePerm); err != nil {
			return fmt.Errorf("queue: state of %s: %w", id, err)
		}
		return nil
	}
	applied, err := j.state(id, state)
	if err != nil {
		return fmt.Errorf("queue: state of %s: %w", id, err)
	}
	if sp.updateLogOnly(id, state, applied) {
		return nil
	}
	defer applied()
	if err := durable.Replace(s.fsys, spooledState(id), state, filePerm); err != nil {
		s.fall(err) // the log has it
	}
	return nil
}

// Remove takes a message out of the spool; in mailboxes it stays. When it returns nil that is durable. A message that is
// not there is no error.
func (sp *Spool) Remove(id string) error {
	if err := sp.store.gate.enter(); err != nil {
		return err
	}
	defer sp.store.gate.leave()
	return sp.removeEntered(id)
}

// removeEntered is Remove for a caller that has entered the gate.
func (sp *Spool) removeEntered(id string) error {
	s := sp.store
	j := s.journal.Load()
	if j == nil {
		return errors.Join(sp.unlink(id), s.fsys.SyncDir(spoolDir))
	}
	applied, err := j.unspooled(id)
	if err != nil {
		return fmt.Errorf("queue: removing %s: %w", id, err)
	}
	defer applied()
	if sp.removeLogOnly(id) {
		return nil
	}
	if err := sp.unlink(id); err != nil {
		s.fall(err) // the log has it
	}
	return nil
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
// were not acknowledged, or whose state was taken away by hand. What an earlier process left of unfinished states is removed
// if clean is set; only the process that holds the lock of the data directory may do that, and before it updates any.
func (sp *Spool) List(clean bool) (ids, strays []string, err error) {
	if err := sp.store.gate.enter(); err != nil {
		return nil, nil, err
	}
	defer sp.store.gate.leave()
	names, err := sp.store.fsys.ReadNames(spoolDir)
	if err != nil {
		return nil, nil, fmt.Errorf("queue: %w", err)
	}
	const state, message = 1, 2
	found := make(map[string]int, len(names)/2)
	for _, m := range sp.logOnly.all() {
		found[m.id] = state | message
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
	slices.Sort(ids)
	slices.Sort(strays)
	return ids, strays, err
}

// Quarantine takes a message out of the spool and keeps its files aside, in data/queue/quarantine: they are there,
// durably, before they leave the spool.
func (sp *Spool) Quarantine(id string) error {
	s := sp.store
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	if m := sp.logOnly.find(id); m != nil {
		if err := sp.writeOut(m); err != nil {
			return err
		}
	}
	if err := s.fsys.MkdirAll(quarantineDir, dirPerm); err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	err := sp.eachFile(id, func(name string) error {
		if err := s.syncFile(name); err != nil {
			return err // the log forgets what it has of it
		}
		err := s.fsys.Link(name, path.Join(quarantineDir, path.Base(name)))
		if errors.Is(err, fs.ErrExist) {
			return nil // an earlier call went so far
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := s.fsys.SyncDir(quarantineDir); err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	return sp.removeEntered(id)
}
