package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/quota"
)

func (a *app) checkCommand() *cobra.Command {
	var in admin.CheckOrder
	var asJSON bool
	cmd := command("check [USER@DOMAIN | DOMAIN] [--repair] [--json]", "Check all mail and the files beside it for damage", takes(0, 1),
		func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			in.Target = first(args)
			line := a.newProgress(asJSON)
			report, err := callOnFiles(ctx, a, admin.Check, in, line.tell)
			line.clear()
			if report.Findings == nil {
				return err
			}
			if asJSON {
				err = errors.Join(err, a.writeJSON(report))
			} else {
				a.printCheck(report)
			}
			if report.Wrong > 0 {
				err = errors.Join(err, fmt.Errorf("%s wrong", thingsAre(report.Wrong)))
			}
			return err
		})
	cmd.Flags().BoolVar(&in.Repair, "repair", false, "remove old temporary files, and rename messages whose name and content differ")
	addJSON(cmd, &asJSON)
	cmd.Long = `Check all mail and the files beside it for damage. The check reports messages that cannot
be read, differ from their names, or never reached the disk. It also reports duplicate
unique-ids, damaged accounts, leftovers of interrupted changes, and wrong counts in the
running server. Lines with "note" are for information.

Without a name, it also checks the queue, its quarantine, badmail, the pickup folder and
the records of fetched mail. It checks whether the server's account, the owner of the data
directory, can use all files. Each finding says how to recover the mail.

Without --repair, no file is changed. The exit status is 1 if a problem was found.`
	return cmd
}

func (a *app) printCheck(r admin.CheckReport) {
	for _, f := range r.Findings {
		kind, next := "WRONG", "hint"
		switch {
		case f.Repaired:
			kind, next = "repaired", "done"
		case f.Note:
			kind = "note"
		}
		what := f.Text
		if f.File != "" {
			what = fmt.Sprintf("%q: %s", f.File, f.Text)
		}
		fmt.Fprintf(a.stdout, "%s: %s: %s\n  %s: %s\n", kind, f.Where, what, next, f.Hint)
	}
	boxes := fmt.Sprintf("%d mailboxes", r.Mailboxes)
	if r.Mailboxes == 1 {
		boxes = "1 mailbox"
	}
	queued := ""
	if r.Queued > 0 {
		queued = fmt.Sprintf(", %s in the queue", quota.FormatMessages(int64(r.Queued)))
	}
	result := "nothing is wrong"
	if r.Wrong > 0 {
		result = thingsAre(r.Wrong) + " wrong"
	}
	fmt.Fprintf(a.stdout, "%s with %s (%s)%s read: %s\n", boxes, messages(r.Messages), about(r.Bytes), queued, result)
}

func thingsAre(n int) string {
	if n == 1 {
		return "1 thing is"
	}
	return fmt.Sprintf("%d things are", n)
}
