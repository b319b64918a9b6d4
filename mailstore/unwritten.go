package mailstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"pillarbox/mailstore/durable"
)

// writeOutAfter is how long a message in the spool may do without files: most have left by then, and making files costs more than
// all the rest.
const writeOutAfter = 250 * time.Millisecond

// unwritten is a message in the spool that only the log and memory hold. It is in no mailbox.
type unwritten struct {
	id    string
	since time.Time

	mu      sync.Mutex
	content []byte
	state   []byte
	applied func() // tells the log that it need not hold the message any more
	over    bool   // it has its files, or has left
}

// unwrittens are all of them.
type unwrittens struct {
	mu    sync.Mutex
	byID  map[string]*unwritten
	timer *time.Timer // to write out what stays; nil: none is running
	over  bool        // nothing is written out any more
}

func (u *unwrittens) find(id string) *unwritten {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.byID[id]
}

func (u *unwrittens) ids() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Collect(maps.Keys(u.byID))
}

func (u *unwrittens) forget(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.byID, id)
}

// keep takes a message that the log has.
func (sp *Spool) keep(m *unwritten) {
	u := &sp.unwritten
	m.since = time.Now()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.byID == nil {
		u.byID = make(map[string]*unwritten)
	}
	u.byID[m.id] = m
	if u.timer == nil {
		u.timer = time.AfterFunc(writeOutAfter, sp.writeOutOld)
	}
}

// writeOutOld gives files to what has stayed too long, and comes back as long as there is anything.
func (sp *Spool) writeOutOld() {
	var old []*unwritten
	u := &sp.unwritten
	u.mu.Lock()
	for _, m := range u.byID {
		if time.Since(m.since) >= writeOutAfter {
			old = append(old, m)
		}
	}
	u.mu.Unlock()
	for _, m := range old {
		if sp.writeOut(m) != nil {
			break // the same disk fails them alike; the log has them
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.byID) > 0 && !u.over {
		u.timer.Reset(writeOutAfter)
	} else {
		u.timer = nil
	}
}

// writeOutAll gives files to all that need them. What cannot be written stays in the log, which waits for it.
func (sp *Spool) writeOutAll() error {
	u := &sp.unwritten
	u.mu.Lock()
	all := slices.Collect(maps.Values(u.byID))
	u.mu.Unlock()
	for _, m := range all {
		if err := sp.writeOut(m); err != nil {
			return err
		}
	}
	return nil
}

// giveUp lets go of all that could not be written.
func (sp *Spool) giveUp() {
	u := &sp.unwritten
	u.mu.Lock()
	u.over = true
	all := slices.Collect(maps.Values(u.byID))
	u.mu.Unlock()
	for _, m := range all {
		m.mu.Lock()
		if !m.over {
			m.over = true
			m.applied()
		}
		m.mu.Unlock()
	}
}

// writeOut gives a message its files.
func (sp *Spool) writeOut(m *unwritten) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.over {
		return nil
	}
	if err := sp.makeFiles(m); err != nil {
		return errors.Join(err, sp.unlink(m.id))
	}
	m.over = true
	sp.unwritten.forget(m.id)
	m.applied()
	return nil
}

func (sp *Spool) makeFiles(m *unwritten) error {
	file, err := sp.store.unnamedContent(m.id)
	if err != nil {
		return err
	}
	defer file.discard()
	if _, err := file.Write(m.content); err != nil {
		return err
	}
	if err := file.link(spooledMessage(m.id)); err != nil {
		return err
	}
	return durable.Create(sp.store.fsys, spooledState(m.id), m.state, filePerm)
}

// openUnwritten gives a message that has no files.
func (sp *Spool) openUnwritten(id string) (io.ReadCloser, int64, bool) {
	m := sp.unwritten.find(id)
	if m == nil {
		return nil, 0, false
	}
	return io.NopCloser(bytes.NewReader(m.content)), int64(len(m.content)), true
}

// stateUnwritten gives its state.
func (sp *Spool) stateUnwritten(id string) ([]byte, bool) {
	m := sp.unwritten.find(id)
	if m == nil {
		return nil, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state, true
}

// updateUnwritten replaces the state of a message that has no files, and gives it files: it was tried in vain, and will stay.
func (sp *Spool) updateUnwritten(j *journal, id string, state []byte) (done bool, err error) {
	m := sp.unwritten.find(id)
	if m == nil {
		return false, nil
	}
	m.mu.Lock()
	if m.over {
		m.mu.Unlock()
		return false, nil
	}
	// Who waits here for room would wait for himself: the log keeps its records until this message has files.
	file, applied, err := j.appendNow(stateRecord(id, state))
	if err == nil {
		j.note(file, id)
		m.state = state
		before := m.applied
		m.applied = func() { before(); applied() }
	}
	m.mu.Unlock()
	if errors.Is(err, durable.ErrLogFull) {
		return sp.settleFor(m, id, err)
	}
	if err != nil {
		return true, fmt.Errorf("queue: state of %s: %w", id, err)
	}
	_ = sp.writeOut(m) // it is tried again, and the log has both
	return true, nil
}

// removeUnwritten lets a message go that has no files.
func (sp *Spool) removeUnwritten(j *journal, id string) (done bool, err error) {
	m := sp.unwritten.find(id)
	if m == nil {
		return false, nil
	}
	m.mu.Lock()
	if m.over {
		m.mu.Unlock()
		return false, nil
	}
	_, applied, err := j.appendNow(removal(spoolDir, spooledNames(id)))
	if errors.Is(err, durable.ErrLogFull) {
		m.mu.Unlock()
		return sp.settleFor(m, id, err)
	}
	defer m.mu.Unlock()
	if err != nil {
		return true, fmt.Errorf("queue: removing %s: %w", id, err)
	}
	m.over = true
	sp.unwritten.forget(id)
	m.applied()
	applied()
	return true, nil
}

// settleFor gives a message files because the log is full, so that it goes the way of others and can wait for room there.
func (sp *Spool) settleFor(m *unwritten, id string, full error) (done bool, err error) {
	if err := sp.writeOut(m); err != nil {
		return true, fmt.Errorf("queue: %s: %w", id, errors.Join(full, err))
	}
	return false, nil
}
