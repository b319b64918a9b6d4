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

// writeOutAfter is how long a message in the spool has no files: most have left by then, and making files costs more than
// all the rest.
const writeOutAfter = 250 * time.Millisecond

// logOnly is a message in the spool that only the log and memory hold. It is in no mailbox.
type logOnly struct {
	id    string
	since time.Time

	mu      sync.Mutex
	content []byte
	state   []byte
	applied func() // tells the log that it need not hold the message any more
	over    bool   // it has its files, or has left
}

// logOnlyIndex finds them.
type logOnlyIndex struct {
	mu    sync.Mutex
	byID  map[string]*logOnly
	timer *time.Timer    // to write out what stays; nil: none is running
	over  bool           // nothing is written out any more
	busy  sync.WaitGroup // the timer's goroutine
}

func (u *logOnlyIndex) find(id string) *logOnly {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.byID[id]
}

func (u *logOnlyIndex) forget(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.byID, id)
}

// keep takes a message that the log has.
func (sp *Spool) keep(m *logOnly) {
	u := &sp.logOnly
	m.since = time.Now()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.byID == nil {
		u.byID = make(map[string]*logOnly)
	}
	u.byID[m.id] = m
	if u.timer == nil {
		u.timer = time.AfterFunc(writeOutAfter, sp.writeOutOld)
	}
}

// writeOutOld gives files to what has stayed too long, and comes back as long as there is anything. What cannot be
// written makes the store recover, which has the room of the reserve for it.
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
			sp.store.fall(err)
			return
		}
	}
}

func (sp *Spool) restartTimer() {
	u := &sp.logOnly
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
	for _, m := range sp.logOnly.all() {
		if err := sp.writeOut(m); err != nil {
			return err
		}
	}
	return nil
}

func (u *logOnlyIndex) all() []*logOnly {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Collect(maps.Values(u.byID))
}

// begin reports whether the timer's goroutine may write out.
func (u *logOnlyIndex) begin() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.over {
		u.busy.Add(1)
	}
	return !u.over
}

// stop lets nothing be written out any more, and waits until what is being written out is.
func (u *logOnlyIndex) stop() {
	u.mu.Lock()
	u.over = true
	if u.timer != nil {
		u.timer.Stop()
	}
	u.mu.Unlock()
	u.busy.Wait()
}

// written is called when a recovery has given files to all messages that the log has.
func (u *logOnlyIndex) written() {
	for _, m := range u.all() {
		m.mu.Lock()
		m.over = true
		m.mu.Unlock()
		u.forget(m.id)
	}
}

// writeOut gives a message its files.
func (sp *Spool) writeOut(m *logOnly) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.over {
		return nil
	}
	if err := sp.makeFiles(m); err != nil {
		return err
	}
	m.over = true
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

// makeFile makes a file that is there whole or not at all.
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

// claim locks a message that has no files; nil if it has some. The caller unlocks it.
func (sp *Spool) claim(id string) *logOnly {
	m := sp.logOnly.find(id)
	if m == nil {
		return nil
	}
	m.mu.Lock()
	if m.over {
		m.mu.Unlock()
		return nil
	}
	return m
}

// updateLogOnly is called when the log has another state of a message that has no files. The message will stay, because
// an attempt has failed; so it gets files.
func (sp *Spool) updateLogOnly(id string, state []byte, applied func()) (done bool) {
	m := sp.claim(id)
	if m == nil {
		return false
	}
	before := m.applied
	m.state, m.applied = state, func() { before(); applied() }
	m.mu.Unlock()
	if err := sp.writeOut(m); err != nil {
		sp.store.fall(err)
	}
	return true
}

// removeLogOnly lets a message go that has no files, as the log knows.
func (sp *Spool) removeLogOnly(id string) (done bool) {
	m := sp.claim(id)
	if m == nil {
		return false
	}
	defer m.mu.Unlock()
	m.over = true
	sp.logOnly.forget(id)
	m.applied()
	return true
}
