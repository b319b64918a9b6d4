package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pillarbox/cmd/internal/backup"
	"pillarbox/mailstore/durable"
)

// BackupPlace is the input of BackupList, and names a directory of backups. The Dir "" is the one of
// the configuration; only root may name another.
type BackupPlace struct{ Dir string }

// BackupChoice is a snapshot of a directory. The Snapshot "" is the newest one.
type BackupChoice struct{ Dir, Snapshot string }

// BackupDone is a backup that was made.
type BackupDone struct {
	Dir      string          `json:"dir"`
	Snapshot backup.Snapshot `json:"snapshot"`
	Removed  []string        `json:"removed,omitempty"` // older snapshots that the rule does not keep
}

// BackupListing is what a directory of backups has.
type BackupListing struct {
	Dir       string            `json:"dir"`
	Snapshots []backup.Snapshot `json:"snapshots"` // the oldest first
	Damaged   []string          `json:"damaged"`   // snapshots whose description cannot be read, and why
	State     BackupState       `json:"state"`     // of the scheduled backups
}

// BackupState is the content of backup.StateFile: how the backups into the configured directory went.
type BackupState struct {
	Since   time.Time `json:"since,omitzero"` // when this directory was first in the configuration
	Dir     string    `json:"dir,omitempty"`
	Success time.Time `json:"success,omitzero"` // the beginning of the last whole backup
	Tried   time.Time `json:"tried,omitzero"`   // the beginning of the last one, whole or not
	Error   string    `json:"error,omitempty"`  // why the last one is not whole
}

// BackupState reads the state; the zero state if there is none.
func (o *Service) BackupState() (s BackupState, err error) {
	text, err := durable.ReadSmall(o.Root, backup.StateFile, durable.MaxSmall)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	} else if err == nil {
		err = durable.DecodeStrict(text, &s)
	}
	return s, err
}

// WriteBackupState replaces the state.
func (o *Service) WriteBackupState(s BackupState) error {
	return durable.WriteJSON(o.Root, backup.StateFile, s)
}

// BackupStatus is how the scheduled backups are.
type BackupStatus struct {
	Dir     string    `json:"dir"`              // "": the server makes no backups
	Success time.Time `json:"success,omitzero"` // the last whole backup
	Fault   string    `json:"fault,omitempty"`  // why a person must look; "": all is well
}

// BackupStatus returns how the scheduled backups are.
func (o *Service) BackupStatus(now time.Time) (BackupStatus, error) {
	cfg := o.Config().Backup
	s, err := o.BackupState()
	if err != nil || cfg.Dir == "" || s.Dir != cfg.Dir {
		return BackupStatus{Dir: cfg.Dir}, err
	}
	return BackupStatus{Dir: cfg.Dir, Success: s.Success, Fault: s.fault(now, cfg.At)}, nil
}

// fault judges the state.
func (s BackupState) fault(now time.Time, at []time.Duration) string {
	switch {
	case s.Error != "" && !s.Tried.Before(s.Success):
		return "the last backup failed: " + s.Error
	case !backup.Late(now, at, s.Success, s.Since):
		return ""
	case s.Success.IsZero():
		return "no backup was made yet"
	}
	return "no backup was made since " + s.Success.Local().Format("2006-01-02 15:04")
}

// backupDir returns the directory that a caller means.
func (o *Service) backupDir(dir string) (string, error) {
	switch configured := o.Config().Backup.Dir; {
	case dir != "" && o.operator != nil:
		return "", Hint(fmt.Errorf("%w: only root may name a directory of this machine", ErrNotPermitted),
			"leave the directory out: backup.dir of the configuration names it")
	case dir != "":
		return filepath.Abs(dir)
	case configured != "":
		return configured, nil
	}
	return "", Hint(usage(errors.New("no directory of backups is named")),
		"name one, or set backup.dir in the configuration")
}

// openBackups opens a directory of backups; the caller closes it.
func openBackups(dir string) (*backup.Repo, func(), error) {
	root, err := durable.Open(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("backups: %w", err)
	}
	r, err := backup.Open(root)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%s: %w", dir, err), root.Close())
	}
	return r, func() { root.Close() }, nil
}

// makeBackups is openBackups, but makes an empty directory one of backups.
func (o *Service) makeBackups(dir string) (*backup.Repo, func(), error) {
	if err := o.outside(dir); err != nil {
		return nil, nil, Hint(err, "a backup belongs on another disk: choose a directory outside %s", o.Root.Name())
	}
	root, err := durable.Open(dir)
	if err != nil {
		return nil, nil, Hint(fmt.Errorf("backups: %w", err),
			"make the directory for the server's account: sudo install -d -m 700 -o pillarbox %s", dir)
	}
	r, err := backup.Init(root)
	if err != nil {
		return nil, nil, errors.Join(Hint(fmt.Errorf("%s: %w", dir, err), "choose an empty directory"), root.Close())
	}
	return r, func() { root.Close() }, nil
}

// createBackup makes a backup. Beside a running server, Checkpoint asks that to empty its log.
func (o *Service) createBackup(ctx context.Context, in BackupPlace) (done BackupDone, err error) {
	if done.Dir, err = o.backupDir(in.Dir); err != nil {
		return done, err
	}
	began := time.Now()
	if in.Dir == "" {
		if err := o.knownPlace(done.Dir); err != nil {
			return done, o.backupEnded(began, done, err)
		}
	}
	if _, err := os.Stat(done.Dir); errors.Is(err, fs.ErrNotExist) && in.Dir != "" {
		if err := os.Mkdir(done.Dir, 0o700); err != nil {
			return done, err
		}
	}
	done.Snapshot, err = o.backupTo(ctx, done.Dir)
	if err == nil {
		o.Record("backup", nil, map[string]any{"dir": done.Dir, "id": done.Snapshot.ID,
			"files": done.Snapshot.Files, "new_bytes": done.Snapshot.NewBytes})
	}
	if done.Dir == o.Config().Backup.Dir {
		err = o.backupEnded(began, done, err)
	}
	return done, err
}

// knownPlace refuses an empty directory that had backups before: the disk that belongs there is
// probably not mounted, and the backup would fill the disk below it.
func (o *Service) knownPlace(dir string) error {
	s, err := o.BackupState()
	if err != nil || s.Dir != dir || s.Success.IsZero() {
		return nil
	}
	_, closing, err := openBackups(dir)
	if err == nil {
		closing()
		return nil
	}
	return Hint(err, "the directory had backups: is its disk mounted? 'pillarbox admin backup create %s' begins anew there", dir)
}

// backupEnded writes how a backup into the configured directory went.
func (o *Service) backupEnded(began time.Time, done BackupDone, err error) error {
	if errors.Is(err, durable.ErrLocked) || errors.Is(err, context.Canceled) {
		return err // another one is at work, or the person or the server has ended this one
	}
	s, _ := o.BackupState()
	if s.Dir != done.Dir {
		s = BackupState{Dir: done.Dir, Since: began}
	}
	s.Tried, s.Error = began, ""
	switch n := len(done.Snapshot.Problems); {
	case err != nil:
		s.Error = err.Error()
	case n > 0:
		s.Error = "some files could not be read: " + done.Snapshot.Problems[0]
	default:
		s.Success = began
	}
	return errors.Join(err, o.WriteBackupState(s))
}

// backupTo makes a snapshot.
func (o *Service) backupTo(ctx context.Context, dir string) (s backup.Snapshot, err error) {
	r, closing, err := o.makeBackups(dir)
	if err != nil {
		return s, err
	}
	defer closing()
	if err := o.checkpoint(); err != nil {
		return s, err
	}
	src := backup.Source{Data: o.Root, Config: o.configFiles()}
	program := ""
	if o.Running != nil {
		program = o.Running.Version
	}
	return r.Create(ctx, src, backup.Options{Program: program, Progress: o.copied()})
}

// configFiles reads the configuration file and the files that it names. Those in the data directory
// are copied anyway. One that cannot be read is left out with a note.
func (o *Service) configFiles() map[string][]byte {
	cfg := o.Config()
	all := map[string][]byte{}
	read := func(as, file string) {
		if file == "" || o.outside(file) != nil {
			return
		}
		text, err := durable.ReadSmallFile(file, durable.MaxSmall)
		if err != nil {
			o.note("not in the backup: %v", err)
			return
		}
		all[as] = text
	}
	read("pillarbox.toml", cfg.File())
	for _, f := range cfg.NamedFiles() {
		read("files"+filepath.Clean(f.Path), f.Path)
	}
	return all
}

// copied returns a function that tells the caller how far a backup has come.
func (o *Service) copied() func(backup.Progress) {
	if o.tell == nil {
		return nil
	}
	told := time.Now()
	return func(p backup.Progress) {
		if now := time.Now(); now.Sub(told) >= 200*time.Millisecond {
			told = now
			o.tell(Part{Copied: &p})
		}
	}
}

// runBackup makes the backup of the configuration now, in the running server, and removes those that
// are too old.
func (o *Service) runBackup(ctx context.Context, _ struct{}) (BackupDone, error) {
	if _, err := o.server("make the backup of the configuration"); err != nil {
		return BackupDone{}, err
	}
	return o.ScheduledBackup(ctx)
}

// startBackup begins the backup of the configuration in the background. It returns false if one is
// at work.
func (o *Service) startBackup() (bool, error) {
	r, err := o.server("make the backup of the configuration")
	if err != nil {
		return false, err
	}
	if _, err := o.backupDir(""); err != nil {
		return false, err
	}
	started := r.StartBackup()
	o.Record("backup", nil, map[string]any{"started": started})
	return started, nil
}

// ScheduledBackup makes a backup into the configured directory, and removes those that are too old.
func (o *Service) ScheduledBackup(ctx context.Context) (done BackupDone, err error) {
	if done, err = o.createBackup(ctx, BackupPlace{}); err != nil {
		return done, err
	}
	r, closing, err := openBackups(done.Dir)
	if err != nil {
		return done, err
	}
	defer closing()
	done.Removed, err = r.Prune(o.keepRule(), time.Local, false)
	return done, err
}

func (o *Service) keepRule() backup.Keep {
	c := o.Config().Backup
	return backup.Keep{Daily: c.Daily, Weekly: c.Weekly, Monthly: c.Monthly}
}

func (o *Service) listBackups(in BackupPlace) (l BackupListing, err error) {
	l.Snapshots, l.Damaged = []backup.Snapshot{}, []string{}
	if l.State, err = o.BackupState(); err != nil {
		return l, err
	}
	if l.Dir, err = o.backupDir(in.Dir); err != nil {
		return l, err
	}
	r, closing, err := openBackups(l.Dir)
	if errors.Is(err, backup.ErrNoBackups) && in.Dir == "" {
		return l, nil // none was made yet
	} else if err != nil {
		return l, err
	}
	defer closing()
	all, damaged, err := r.List()
	l.Snapshots = append(l.Snapshots, all...)
	for _, d := range damaged {
		l.Damaged = append(l.Damaged, d.Error())
	}
	return l, err
}

// BackupVerified is the result of a verification.
type BackupVerified struct {
	Dir      string          `json:"dir"`
	Snapshot backup.Snapshot `json:"snapshot"`
	backup.Report
}

func (o *Service) verifyBackup(ctx context.Context, in BackupChoice) (v BackupVerified, err error) {
	if v.Dir, err = o.backupDir(in.Dir); err != nil {
		return v, err
	}
	r, closing, err := openBackups(v.Dir)
	if err != nil {
		return v, err
	}
	defer closing()
	if v.Snapshot, err = r.Snapshot(in.Snapshot); err != nil {
		return v, snapshotHint(err, v.Dir)
	}
	v.Report, err = r.Verify(ctx, &v.Snapshot, o.copied())
	return v, err
}

func snapshotHint(err error, dir string) error {
	return Hint(err, "'pillarbox admin backup list %s' shows the snapshots", dir)
}

// BackupPruning is the input of BackupPrune. A zero Keep is the rule of the configuration.
type BackupPruning struct {
	Dir  string
	Keep backup.Keep
	Dry  bool // only tell
}

// BackupPruned is the result of a prune.
type BackupPruned struct {
	Dir     string   `json:"dir"`
	Removed []string `json:"removed"`
}

func (o *Service) pruneBackups(in BackupPruning) (p BackupPruned, err error) {
	if p.Dir, err = o.backupDir(in.Dir); err != nil {
		return p, err
	}
	r, closing, err := openBackups(p.Dir)
	if err != nil {
		return p, err
	}
	defer closing()
	if in.Keep == (backup.Keep{}) {
		in.Keep = o.keepRule()
	}
	p.Removed, err = r.Prune(in.Keep, time.Local, in.Dry)
	if len(p.Removed) > 0 && !in.Dry {
		o.Record("backup", nil, map[string]any{"dir": p.Dir, "removed": strings.Join(p.Removed, " ")})
	}
	return p, err
}
