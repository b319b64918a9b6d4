package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore"
	"pillarbox/quota"
)

func (a *app) retentionCommand() *cobra.Command {
	cmd := family("retention", "Manage the time for which mailboxes keep mail",
		answers(a, "show [USER@DOMAIN | DOMAIN]", "Show the rules and the mail that they would delete now", takes(0, 1), admin.RetentionShow, first,
			table("mailboxes", "NAME\tAFTER\tFETCHED AFTER\tDUE\tSIZE\tOLDEST\tSTATE", retentionRow)),
		a.retentionSetCommand(),
		a.retentionRunCommand(),
	)
	cmd.Long = `Manage the time for which mailboxes keep mail.

A rule deletes mail a number of days after its arrival, or after it was first fetched,
whichever is earlier. The rule of a mailbox overrides that of its domain, which
overrides delete_after and delete_fetched_after in [mailboxes] of the configuration.
Without any of these, no mail is deleted.

The time of arrival is in the name of the message's file (in UTC); otherwise the time
of the file counts. A message counts as fetched when a mail program has retrieved all
of it, not only its top. The server records fetches only while a rule needs them, so
earlier fetches do not count.

The server deletes once a day, at night or soon after it starts. A new or changed rule
waits for a day. Mail that was due before the rule came is kept for a week, and so is
mail that was due when it came from a backup or another server. After a long time
without a server, rules count as new. The log names the mail that is due and waits.
'run --yes' deletes all mail that is due at once.`
	return cmd
}

const retentionUnset = "the defaults are delete_after and delete_fetched_after in [mailboxes] of the configuration"

// retentionSetCommand shows before it changes: what is deleted is gone.
func (a *app) retentionSetCommand() *cobra.Command {
	var in admin.RetentionToSet
	var yes, asJSON bool
	cmd := command("set USER@DOMAIN | DOMAIN [--after DAYS] [--fetched-after DAYS] [--yes] [--json]",
		"Set a rule: days, never, or default; show first what it would delete",
		func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return admin.Hint(usageError{fmt.Errorf("%s: the mailbox or the domain is missing", callName(cmd))}, retentionUnset)
			}
			return takes(1, 1)(cmd, args)
		},
		func(cmd *cobra.Command, args []string) error {
			if err := lacksValue(cmd, "after", "fetched-after"); err != nil {
				return err
			}
			in.Target = args[0]
			return a.setRetention(cmd.Context(), in, yes, asJSON)
		})
	cmd.Flags().StringVar(&in.After, "after", "", "delete this number of `days` after arrival; or never, or default")
	cmd.Flags().StringVar(&in.FetchedAfter, "fetched-after", "", "delete this number of `days` after the first fetch; or never, or default")
	addYes(cmd, &yes)
	addJSON(cmd, &asJSON)
	return cmd
}

// setRetention prints what the rule would delete before the person confirms, and that once.
func (a *app) setRetention(ctx context.Context, in admin.RetentionToSet, yes, asJSON bool) error {
	shown, asked := asJSON, false
	var done admin.RetentionAnswer
	err := a.confirmed(yes, func(sure bool) (err error) {
		in.Sure = sure
		done, err = call(ctx, a, admin.RetentionSet, in)
		asked = errors.Is(err, admin.ErrConfirm)
		if !shown && (err == nil || asked) {
			a.printRetentionPreview(done.RetentionPreview)
			shown = true
		}
		return err
	})
	if asJSON && (err == nil || asked) {
		return errors.Join(err, a.writeJSON(done.RetentionDone))
	}
	return a.report(admin.Change{Text: done.Text, Warnings: done.Warnings}, err)
}

// printRetentionPreview says what would be deleted now.
func (a *app) printRetentionPreview(p admin.RetentionPreview) {
	switch {
	case p.After.None() && len(p.Due) == 0:
	case p.Domain && len(p.Due) > 0:
		a.printResults("DUE", p.Due)
		fmt.Fprintln(a.stdout, dueText(p.Total))
	default:
		fmt.Fprintf(a.stdout, "%s: %s\n", p.After, dueText(p.Total))
	}
}

func (a *app) printResults(column string, all []admin.RetentionResult) {
	table("mailboxes", "NAME\t"+column+"\tSIZE\tOLDEST\tRULE", func(r admin.RetentionResult) string {
		return fmt.Sprintf("%s\t%s\t%s", r.Mailbox, expiredCells(r.Expired), r.Rule)
	})(a, all)
}

// dueText is "would delete 12 messages (3.1 MiB), the oldest of 2005-03-04".
func dueText(e mailstore.Expired) string {
	if e.Messages == 0 {
		return "would delete nothing now"
	}
	return fmt.Sprintf("would delete %s now (%s), the oldest of %s", quota.FormatMessages(int64(e.Messages)), about(e.Bytes), e.Oldest.Format(time.DateOnly))
}

// retentionRunCommand only looks unless it is told twice.
func (a *app) retentionRunCommand() *cobra.Command {
	var yes, dry, asJSON bool
	cmd := command("run [USER@DOMAIN | DOMAIN] [--dry-run | --yes] [--json]", "Delete the mail that is due now; without --yes, only show it", takes(0, 1),
		func(cmd *cobra.Command, args []string) error {
			if yes && dry {
				return misuse(cmd, "--yes and --dry-run cannot both be given")
			}
			all, err := call(cmd.Context(), a, admin.RetentionRun, admin.RetentionOrder{Target: first(args), Delete: yes})
			if err == nil && !yes {
				return a.printDue(all, asJSON)
			}
			return respondRetention(a, asJSON)(all, err)
		})
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only show the mail that is due, as without --yes")
	addYes(cmd, &yes)
	cmd.Flags().Lookup("yes").Usage = "delete it"
	addJSON(cmd, &asJSON)
	return cmd
}

func (a *app) printDue(due []admin.RetentionResult, asJSON bool) error {
	if asJSON {
		return a.writeJSON(due)
	}
	if len(due) == 0 {
		a.note("no mail is due")
		return nil
	}
	a.printResults("DUE", due)
	a.note("no mail was deleted; --yes deletes it")
	return nil
}

// respondRetention fails if something could not be deleted, after it has said what was.
func respondRetention(a *app, asJSON bool) func([]admin.RetentionResult, error) error {
	return func(all []admin.RetentionResult, err error) error {
		if err != nil {
			return err
		}
		var errs []error
		for _, r := range all {
			if r.Problem != "" {
				errs = append(errs, fmt.Errorf("%s: %s", r.Mailbox, r.Problem))
			}
		}
		switch {
		case asJSON:
			err = a.writeJSON(all)
		case len(all) == 0:
			a.note("no mail was due")
		default:
			a.printResults("DELETED", all)
		}
		return errors.Join(append(errs, err)...)
	}
}

func expiredCells(e mailstore.Expired) string {
	oldest := "-"
	if e.Messages > 0 {
		oldest = e.Oldest.Format(time.DateOnly)
	}
	return fmt.Sprintf("%d\t%s\t%s", e.Messages, about(e.Bytes), oldest)
}

func retentionRow(s admin.RetentionStatus) string {
	state := string(s.State)
	if s.Until != nil {
		state += " until " + s.Until.Local().Format("2006-01-02 15:04")
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s", s.Mailbox, daysText(s.Rule.After, s.From.After), daysText(s.Rule.FetchedAfter, s.From.FetchedAfter),
		expiredCells(s.Expired), state)
}

// daysText is "30 days (domain)".
func daysText(n int, from string) string {
	text := "never"
	switch {
	case from == "":
		return "?" // damaged
	case n == 1:
		text = "1 day"
	case n > 1:
		text = fmt.Sprintf("%d days", n)
	}
	if from != "mailbox" {
		text += " (" + from + ")"
	}
	return text
}
