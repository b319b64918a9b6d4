package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/backup"
)

func (a *app) restoreCommand() *cobra.Command {
	var in admin.RestoreOrder
	var to, since string
	var asJSON bool
	cmd := command("restore [DIR] [--snapshot S] [--to DATA] [--mailbox USER@DOMAIN] [--message UID] [--since T] [--dry-run] [--json]",
		"Restore an office, or mail of one mailbox, from a backup", takes(0, 1),
		func(cmd *cobra.Command, args []string) (err error) {
			if in.Since, err = parseMoment(since, time.Now()); err != nil {
				return usageError{err}
			}
			in.Dir = first(args)
			switch {
			case in.Mailbox == "" && (in.Message != "" || since != ""):
				return misuse(cmd, "--message and --since need --mailbox")
			case in.Mailbox != "" && to != "":
				return misuse(cmd, "--to is for a whole office, --mailbox for one that is there")
			case in.Mailbox != "":
				return a.restoreMail(cmd, in, asJSON)
			}
			return a.restoreOffice(cmd, in, to, asJSON)
		})
	cmd.Long = `Restore a whole office into an empty data directory, while no server runs; or, with
--mailbox, mail into a mailbox of the office that is there, while the server runs. Without
DIR the directory is backup.dir of the configuration, without --snapshot it is the newest
snapshot.

A whole office goes into the data directory of the configuration, or into --to; without a
configuration file both DIR and --to are needed. If root does it, the files belong to the
owner of that directory. The configuration file and what it named are in restored-config
there.

With --mailbox, messages that the mailbox does not have come back, also those that its
user has deleted. They keep their unique-ids, so mail programs do not fetch again what
they know. What came since stays, and no message is there twice. A mailbox that is missing
comes back with its account. Mail is restored even beyond the limits of the mailbox.`
	flags := cmd.Flags()
	flags.StringVar(&in.Snapshot, "snapshot", "", "the `snapshot`; 'admin backup list' shows them")
	flags.StringVar(&to, "to", "", "the empty `directory` for a whole office")
	flags.StringVar(&in.Mailbox, "mailbox", "", "restore only mail of this `user`")
	flags.StringVar(&in.Message, "message", "", "restore only the message with this `UID`, or this file name")
	flags.StringVar(&since, "since", "", "only messages that arrived since a `time` (24h, 3d, 2026-11-21)")
	flags.BoolVar(&in.Dry, "dry-run", false, "only show what would be restored; of an office, verify the backup")
	addJSON(cmd, &asJSON)
	return cmd
}

func (a *app) restoreMail(cmd *cobra.Command, in admin.RestoreOrder, asJSON bool) error {
	ctx, stop := untilSignal(cmd)
	defer stop()
	line := a.newProgress(asJSON)
	out, err := callOnFiles(ctx, a, admin.RestoreMail, in, line.tell)
	line.clear()
	if out.Messages > 0 && !in.Dry {
		a.countAgain(ctx)
	}
	if err != nil {
		return err
	}
	if asJSON {
		err = a.writeJSON(out)
	} else {
		verb := "restored"
		if in.Dry {
			verb = "would restore"
		}
		fmt.Fprintf(a.stdout, "%s %s (%s) of %s from %s; %d there already\n", verb, messages(out.Messages),
			about(out.Bytes), out.Mailbox, out.Snapshot, out.Already)
		if out.New {
			a.note("the mailbox was missing; 'pillarbox admin mailbox show %s' shows its settings", out.Mailbox)
		}
	}
	if len(out.Different) > 0 {
		a.note("left alone, because the mailbox has another content under the same name: %s",
			printable(someNames(out.Different)))
	}
	return errors.Join(err, damaged(backup.Report{Damaged: out.Damaged, Damages: out.Damages}))
}

// restoreOffice needs no configuration if both directories are named: that may be lost too.
func (a *app) restoreOffice(cmd *cobra.Command, in admin.RestoreOrder, to string, asJSON bool) (err error) {
	order := admin.OfficeOrder{Dir: in.Dir, Snapshot: in.Snapshot, To: to, Dry: in.Dry}
	if in.Dir == "" || to == "" && !in.Dry {
		cfg, err := a.load()
		if err != nil {
			return admin.Hint(err, "without a configuration: 'pillarbox admin restore DIR --to DATA'")
		}
		if order.Dir == "" {
			order.Dir = cfg.Backup.Dir
		}
		if order.To == "" {
			order.To = cfg.Data
		}
	}
	if order.Dir == "" {
		return misuse(cmd, "the directory of backups is missing")
	}
	ctx, stop := untilSignal(cmd)
	defer stop()
	line := a.newProgress(asJSON)
	out, err := admin.RestoreOffice(ctx, order, line.tell)
	line.clear()
	if err != nil {
		return err
	}
	switch {
	case asJSON:
		err = a.writeJSON(out)
	case in.Dry:
		fmt.Fprintf(a.stdout, "would restore %s (%s) from %s\n", files(out.Files), about(out.Bytes), out.Snapshot.ID)
	default:
		fmt.Fprintf(a.stdout, "restored %s (%s) from %s into %s\n", files(out.Files), about(out.Bytes), out.Snapshot.ID, out.To)
		a.note("the configuration of the backup is in %s", filepath.Join(out.To, backup.ConfigDir))
	}
	return errors.Join(err, damaged(out.Report))
}
