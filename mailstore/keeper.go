package mailstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"sync"
	"syscall"
	"time"

	"pillarbox/mailstore/durable"
)

const (
	// defaultLogSize is the size of each half of the log, in bytes.
	defaultLogSize = 16 << 20
	// keeperRest is how often the keeper looks at what it could not do before.
	keeperRest = 5 * time.Second
)

// keeper keeps the log of a store in order, in a goroutine of its own: it recovers the store after a failure, makes the
// reserve again, and removes files that the log does not need any more.
type keeper struct {
	store  *Store
	opts   RecoverOptions
	poke   chan struct{}
	stop   context.CancelFunc
	done   sync.WaitGroup
	stale  []string // what an earlier process left in the incoming directory
	told   bool     // that there is no reserve
	failed bool     // the last recovery did
}

// Recover clears away the messages that were being received when an earlier process ended, none of which was
// acknowledged, and makes true what the log says. From then on the log keeps the acknowledgements. Only the process that
// holds the lock of the data directory may call it, once, before it receives anything or lets a client fetch; it calls
// Close at its end.
//
// If the recovery fails, as on a damaged disk, it is tried again every few seconds. Until it succeeds, every operation
// fails with ErrRecovering. An error of Recover itself is one that time does not mend.
func (s *Store) Recover(opts RecoverOptions) error {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.LogSize == 0 {
		opts.LogSize = defaultLogSize
	}
	if opts.Offline && !s.hasLog() {
		return nil
	}
	stale, err := s.fsys.ReadNames(incomingDir)
	if err != nil {
		return fmt.Errorf("mail store: %w", err)
	}
	k := &keeper{store: s, opts: opts, poke: make(chan struct{}, 1), stale: stale}
	s.keeper, s.syncEach = k, opts.SyncEach
	_ = k.recover() // it is tried again
	ctx, stop := context.WithCancel(context.Background())
	k.stop = stop
	k.done.Go(func() { k.run(ctx) })
	return nil
}

// fall is called when a change that the log has could not be made, before the log is told that it need not hold the
// record any more. From then on the log cuts nothing, and no operation begins, until a recovery has succeeded.
func (s *Store) fall(err error) {
	if j := s.journal.Load(); j != nil {
		j.log.Stop()
	}
	s.stopped(err)
}

// stopped is called when the log takes no records and cuts none any more.
func (s *Store) stopped(err error) {
	s.gate.fall()
	s.keeper.opts.Log.Warn("the mail store is recovered from its log", "reason", err)
	s.keeper.wake()
}

func (k *keeper) wake() {
	select {
	case k.poke <- struct{}{}:
	default:
	}
}

func (k *keeper) end() {
	k.stop()
	k.done.Wait()
}

func (k *keeper) run(ctx context.Context) {
	ticker := time.NewTicker(keeperRest)
	defer ticker.Stop()
	for {
		select {
		case <-k.poke:
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		k.tend()
	}
}

func (k *keeper) tend() {
	if k.store.gate.fallen() {
		if err := k.recover(); err != nil {
			return
		}
		k.opts.Log.Info("the mail store is recovered")
		if k.opts.Recovered != nil {
			k.opts.Recovered()
		}
	}
	j := k.store.journal.Load()
	if j == nil {
		k.openLog()
		return
	}
	k.store.removeTrash(j)
	if k.store.gate.tryEnter() {
		defer k.store.gate.leave()
		k.keepReserve(j)
	}
}

// recover replays the log, with the store for itself.
func (k *keeper) recover() error {
	s := k.store
	s.gate.lockToRecover()
	err := k.replay()
	if durable.NoSpace(err) && s.fsys.Remove(reserveFile) == nil {
		k.opts.Log.Warn("the disk has no room to write what the log holds; the reserve was given up for it", "error", err)
		err = k.replay()
	}
	if err != nil && s.journal.Load() == nil {
		err = k.withoutLog(err)
	}
	if err == nil {
		k.clearIncoming()
	} else {
		err = fmt.Errorf("%w: %w", ErrRecovering, err)
	}
	k.tell(err)
	s.gate.recovered(err)
	return err
}

// tell logs that a recovery failed, once until one succeeds.
func (k *keeper) tell(err error) {
	if err != nil && !k.failed {
		k.opts.Log.Error("what the log holds cannot be written now; until that succeeds no mail is taken, fetched, sent or deleted", "error", err)
	}
	k.failed = err != nil
}

func (k *keeper) replay() error {
	s := k.store
	j := s.journal.Load()
	if j == nil {
		var err error
		if j, err = k.newJournal(); err != nil {
			return err
		}
	}
	r := newRecovery(s, k.opts.Log)
	if err := j.log.Replay(r.read, r.restore); err != nil {
		if s.journal.Load() == nil {
			err = errors.Join(err, j.log.Abandon())
		}
		return err
	}
	s.spool.logOnly.written()
	s.journal.Store(j)
	if !k.opts.Offline {
		k.keepReserve(j)
	}
	return nil
}

// clearIncoming removes what an earlier process left. No record needs it any more.
func (k *keeper) clearIncoming() {
	for _, name := range k.stale {
		if err := k.store.fsys.RemoveAll(path.Join(incomingDir, name)); err != nil {
			k.opts.Log.Warn("cannot remove what is left of a message that was being received", "file", path.Join(incomingDir, name), "error", err)
		}
	}
	k.stale = nil
}

// newJournal opens the log, or makes it.
func (k *keeper) newJournal() (*journal, error) {
	s, size := k.store, k.opts.LogSize
	j := &journal{reserve: durable.NewReserve(s.fsys, reserveFile, 2*size)}
	opts := durable.LogOptions{
		Segment: size, Delay: k.opts.SyncDelay, Budget: 2 * size, Cut: j.cut, Failed: s.stopped, Log: k.opts.Log,
	}
	if s.syncEach {
		opts.Sync = s.syncRecords
	}
	var err error
	j.log, err = durable.OpenLog(s.fsys, journalDir, opts)
	return j, err
}

// withoutLog says what it means that the log cannot be opened. If nothing is in it, or there is none, the store works
// without, and takes no mail.
func (k *keeper) withoutLog(err error) error {
	if !k.store.logIsEmpty() {
		return err
	}
	k.opts.Log.Error("no log can be made; until it can, no mail is taken", "error", err)
	return nil
}

// hasLog reports whether there may be mail in a log.
func (s *Store) hasLog() bool {
	names, err := s.fsys.ReadNames(journalDir)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	return slices.Contains(names, "log0") || slices.Contains(names, "log1")
}

// logIsEmpty reports whether it is certain that the log holds nothing.
func (s *Store) logIsEmpty() bool {
	damage, err := durable.PeekLog(s.fsys, journalDir, func([]byte) error { return errRecord })
	return err == nil && len(damage) == 0
}

// openLog makes the log that could not be made before.
func (k *keeper) openLog() {
	j, err := k.newJournal()
	if err != nil {
		return
	}
	if err := j.log.Replay(func([]byte) error { return errRecord }, newRecovery(k.store, k.opts.Log).restore); err != nil {
		_ = j.log.Abandon()
		return
	}
	k.keepReserve(j)
	k.store.journal.Store(j)
	k.opts.Log.Info("the log is made; mail is taken again")
}

// keepReserve makes the reserve if it is not whole. Without it the log takes no message, because a replay could fail
// for want of room. The caller is inside the gate, or has the store for itself.
func (k *keeper) keepReserve(j *journal) {
	err := j.reserve.Ensure()
	j.held.Store(err == nil)
	switch {
	case err != nil && !k.told:
		k.opts.Log.Error("the disk has no room for the log's reserve; until it has, no mail is taken", "file", reserveFile, "bytes", j.reserve.Size(), "error", err)
	case err == nil && k.told:
		k.opts.Log.Info("the log's reserve is there again; mail is taken")
	}
	k.told = err != nil
}

// removeTrash removes the files in the incoming directory whose records were cut.
func (s *Store) removeTrash(j *journal) {
	for _, name := range j.takeTrash() {
		_ = s.fsys.Remove(name) // the next start removes what stays
	}
}

// mayTake reports whether the log may take a message: the error says that the disk has no room.
func (s *Store) mayTake(j *journal) error {
	if j == nil {
		return fmt.Errorf("mail store: no log can be made: %w", syscall.ENOSPC)
	}
	if !j.held.Load() {
		return fmt.Errorf("mail store: the log has no reserve of %d bytes: %w", j.reserve.Size(), syscall.ENOSPC)
	}
	return nil
}
