package web

import (
	"errors"
	"fmt"
	"slices"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/backup"
)

// backupsPage is what the page "backups" shows.
type backupsPage struct {
	Dir       string // "": none is configured
	Rows      []backup.Snapshot
	Damaged   []string
	State     admin.BackupState
	MayChange bool
}

func showBackups(r *request) (view, error) {
	p := backupsPage{MayChange: r.operator.MayAll(true)}
	l, err := admin.BackupList.Do(r.Context(), r.service, admin.BackupPlace{})
	if errors.Is(err, admin.ErrUsage) {
		err = nil // none is configured
	}
	p.Dir, p.Rows, p.Damaged, p.State = l.Dir, l.Snapshots, l.Damaged, l.State
	slices.Reverse(p.Rows)
	return view{"backups", "Backups", p}, err
}

func backupActs() map[string]act {
	return map[string]act{
		"run": func(r *request) (outcome, error) {
			started, err := admin.BackupStart.Do(r.Context(), r.service, struct{}{})
			text := r.words.T("The backup has begun. Look here again in a while.")
			if !started && err == nil {
				text = r.words.T("A backup is at work already.")
			}
			return outcome{next: "/backups", notice: notice{Text: text}}, err
		},
		"restore": dangerous(func(r *request) (outcome, error) {
			out, err := admin.RestoreToBox.Do(r.Context(), r.service, admin.RestoreOrder{
				Snapshot: r.field("snapshot"), Mailbox: r.field("mailbox"), Message: r.field("message"),
			})
			if err == nil && out.Damaged > 0 {
				err = fmt.Errorf("%d files of the backup are damaged: %s", out.Damaged, out.Damages[0])
			}
			text := r.words.T("%d messages restored, %d were there already.", out.Messages, out.Already)
			return outcome{next: "/backups", notice: notice{Text: text}}, err
		}),
	}
}
