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

// MaxState is the largest size in octets of a message's state: 1.3 KB for each of 100,000
// recipients. A larger file counts as damaged and is not read.
const MaxState = 128 << 20

// ErrNotSpooled means that the spool has no such message.
var ErrNotSpooled = errors.New("no such message in the queue")

// Spool holds the messages that wait for other servers, in data/queue. Each has two files. <id>.eml
// is the message, the same file as in its mailboxes. <id>.env is its state, whose content belongs
// to package queue. A message is in the spool as long as its state exists. A small message without
// a mailbox gets its files only if it is still in the spool after a moment; until then the log
// holds it.
//
// Changes are as durable as a commit. Every method may fail with ErrRecovering. A Spool is safe for
// concurrent use, but the caller must make the changes of one message one after the other.
type Spool struct {
	store   *Store
	logOnly logOnlyIndex
}

// Spool returns the store's spool. Incoming.Spool puts messages there.
func (s *Store) Spool() *Spool { return &s.spool }

func spooledMessage(id string) string { return spoolDir + "/" + id + messageSuffix }

func spooledState(id string) string { return spoolDir + "/" + id + stateSuffix }

// spooledNames returns the file names of a message. The state is first: its removal takes the
// message out of the spool.
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
	if err != nil {
		return nil, 0, notSpooled(id, err)
	}
	return f, fi.Size(), nil
}

// notSpooled turns the error of a missing file into ErrNotSpooled.
func notSpooled(id string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", id, ErrNotSpooled)
	}
	return err
}

// State returns the state of a message. The error is ErrDamaged if the state is not a regular file
// or larger than MaxState.
func (sp *Spool) State(id string) ([]byte, error) {
	if !isID(id) {
		return nil, fmt.Errorf("%.60q: %w", id, ErrNotSpooled)
	}
	if err := sp.store.gate.enter(); err != nil {
		return nil, err
	}
	defer sp.store.gate.leave()
	if l := sp.store.log.Load(); l != nil {
		if state, ok := l.latestState(id); ok {
			return state, nil
		}
	}
	f, fi, err := sp.store.openRegular(spooledState(id))
	if err != nil {
		return nil, notSpooled(id, err)
	}
	defer f.Close()
	if fi.Size() > MaxState {
		return nil, fmt.Errorf("%s: %w: its state has %d octets", id, ErrDamaged, fi.Size())
	}
	return io.ReadAll(io.LimitReader(f, MaxState))
}

// Update replaces the state of a message in the spool. nil means that the new state is durable. The
// spool owns the slice state from then on.
func (sp *Spool) Update(id string, state []byte) error {
	s := sp.store
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	l := s.log.Load()
	if l == nil || l.avoids(id) {
		if err := durable.WriteFile(s.fsys, spooledState(id), state, filePerm); err != nil {
			return fmt.Errorf("queue: state of %s: %w", id, err)
		}
		return nil
	}
	applied, err := l.state(id, state)
	if err != nil {
		return fmt.Errorf("queue: state of %s: %w", id, err)
	}
	if sp.updateLogOnly(id, state, applied) {
		return nil
	}
	defer applied()
	if err := durable.Replace(s.fsys, spooledState(id), state, filePerm); err != nil {
		s.requireRecovery(err) // the record is in the log
	}
	return nil
}

// Remove removes a message from the spool; its mailboxes keep it. nil means that the removal is
// durable. A missing message is no error.
func (sp *Spool) Remove(id string) error {
	if err := sp.store.gate.enter(); err != nil {
		return err
	}
	defer sp.store.gate.leave()
	return sp.removeEntered(id)
}

// removeEntered is Remove for a caller inside the gate.
func (sp *Spool) removeEntered(id string) error {
	s := sp.store
	l := s.log.Load()
	if l == nil {
		return errors.Join(sp.unlink(id), s.fsys.SyncDir(spoolDir))
	}
	applied, err := l.unspooled(id)
	if err != nil {
		return fmt.Errorf("queue: removing %s: %w", id, err)
	}
	defer applied()
	if sp.removeLogOnly(id) {
		return nil
	}
	if err := sp.unlink(id); err != nil {
		s.requireRecovery(err) // the record is in the log
	}
	return nil
}

func (sp *Spool) unlink(id string) error {
	return sp.eachFile(id, sp.store.fsys.Remove)
}

// eachFile calls do for the files of a message, and skips missing ones. It stops at the first
// error.
func (sp *Spool) eachFile(id string, do func(name string) error) error {
	for _, name := range spooledNames(id) {
		if err := do(path.Join(spoolDir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("queue: %w", err)
		}
	}
	return nil
}

// List returns the ids of all messages in order of arrival. strays are the messages without a
// state: they were not acknowledged, or an administrator removed the state. clean removes the
// unfinished state files of an earlier process. Only the process that holds the lock of the data
// directory may set it, before it updates any state.
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

// Quarantine moves a message from the spool to data/queue/quarantine. The files there are durable
// before the message leaves the spool.
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
			return err // the log is about to forget this file
		}
		err := s.fsys.Link(name, path.Join(quarantineDir, path.Base(name)))
		if errors.Is(err, fs.ErrExist) {
			return nil // linked by an earlier call
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
