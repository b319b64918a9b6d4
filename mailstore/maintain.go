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
	// defaultLogSize is the size of each of the two log files, in bytes.
	defaultLogSize = 16 << 20
	// maintainEvery is the interval at which the maintainer repeats what failed before.
	maintainEvery = 5 * time.Second
)

// maintainer keeps the log usable, on its own goroutine. It recovers the store after a failure,
// makes the reserve again and removes files that the log no longer needs.
type maintainer struct {
	store  *Store
	opts   RecoverOptions
	wakeup chan struct{}
	stop   context.CancelFunc
	done   sync.WaitGroup
	// leftovers are the files that an earlier process left in the incoming directory.
	leftovers     []string
	reserveLogged bool // the missing reserve was logged
	failureLogged bool // the failed recovery was logged
}

// Recover recovers the store from its log and removes the unfinished messages of an earlier
// process, none of which was acknowledged. From then on the log makes deliveries durable. Only the
// process that holds the lock of the data directory may call it, once, before it receives or serves
// mail. That process calls Close at its end.
//
// If the recovery fails, for example on a damaged disk, it is repeated every few seconds. Until it
// succeeds, every operation fails with ErrRecovering. An error of Recover itself is permanent.
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
	leftovers, err := s.fsys.ReadNames(incomingDir)
	if err != nil {
		return fmt.Errorf("mail store: %w", err)
	}
	m := &maintainer{store: s, opts: opts, wakeup: make(chan struct{}, 1), leftovers: leftovers}
	s.maintainer, s.syncEach = m, opts.SyncEach
	_ = m.recover() // repeated by run
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	m.done.Go(func() { m.run(ctx) })
	return nil
}

// observe tells RecoverOptions.Took the time until the call of its result.
func (s *Store) observe(step Step) (done func()) {
	if s.maintainer == nil || s.maintainer.opts.Took == nil {
		return func() {}
	}
	took, start := s.maintainer.opts.Took, time.Now()
	return func() { took(step, time.Since(start)) }
}

// Ready returns nil if the store takes mail. The error is ErrRecovering while it is being recovered
// from its log, or the reason why the last recovery failed. Ready never waits for the disk.
func (s *Store) Ready() error {
	if err := s.gate.refused(); err != nil {
		return err
	}
	if s.maintainer != nil && s.log.Load() == nil {
		return errors.New("the log of the mail store cannot be opened")
	}
	return nil
}

// LogFill returns the part of the log that holds changes which are not synced yet, from 0 to 1; 0
// without a log. It waits while the log is written.
func (s *Store) LogFill() float64 {
	if l := s.log.Load(); l != nil {
		return l.log.Fill()
	}
	return 0
}

// requireRecovery is called when a change whose record is in the log has failed. It must be called
// before applied, so that the log keeps the record. No segment is emptied and no operation begins
// until a recovery succeeds.
func (s *Store) requireRecovery(err error) {
	if l := s.log.Load(); l != nil {
		l.log.Stop()
	}
	s.logStopped(err)
}

// logStopped is called when the log has stopped: it takes no records and keeps those it has.
func (s *Store) logStopped(err error) {
	s.gate.requireRecovery()
	s.maintainer.opts.Log.Warn("mail store stopped for a recovery from its log", "reason", err)
	s.maintainer.wake()
}

func (m *maintainer) wake() {
	select {
	case m.wakeup <- struct{}{}:
	default:
	}
}

func (m *maintainer) end() {
	m.stop()
	m.done.Wait()
}

func (m *maintainer) run(ctx context.Context) {
	ticker := time.NewTicker(maintainEvery)
	defer ticker.Stop()
	for {
		select {
		case <-m.wakeup:
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		m.maintain()
	}
}

func (m *maintainer) maintain() {
	if m.store.gate.recoveryRequired() {
		if err := m.recover(); err != nil {
			return
		}
		m.opts.Log.Info("mail store recovered")
		if m.opts.Recovered != nil {
			m.opts.Recovered()
		}
	}
	l := m.store.log.Load()
	if l == nil {
		m.openLog()
		return
	}
	m.store.removeObsolete(l)
	if m.store.gate.tryEnter() {
		defer m.store.gate.leave()
		m.ensureReserve(l)
	}
}

// recover replays the log while no operation is inside.
func (m *maintainer) recover() error {
	s := m.store
	s.gate.lockToRecover()
	err := m.replay()
	if durable.NoSpace(err) && s.fsys.Remove(reserveFile) == nil {
		m.opts.Log.Warn("disk full during recovery; the log's reserve was released", "error", err)
		err = m.replay()
	}
	if err != nil && s.log.Load() == nil {
		err = m.withoutLog(err)
	}
	if err == nil {
		m.clearIncoming()
	} else {
		err = fmt.Errorf("%w: %w", ErrRecovering, err)
	}
	m.logFailure(err)
	s.gate.recovered(err)
	return err
}

// logFailure logs a failed recovery, once until one succeeds.
func (m *maintainer) logFailure(err error) {
	if err != nil && !m.failureLogged {
		m.opts.Log.Error("recovery from the log failed; until it succeeds, "+
			"no mail is accepted, fetched, sent or deleted", "error", err)
	}
	m.failureLogged = err != nil
}

func (m *maintainer) replay() error {
	s := m.store
	l := s.log.Load()
	if l == nil {
		var err error
		if l, err = m.openStoreLog(); err != nil {
			return err
		}
	}
	r := newRecovery(s, m.opts.Log)
	if err := l.log.Replay(r.read, r.restore); err != nil {
		if s.log.Load() == nil {
			err = errors.Join(err, l.log.Abandon())
		}
		return err
	}
	if m.opts.Accepted != nil {
		r.ids(m.opts.Accepted)
	}
	s.spool.logOnly.written()
	s.log.Store(l)
	if !m.opts.Offline {
		m.ensureReserve(l)
	}
	return nil
}

// clearIncoming removes the leftovers. No record needs them any more.
func (m *maintainer) clearIncoming() {
	for _, name := range m.leftovers {
		if err := m.store.fsys.RemoveAll(path.Join(incomingDir, name)); err != nil {
			m.opts.Log.Warn("could not remove an unfinished message",
				"file", path.Join(incomingDir, name), "error", err)
		}
	}
	m.leftovers = nil
}

// openStoreLog opens the log, and creates it if it is missing.
func (m *maintainer) openStoreLog() (*storeLog, error) {
	s, size := m.store, m.opts.LogSize
	l := &storeLog{reserve: durable.NewReserve(s.fsys, reserveFile, 2*size)}
	opts := durable.LogOptions{
		Segment: size, Delay: m.opts.SyncDelay, Budget: 2 * size,
		Emptied: l.emptied, Failed: s.logStopped, Log: m.opts.Log,
	}
	if took := m.opts.Took; took != nil {
		opts.Took = func(sync bool, d time.Duration) {
			if sync {
				took(StepSync, d)
			} else {
				took(StepFlush, d)
			}
		}
	}
	if s.syncEach {
		opts.Sync = s.syncRecords
	}
	var err error
	l.log, err = durable.OpenLog(s.fsys, logDir, opts)
	return l, err
}

// withoutLog handles a log that cannot be opened. If it never held a record, the store works without
// it and refuses mail. That an old log looks empty is not enough: the disk may not have that yet, and
// the records would come back after mail was deleted without one.
func (m *maintainer) withoutLog(err error) error {
	if unused, failed := durable.LogUnused(m.store.fsys, logDir); failed != nil || !unused {
		return err
	}
	m.opts.Log.Error("could not create the log; no mail is accepted until it exists", "error", err)
	return nil
}

// hasLog reports whether a log exists.
func (s *Store) hasLog() bool {
	names, err := s.fsys.ReadNames(logDir)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	return slices.Contains(names, "log0") || slices.Contains(names, "log1")
}

// openLog opens the log that could not be opened before.
func (m *maintainer) openLog() {
	l, err := m.openStoreLog()
	if err != nil {
		return
	}
	noRecords := func([]byte) error { return errRecord }
	if err := l.log.Replay(noRecords, newRecovery(m.store, m.opts.Log).restore); err != nil {
		_ = l.log.Abandon()
		return
	}
	m.ensureReserve(l)
	m.store.log.Store(l)
	m.opts.Log.Info("log created; mail is accepted again")
}

// ensureReserve makes the reserve if it is not whole. Without it the log takes no message, because
// a replay could fail on a full disk. The caller is inside the gate, or has the store exclusively.
func (m *maintainer) ensureReserve(l *storeLog) {
	err := l.reserve.Ensure()
	l.reserveHeld.Store(err == nil)
	switch {
	case err != nil && !m.reserveLogged:
		m.opts.Log.Error("disk full: the log has no reserve; no mail is accepted until it has",
			"file", reserveFile, "bytes", l.reserve.Size(), "error", err)
	case err == nil && m.reserveLogged:
		m.opts.Log.Info("the log has its reserve again; mail is accepted again")
	}
	m.reserveLogged = err != nil
}

// removeObsolete removes the files in the incoming directory that no record needs any more.
func (s *Store) removeObsolete(l *storeLog) {
	for _, name := range l.takeObsolete() {
		_ = s.fsys.Remove(name) // the next start removes a leftover
	}
}

// checkAcceptsMail returns an error, ENOSPC, if the log may take no message now.
func (s *Store) checkAcceptsMail(l *storeLog) error {
	if l == nil {
		return fmt.Errorf("mail store: the log could not be created: %w", syscall.ENOSPC)
	}
	if !l.reserveHeld.Load() {
		return fmt.Errorf("mail store: the log has no reserve of %d bytes: %w",
			l.reserve.Size(), syscall.ENOSPC)
	}
	return nil
}
