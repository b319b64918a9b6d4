package mailstore

import (
	"errors"
	"sync"
)

// ErrClosed means that the store is closed, or is being closed.
var ErrClosed = errors.New("the mail store is closed")

// ErrRecovering means that the store must be recovered from its log and that the last attempt
// failed. The caller tries again later; the store itself repeats the recovery.
var ErrRecovering = errors.New("the mail store is being recovered")

// gate admits operations to the store. It keeps them out during a recovery, and while one caller
// has the store exclusively.
type gate struct {
	mu         sync.Mutex
	changed    *sync.Cond
	inside     int  // number of operations
	locked     bool // one caller has the store, or waits for inside == 0
	recovering bool // the store must be recovered first
	// refusal is the error of operations after a failed recovery; nil means that they wait.
	refusal error
	closed  bool // the store is closed, or waits for that until inside == 0
}

func newGate() *gate {
	g := &gate{}
	g.changed = sync.NewCond(&g.mu)
	return g
}

// enter begins an operation; leave ends it. enter waits during a recovery and while a caller has
// the store exclusively. An operation must not enter twice.
func (g *gate) enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.waitOpenLocked(); err != nil {
		return err
	}
	g.inside++
	return nil
}

// enterToMakeRoom is enter for an operation that frees space in the log. An operation inside may be
// waiting for that space. So enterToMakeRoom does not wait for a caller of lock that itself waits
// for the operations inside; close does.
func (g *gate) enterToMakeRoom() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if waits := (g.locked || g.closed) && g.inside > 0; !waits || g.recovering {
		if err := g.waitOpenLocked(); err != nil {
			return err
		}
	}
	g.inside++
	return nil
}

// tryEnter is enter without waiting, for the goroutine that runs the recovery.
func (g *gate) tryEnter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.locked || g.recovering || g.closed {
		return false
	}
	g.inside++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside--; g.inside == 0 {
		g.changed.Broadcast()
	}
}

// lock gives the store to one caller until unlock. If an operation inside has failed meanwhile, the
// recovery runs first.
func (g *gate) lock() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		if err := g.waitOpenLocked(); err != nil {
			return err
		}
		if g.lockLocked(); !g.recovering {
			return nil
		}
		g.unlockLocked()
	}
}

func (g *gate) unlock() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unlockLocked()
}

// requireRecovery keeps operations out until a recovery succeeds. It does not wait.
func (g *gate) requireRecovery() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.recovering = true
}

// recoveryRequired reports whether the store must be recovered.
func (g *gate) recoveryRequired() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.recovering
}

// refused returns the error that an operation would get now.
func (g *gate) refused() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.recovering && g.refusal == nil {
		return ErrRecovering
	}
	return g.refusal
}

// lockToRecover gives the store to the recovery, which ends with recovered.
func (g *gate) lockToRecover() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.recovering = true
	for g.locked {
		g.changed.Wait()
	}
	g.lockLocked()
}

// recovered ends a recovery. nil admits operations again; an error keeps them out, and they fail
// with it.
func (g *gate) recovered(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.locked, g.recovering, g.refusal = false, err != nil, err
	g.changed.Broadcast()
}

// close keeps further operations out, and returns when those inside have ended.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	g.changed.Broadcast()
	for g.inside > 0 || g.locked {
		g.changed.Wait()
	}
}

func (g *gate) waitOpenLocked() error {
	for (g.locked || g.recovering) && g.refusal == nil && !g.closed {
		g.changed.Wait()
	}
	if g.closed {
		return ErrClosed
	}
	return g.refusal
}

func (g *gate) unlockLocked() {
	g.locked = false
	g.changed.Broadcast()
}

func (g *gate) lockLocked() {
	g.locked = true
	for g.inside > 0 {
		g.changed.Wait()
	}
}
