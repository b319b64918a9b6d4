package daemon

import (
	"context"
	"sync/atomic"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/backup"
	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/caught"
)

const (
	// backupDelay is the time from the start of the server to its first backup, so that a server that
	// restarts after a failure serves clients first.
	backupDelay = 2 * time.Minute
	// backupInterval is the time between looks at the clock and the configuration.
	backupInterval = time.Minute
)

// backups is the state of the part that makes backups.
type backups struct {
	wake chan struct{} // receives a value when a person wants one now
	busy atomic.Bool   // one is being made, or begins in a moment
}

// startBackup makes the part make a backup now. It returns false if one is at work.
func (d *Daemon) startBackup() bool {
	if !d.backups.busy.CompareAndSwap(false, true) {
		return false
	}
	d.backups.wake <- struct{}{}
	return true
}

// makeBackups makes the part that makes backups at the times of the configuration.
func (d *Daemon) makeBackups(*config.Config) (part, error) {
	d.backups.wake = make(chan struct{}, 1)
	return loop("backups", func(ctx context.Context) {
		ticks := time.NewTicker(backupInterval)
		defer ticks.Stop()
		start := time.Now().Add(backupDelay)
		for {
			select {
			case now := <-ticks.C:
				if now.Before(start) || !d.backups.busy.CompareAndSwap(false, true) {
					continue
				}
				d.backup(ctx, now, false)
			case <-d.backups.wake:
				d.backup(ctx, time.Now(), true)
			case <-ctx.Done():
				return
			}
		}
	}), nil
}

// backup makes a backup if it is wanted or due. The caller has set busy.
func (d *Daemon) backup(ctx context.Context, now time.Time, wanted bool) {
	defer d.backups.busy.Store(false)
	err := caught.Do(func() error { d.backupIfDue(ctx, now, wanted); return nil })
	caught.Log(d.log, err, "a program error in a backup")
}

func (d *Daemon) backupIfDue(ctx context.Context, now time.Time, wanted bool) {
	cfg := d.office.Config().Backup
	if cfg.Dir == "" {
		return
	}
	state, err := d.office.BackupState()
	if err != nil {
		d.log.Error("the record of backups is damaged and is written anew",
			"file", backup.StateFile, "error", err)
	}
	if err != nil || state.Dir != cfg.Dir {
		state = admin.BackupState{Dir: cfg.Dir, Since: now}
		if err := d.office.WriteBackupState(state); err != nil {
			d.log.Error("cannot write the record of backups", "file", backup.StateFile, "error", err)
		}
	}
	if !wanted && !backup.Due(now, cfg.At, state.Success, state.Tried) {
		return
	}
	d.log.Info("a backup began", "dir", cfg.Dir)
	done, err := d.office.By(admin.Actor{Who: "server", From: "schedule", Act: "backup"}).ScheduledBackup(ctx)
	s := done.Snapshot
	switch {
	case ctx.Err() != nil:
	case err != nil:
		d.log.Error("a backup failed; it is tried again in an hour", append(errorArgs(err), "dir", cfg.Dir)...)
	case len(s.Problems) > 0:
		d.log.Error("a backup lacks files", "dir", cfg.Dir, "snapshot", s.ID, "first", s.Problems[0])
	default:
		d.log.Info("a backup was made", "dir", cfg.Dir, "snapshot", s.ID, "files", s.Files, "bytes", s.Bytes,
			"new_files", s.NewFiles, "new_bytes", s.NewBytes, "took", s.Took.Round(time.Millisecond).String(),
			"removed", len(done.Removed))
	}
}
