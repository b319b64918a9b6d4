package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/backup"
)

func (a *app) backupCommand() *cobra.Command {
	cmd := family("backup", "Make, list, verify and remove backups",
		a.backupCreateCommand(), a.backupRunCommand(), a.backupListCommand(), a.backupVerifyCommand(),
		a.backupPruneCommand())
	cmd.Long = `Make, list, verify and remove backups. 'pillarbox admin restore' brings them back.

A backup is a snapshot of the whole office in a directory: mail, accounts, keys, queue,
the configuration file and the files that it names. It has all that was accepted before
it began. The server may run meanwhile. A snapshot stores only what is new since the one
before, but does not need that one.

Without DIR the directory is backup.dir of the configuration. There the server makes
backups by itself, at the times in backup.at.`
	return cmd
}

// untilSignal ends when the person presses Ctrl-C, so that a verb can clean up.
func untilSignal(cmd *cobra.Command) (context.Context, func()) {
	return signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
}

func (a *app) backupCreateCommand() *cobra.Command {
	var asJSON bool
	cmd := command("create [DIR] [--json]", "Make a backup into a directory", takes(0, 1),
		func(cmd *cobra.Command, args []string) error {
			ctx, stop := untilSignal(cmd)
			defer stop()
			line := a.newProgress(asJSON)
			done, err := callOnFiles(ctx, a, admin.BackupCreate, admin.BackupPlace{Dir: first(args)}, line.tell)
			line.clear()
			return a.respondBackup(done, err, asJSON)
		})
	addJSON(cmd, &asJSON)
	return cmd
}

func (a *app) backupRunCommand() *cobra.Command {
	var asJSON bool
	cmd := command("run [--json]", "Make the backup of the configuration now, as the server does each day",
		takes(0, 0), func(cmd *cobra.Command, _ []string) error {
			line := a.newProgress(asJSON)
			done, err := callTelling(cmd.Context(), a, admin.BackupRun, struct{}{}, line.tell)
			line.clear()
			return a.respondBackup(done, err, asJSON)
		})
	addJSON(cmd, &asJSON)
	return cmd
}

// respondBackup prints a backup. One that misses files is an error, after it was printed.
func (a *app) respondBackup(done admin.BackupDone, err error, asJSON bool) error {
	if err != nil {
		return err
	}
	s := done.Snapshot
	if asJSON {
		err = a.writeJSON(done)
	} else {
		fmt.Fprintf(a.stdout, "backup %s in %s: %s (%s), %d of them new (%s), in %s\n", s.ID, done.Dir,
			files(s.Files), about(s.Bytes), s.NewFiles, about(s.NewBytes), s.Took.Round(time.Millisecond))
		if len(done.Removed) > 0 {
			fmt.Fprintf(a.stdout, "removed %s\n", strings.Join(done.Removed, ", "))
		}
	}
	if len(s.Problems) > 0 {
		return errors.Join(err, fmt.Errorf("these files are not in the backup, or as the one before had them:\n  %s",
			indented(s.Problems)))
	}
	return err
}

func (a *app) backupListCommand() *cobra.Command {
	var asJSON bool
	cmd := command("list [DIR] [--json]", "List the backups in a directory", takes(0, 1),
		func(cmd *cobra.Command, args []string) error {
			l, err := callOnFiles(cmd.Context(), a, admin.BackupList, admin.BackupPlace{Dir: first(args)}, a.tell)
			if err != nil || asJSON {
				return respond[admin.BackupListing](a, asJSON, nil)(l, err)
			}
			table("backups", "SNAPSHOT\tTIME\tFILES\tSIZE\tNEW\tPROBLEMS", backupRow)(a, l.Snapshots)
			if l.State.Error != "" && l.State.Dir == l.Dir {
				a.note("the backup of %s failed: %s", localTime(l.State.Tried), l.State.Error)
			}
			if len(l.Damaged) > 0 {
				return errors.New(strings.Join(l.Damaged, "\n"))
			}
			return nil
		})
	addJSON(cmd, &asJSON)
	return cmd
}

func backupRow(s backup.Snapshot) string {
	return fmt.Sprintf("%s\t%s\t%d\t%s\t%s\t%d", s.ID, localTime(s.Time), s.Files, about(s.Bytes),
		about(s.NewBytes), len(s.Problems))
}

func (a *app) backupVerifyCommand() *cobra.Command {
	var asJSON bool
	cmd := command("verify [DIR] [SNAPSHOT] [--json]", "Read a backup back and compare each file with its hash",
		takes(0, 2), func(cmd *cobra.Command, args []string) error {
			ctx, stop := untilSignal(cmd)
			defer stop()
			var in admin.BackupChoice
			if len(args) == 2 {
				args, in.Snapshot = args[:1], args[1]
			}
			in.Dir = first(args)
			line := a.newProgress(asJSON)
			v, err := callOnFiles(ctx, a, admin.BackupVerify, in, line.tell)
			line.clear()
			if err != nil {
				return err
			}
			if asJSON {
				err = a.writeJSON(v)
			} else {
				fmt.Fprintf(a.stdout, "backup %s in %s: %s whole (%s), %d damaged\n", v.Snapshot.ID, v.Dir,
					files(v.Files), about(v.Bytes), v.Damaged)
			}
			return errors.Join(err, damaged(v.Report))
		})
	cmd.Long = `Read a backup back and compare each file with its hash. Without SNAPSHOT it is the
newest one.`
	addJSON(cmd, &asJSON)
	return cmd
}

// damaged is the error of files that cannot be read back.
func damaged(r backup.Report) error {
	if r.Damaged == 0 {
		return nil
	}
	return fmt.Errorf("%s cannot be read back:\n  %s", files(r.Damaged), indented(r.Damages))
}

func indented(lines []string) string {
	var all []string
	for _, line := range lines {
		all = append(all, printable(line))
	}
	return strings.Join(all, "\n  ")
}

func (a *app) backupPruneCommand() *cobra.Command {
	var asJSON bool
	var in admin.BackupPruning
	cmd := command("prune [DIR] [--daily N] [--weekly N] [--monthly N] [--dry-run] [--json]",
		"Remove old backups", takes(0, 1), func(cmd *cobra.Command, args []string) error {
			in.Dir = first(args)
			p, err := callOnFiles(cmd.Context(), a, admin.BackupPrune, in, a.tell)
			if err != nil || asJSON {
				return respond[admin.BackupPruned](a, asJSON, nil)(p, err)
			}
			for _, id := range p.Removed {
				fmt.Fprintln(a.stdout, id)
			}
			switch {
			case len(p.Removed) == 0:
				a.note("there is no backup to remove")
			case in.Dry:
				a.note("no backup was removed; without --dry-run, these are")
			}
			return nil
		})
	cmd.Long = `Remove old backups, and the packs that no other backup needs. The last backup of each of
the given numbers of days, weeks and months is kept, and the newest one in any case. Days
without a backup do not count. Without these flags the rule is that of [backup] in the
configuration.

A pack of which a backup needs less than a third is stored again by the next backup. So
the space of deleted mail comes back when the backups that have it are gone.`
	flags := cmd.Flags()
	flags.IntVar(&in.Keep.Daily, "daily", 0, "`number` of days that keep their last backup")
	flags.IntVar(&in.Keep.Weekly, "weekly", 0, "`number` of weeks that keep their last backup")
	flags.IntVar(&in.Keep.Monthly, "monthly", 0, "`number` of months that keep their last backup")
	flags.BoolVar(&in.Dry, "dry-run", false, "only show what would be removed")
	addJSON(cmd, &asJSON)
	return cmd
}

// copied shows how far a backup has come: on a terminal in one line, elsewhere twice a minute.
func (p *progress) copied(c backup.Progress) {
	now := time.Now()
	if p.began.IsZero() {
		p.began, p.told = now, now
	}
	text := fmt.Sprintf("%s, %s", files(c.Files), about(c.Bytes))
	if took := now.Sub(p.began).Seconds(); took >= 1 {
		text += fmt.Sprintf(", %s/s", about(int64(float64(c.Bytes)/took)))
	}
	switch {
	case p.on:
		fmt.Fprint(asItIs(p.app.stderr), "\r\x1b[K", text)
	case !p.silent && now.Sub(p.told) >= 30*time.Second:
		p.told = now
		p.app.note("%s", text)
	}
}
