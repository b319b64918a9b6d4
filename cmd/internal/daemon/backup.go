package daemon

import (
	"context"
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

// makeBackups makes the part that makes backups at the times of the configuration.
func (d *Daemon) makeBackups(*config.Config) (part, error) {
	return loop("backups", func(ctx context.Context) {
		ticks := time.NewTicker(backupInterval)
		defer ticks.Stop()
		start := time.Now().Add(backupDelay)
		for {
			select {
			case now := <-ticks.C:
				if now.Before(start) {
					continue
				}
				err := caught.Do(func() error { d.backupIfDue(ctx, now); return nil })
				caught.Log(d.log, err, "a program error in a backup")
			case <-ctx.Done():
				return
			}
		}
	}), nil
}

// backupIfDue makes a backup if it is time.
func (d *Daemon) backupIfDue(ctx context.Context, now time.Time) {
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
	if !backup.Due(now, cfg.At, state.Success, state.Tried) {
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
