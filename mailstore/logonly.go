package mailstore

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"
)

// writeOutAfter is how long a message in the spool stays without files. Most messages have left by
// then, and making files is the most expensive part of a delivery.
const writeOutAfter = 250 * time.Millisecond

// logOnly is a message in the spool that only the log and memory hold. It is in no mailbox.
type logOnly struct {
	id    string
	since time.Time

	mu      sync.Mutex
	content []byte
	state   []byte
	applied func() // tells the log that it may forget the message
	done    bool   // it has its files, or has left the spool
}

// logOnlyIndex holds the messages without files, by id.
type logOnlyIndex struct {
	mu      sync.Mutex
	byID    map[string]*logOnly
	timer   *time.Timer    // runs writeOutOld; nil: not running
	stopped bool           // no more files are written
	busy    sync.WaitGroup // the timer's goroutine
}

func (x *logOnlyIndex) find(id string) *logOnly {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.byID[id]
}

func (x *logOnlyIndex) forget(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.byID, id)
}

// addLogOnly adds a message whose record is in the log.
func (sp *Spool) addLogOnly(m *logOnly) {
	x := &sp.logOnly
	m.since = time.Now()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.byID == nil {
		x.byID = make(map[string]*logOnly)
	}
	x.byID[m.id] = m
	if x.timer == nil {
		x.timer = time.AfterFunc(writeOutAfter, sp.writeOutOld)
	}
}

// writeOutOld makes files for the messages that have stayed too long, and sets the timer again
// while there are others. After an error the store is recovered, with the space of the reserve.
func (sp *Spool) writeOutOld() {
	if !sp.logOnly.begin() {
		return
	}
	defer sp.logOnly.busy.Done()
	defer sp.restartTimer()
	if sp.store.gate.enterToMakeRoom() != nil {
		return
	}
	defer sp.store.gate.leave()
	for _, m := range sp.logOnly.all() {
		if time.Since(m.since) < writeOutAfter {
			continue
		}
		if err := sp.writeOut(m); err != nil {
			sp.store.requireRecovery(err)
			return
		}
	}
}

func (sp *Spool) restartTimer() {
	x := &sp.logOnly
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.byID) > 0 && !x.stopped {
		x.timer.Reset(writeOutAfter)
	} else {
		x.timer = nil
	}
}

// writeOutAll makes files for all messages. After an error the log still holds the rest.
func (sp *Spool) writeOutAll() error {
	for _, m := range sp.logOnly.all() {
		if err := sp.writeOut(m); err != nil {
			return err
		}
	}
	return nil
}

func (x *logOnlyIndex) all() []*logOnly {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Collect(maps.Values(x.byID))
}

// begin reports whether the timer's goroutine may write files.
func (x *logOnlyIndex) begin() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.stopped {
		x.busy.Add(1)
	}
	return !x.stopped
}

// stop ends the writing of files, and waits for the timer's goroutine.
func (x *logOnlyIndex) stop() {
	x.mu.Lock()
	x.stopped = true
	if x.timer != nil {
		x.timer.Stop()
	}
	x.mu.Unlock()
	x.busy.Wait()
}

// written is called after a recovery, which has made files for all messages in the log.
func (x *logOnlyIndex) written() {
	for _, m := range x.all() {
		m.mu.Lock()
		m.done = true
		m.mu.Unlock()
		x.forget(m.id)
	}
}

// writeOut makes the files of a message.
func (sp *Spool) writeOut(m *logOnly) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.done {
		return nil
	}
	if err := sp.makeFiles(m); err != nil {
		return err
	}
	m.done = true
	sp.logOnly.forget(m.id)
	m.applied()
	return nil
}

func (sp *Spool) makeFiles(m *logOnly) error {
	for _, f := range []struct {
		name string
		text []byte
	}{{spooledMessage(m.id), m.content}, {spooledState(m.id), m.state}} {
		if err := sp.makeFile(m.id, f.name, f.text); err != nil {
			return fmt.Errorf("queue: %w", err)
		}
	}
	return nil
}

// makeFile makes a file that is complete as soon as it has its name.
func (sp *Spool) makeFile(id, name string, text []byte) error {
	file, err := sp.store.unnamedContent(id)
	if err != nil {
		return err
	}
	defer file.discard()
	if _, err := file.Write(text); err != nil {
		return err
	}
	return sp.store.fsys.LinkFile(file.File, name)
}

// openLogOnly opens a message that has no files.
func (sp *Spool) openLogOnly(id string) (io.ReadCloser, int64, bool) {
	m := sp.logOnly.find(id)
	if m == nil {
		return nil, 0, false
	}
	return io.NopCloser(bytes.NewReader(m.content)), int64(len(m.content)), true
}

// lockLogOnly locks a message that has no files, or returns nil. The caller unlocks it.
func (sp *Spool) lockLogOnly(id string) *logOnly {
	m := sp.logOnly.find(id)
	if m == nil {
		return nil
	}
	m.mu.Lock()
	if m.done {
		m.mu.Unlock()
		return nil
	}
	return m
}

// updateLogOnly replaces the state of a message without files, whose record is in the log. A new
// state means that an attempt has failed and the message will stay, so it gets files now.
func (sp *Spool) updateLogOnly(id string, state []byte, applied func()) (done bool) {
	m := sp.lockLogOnly(id)
	if m == nil {
		return false
	}
	before := m.applied
	m.state, m.applied = state, func() { before(); applied() }
	m.mu.Unlock()
	if err := sp.writeOut(m); err != nil {
		sp.store.requireRecovery(err)
	}
	return true
}

// removeLogOnly removes a message without files, whose removal is in the log.
func (sp *Spool) removeLogOnly(id string) (done bool) {
	m := sp.lockLogOnly(id)
	if m == nil {
		return false
	}
	defer m.mu.Unlock()
	m.done = true
	sp.logOnly.forget(id)
	m.applied()
	return true
}
