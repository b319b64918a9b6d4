package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/daemon"
	"pillarbox/mailstore"
	"pillarbox/quota"
)

func (a *app) retentionCommand() *cobra.Command {
	cmd := family("retention", "Manage the time for which mailboxes keep mail",
		shows(a, "show [USER@DOMAIN | DOMAIN]", "Show the rules and the mail that they would delete now", takes(0, 1),
			func(o *admin.Service, args []string) ([]admin.RetentionStatus, error) {
				return o.ShowRetention(strings.Join(args, ""), time.Now())
			}, table("mailboxes", "NAME\tAFTER\tFETCHED AFTER\tDUE\tSIZE\tOLDEST\tSTATE", retentionRow)),
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
	var c admin.RetentionChange
	var yes, asJSON bool
	cmd := a.verb("set USER@DOMAIN | DOMAIN [--after DAYS] [--fetched-after DAYS] [--yes] [--json]",
		"Set a rule: days, never, or default; show first what it would delete", takes(1, 1),
		func(cmd *cobra.Command, o *admin.Service, args []string) error {
			for _, name := range []string{"after", "fetched-after"} {
				if f := cmd.Flags().Lookup(name); f.Changed && f.Value.String() == "" {
					return misuse(cmd, "--"+name+" lacks its value")
				}
			}
			p, err := o.PreviewRetention(args[0], c, time.Now())
			if err != nil {
				return err
			}
			return a.setRetention(o, p, yes, asJSON)
		})
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return admin.Hint(usageError{fmt.Errorf("%s: the mailbox or the domain is missing", callName(cmd))}, retentionUnset)
		}
		return takes(1, 1)(cmd, args)
	}
	cmd.Flags().StringVar(&c.After, "after", "", "delete this number of `days` after arrival; or never, or default")
	cmd.Flags().StringVar(&c.FetchedAfter, "fetched-after", "", "delete this number of `days` after the first fetch; or never, or default")
	addYes(cmd, &yes)
	addJSON(cmd, &asJSON)
	return cmd
}

// retentionSet is the JSON of the verb set.
type retentionSet struct {
	admin.RetentionPreview
	Changed  bool     `json:"changed"`
	Warnings []string `json:"warnings"`
}

func (a *app) setRetention(o *admin.Service, p admin.RetentionPreview, yes, asJSON bool) error {
	if !asJSON {
		a.printRetentionPreview(p)
	}
	refused := error(nil)
	if p.Stricter {
		refused = a.confirm(yes, fmt.Sprintf("Let %s delete mail %s?", p.Target, p.After))
	}
	var change admin.Change
	if refused == nil {
		var err error
		if change, err = o.ChangeRetention(p); err != nil {
			return err
		}
	}
	if asJSON {
		err := a.writeJSON(retentionSet{p, refused == nil, append([]string{}, change.Warnings...)})
		return errors.Join(refused, err)
	}
	return a.report(change, refused)
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
	cmd := a.verb("run [USER@DOMAIN | DOMAIN] [--dry-run | --yes] [--json]", "Delete the mail that is due now; without --yes, only show it", takes(0, 1),
		func(cmd *cobra.Command, o *admin.Service, args []string) error {
			if yes && dry {
				return misuse(cmd, "--yes and --dry-run cannot both be given")
			}
			target := strings.Join(args, "")
			due, err := o.DueNow(target, time.Now())
			if err != nil {
				return err // the server is not troubled for a typing error
			}
			if !yes {
				return a.printDue(due, asJSON)
			}
			targets, all, err := o.RetentionTargets(target)
			for _, one := range targets {
				if err != nil {
					break
				}
				var done []admin.RetentionResult
				done, err = a.runRetention(cmd.Context(), o, one)
				all = append(all, done...)
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

// runRetention lets the server delete, which knows who is logged in; without one, no server may start meanwhile.
func (a *app) runRetention(ctx context.Context, o *admin.Service, target string) (all []admin.RetentionResult, err error) {
	err = daemon.AskOrHold(ctx, o.Root,
		func() (err error) {
			all, err = daemon.AskRetention(ctx, o.Config().Data, target)
			return err
		},
		func() (err error) {
			all, err = o.RunRetention(ctx, target, time.Now())
			return err
		})
	return all, err
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
