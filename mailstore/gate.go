package mailstore

import (
	"errors"
	"sync"
)

// ErrRecovering says that what the log holds is not on the disk yet, so that no operation can be promised. It is the
// state after an unclean end or a failed sync, until the recovery succeeds; the caller tries again later.
var ErrRecovering = errors.New("the mail store is being recovered")

// gate lets operations act on the store together. It keeps them out while the store's state is half recovered, and
// while one caller has the store for itself.
type gate struct {
	mu         sync.Mutex
	changed    *sync.Cond
	inside     int   // operations
	locked     bool  // one caller has the store for itself, or waits until no operation is inside
	recovering bool  // the store has to be recovered first
	refusal    error // what operations are told while it cannot be recovered; nil: they wait
}

func newGate() *gate {
	g := &gate{}
	g.changed = sync.NewCond(&g.mu)
	return g
}

// enter begins an operation, which leave ends. It waits while another caller has the store for itself, or recovers it.
// An operation must not enter twice.
func (g *gate) enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.waitOpenLocked(); err != nil {
		return err
	}
	g.inside++
	return nil
}

// enterToMakeRoom is enter for an operation that makes room in the log. An operation inside may wait for that room; so this
// one does not wait for a caller who waits until no operation is inside.
func (g *gate) enterToMakeRoom() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if waits := g.locked && g.inside > 0; !waits || g.recovering {
		if err := g.waitOpenLocked(); err != nil {
			return err
		}
	}
	g.inside++
	return nil
}

// tryEnter is enter for the goroutine that recovers the store, which cannot wait for a recovery.
func (g *gate) tryEnter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.locked || g.recovering {
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

// lock gives the store to one caller, until unlock. If an operation that was inside has failed, the recovery comes first.
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

// fall lets no further operation in until a recovery succeeds. It does not wait.
func (g *gate) fall() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.recovering = true
}

// fallen reports whether a recovery is needed.
func (g *gate) fallen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.recovering
}

// stillFallen is the error that operations are told, or would be.
func (g *gate) stillFallen() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.recovering && g.refusal == nil {
		return ErrRecovering
	}
	return g.refusal
}

// lockToRecover gives the store to its recovery, which ends with recovered.
func (g *gate) lockToRecover() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.recovering = true
	for g.locked {
		g.changed.Wait()
	}
	g.lockLocked()
}

// recovered lets operations in. With an error it keeps them out, and tells them that.
func (g *gate) recovered(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.locked, g.recovering, g.refusal = false, err != nil, err
	g.changed.Broadcast()
}

func (g *gate) waitOpenLocked() error {
	for (g.locked || g.recovering) && g.refusal == nil {
		g.changed.Wait()
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
