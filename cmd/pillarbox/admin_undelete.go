package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
)

func (a *app) undeleteCommand() *cobra.Command {
	cmd := family("undelete", "Restore deleted mail",
		a.undeleteListCommand(),
		a.undeleteRestoreCommand(),
		a.undeletePurgeCommand(),
	)
	cmd.Long = `Restore deleted mail.

A message that a mail program or a retention rule deletes can be restored for the time
that undelete in [mailboxes] of the configuration says: 7 days by default. It does not
count against the quota meanwhile. The server removes it for good afterwards, once a
day, or earlier if the disk is nearly full or a mailbox keeps more than undelete_size.
A mailbox that is removed takes its deleted mail with it.

A restored message comes back as new mail, so every mail program fetches it again.
Programs that still have it show it twice.`
	return cmd
}

func (a *app) undeleteListCommand() *cobra.Command {
	var in admin.DeletedQuestion
	var since string
	var asJSON bool
	cmd := command("list [USER@DOMAIN | DOMAIN] [--since T] [--json]", "List the deleted mail that can be restored", takes(0, 1),
		func(cmd *cobra.Command, args []string) (err error) {
			in.Target = first(args)
			if in.Since, err = parseMoment(since, time.Now()); err != nil {
				return err
			}
			return respond(a, asJSON, table("deleted messages", "MAILBOX\tMESSAGE\tSIZE\tARRIVED\tDELETED\tUNTIL", deletedRow))(
				call(cmd.Context(), a, admin.UndeleteList, in))
		})
	addDeletedSince(cmd, &since)
	addJSON(cmd, &asJSON)
	return cmd
}

func addDeletedSince(cmd *cobra.Command, since *string) {
	cmd.Flags().StringVar(since, "since", "", "only mail deleted since a `time` (10:14, 24h, 3d, 2026-11-21, \"2026-11-21 08:00\")")
}

// deletedRow names a message as 'admin trace' does, if that is known.
func deletedRow(d admin.DeletedMail) string {
	name := d.UID
	if name == "" {
		name = d.ID
	}
	at := func(t time.Time) string { return t.Local().Format(time.DateTime) }
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s", d.Mailbox, name, about(d.Size), at(d.Arrived), at(d.Deleted), at(d.Until))
}

func (a *app) undeleteRestoreCommand() *cobra.Command {
	var in admin.DeletedToRestore
	var since string
	var asJSON bool
	cmd := command("restore USER@DOMAIN [MESSAGE...] [--all | --since T] [--json]", "Put deleted mail back into its mailbox", takes(1, -1),
		func(cmd *cobra.Command, args []string) (err error) {
			in.User, in.Messages = args[0], args[1:]
			if in.Since, err = parseMoment(since, time.Now()); err != nil {
				return err
			}
			ways := 0
			for _, given := range []bool{len(in.Messages) > 0, in.All, since != ""} {
				if given {
					ways++
				}
			}
			if ways != 1 {
				return misuse(cmd, "give either messages, --all or --since")
			}
			return respond(a, asJSON, (*app).printUndeleted)(call(cmd.Context(), a, admin.UndeleteRestore, in))
		})
	cmd.Flags().BoolVar(&in.All, "all", false, "all deleted mail of the mailbox")
	addDeletedSince(cmd, &since)
	addJSON(cmd, &asJSON)
	return cmd
}

func (a *app) printUndeleted(done admin.Undeleted) { _ = a.report(done.Change, nil) }

func (a *app) undeletePurgeCommand() *cobra.Command {
	var yes bool
	cmd := command("purge USER@DOMAIN [--yes]", "Remove the deleted mail of a mailbox for good", takes(1, 1),
		func(cmd *cobra.Command, args []string) error {
			var done admin.Change
			err := a.confirmed(yes, func(sure bool) (err error) {
				done, err = call(cmd.Context(), a, admin.UndeletePurge, admin.DeletedToPurge{User: args[0], Sure: sure})
				return err
			})
			return a.report(done, err)
		})
	addYes(cmd, &yes)
	return cmd
}
