package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/daemon"
	"pillarbox/quota"
)

func (a *app) quarantineCommand() *cobra.Command {
	cmd := family("quarantine", "Manage messages that the server moved out of the queue as damaged",
		shows(a, "list", "List messages in quarantine, the oldest first", takes(0, 0),
			func(o *admin.Service, _ []string) ([]admin.Spooled, error) { return o.ListQuarantine() },
			table("messages in quarantine", "ID\tAGE\tSIZE\tFROM\tTO\tPROBLEM", quarantineRow)),
		shows(a, "show ID", "Show a message in quarantine and how to deal with it", takes(1, 1),
			ofOne((*admin.Service).ShowQuarantined), (*app).printQuarantined),
		a.quarantineRetryCommand(),
		a.quarantineRemoveCommand(),
	)
	cmd.Long = `Manage messages that the server moved out of the queue because one of their two files
is missing or damaged. The server had accepted them, so their senders expect a delivery.
It does not touch them again.

retry moves a message back to the queue, where its time starts again. If its state
cannot be parsed, give the sender and the recipients with --from and --to.`
	return cmd
}

func quarantineRow(s admin.Spooled) string {
	from, to, size, problem := "-", "-", "-", s.Problem
	if it := s.State; it != nil {
		from, to = senderText(it.From), it.To[0].Address.String()
		if more := len(it.To) - 1; more > 0 {
			to += fmt.Sprintf(" +%d", more)
		}
	}
	if s.Size >= 0 {
		size = about(s.Size)
	}
	if problem == "" {
		problem = "none any more"
	}
	return strings.Join([]string{s.ID, ageText(time.Since(s.Since)), size, from, to, shorten(oneLine(problem), 70)}, "\t")
}

func (a *app) printQuarantined(s admin.Spooled) {
	lines := []string{"ID:\t" + s.ID, "Since:\t" + localTime(s.Since) + " (" + ageText(time.Since(s.Since)) + " ago)"}
	if s.Size >= 0 {
		lines = append(lines, "Size:\t"+sizeText(s.Size))
	}
	if it := s.State; it != nil {
		lines = append(lines, "From:\t"+senderText(it.From), "Arrived:\t"+localTime(it.Arrived), "Came by:\t"+sourceText(it.Source))
		for i := range it.To {
			to := it.To[i].Address.String()
			if done := it.To[i].Done; done != "" {
				to += ", " + done
			}
			lines = append(lines, "To:\t"+to)
		}
	}
	problem := s.Problem
	if problem == "" {
		problem = "none any more: both files can be understood"
	}
	a.align(append(lines, "Problem:\t"+problem))
	fmt.Fprintln(a.stdout, "\nWhat to do: "+s.QuarantineHint())
}

func (a *app) quarantineRetryCommand() *cobra.Command {
	var from string
	var to []string
	var asJSON bool
	cmd := a.verb("retry ID... [--from A --to A] [--json]", "Move messages back to the queue and try to deliver them", takes(1, -1),
		func(cmd *cobra.Command, o *admin.Service, args []string) error {
			with, err := parseNewState(cmd, o, from, to, len(args))
			if err != nil {
				return err
			}
			ids, err := o.QuarantineIDs(args)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), queuePatience)
			defer cancel()
			running, err := daemon.RetryQuarantined(ctx, o, daemon.QuarantineOrder{IDs: ids, With: with})
			if err != nil {
				return err
			}
			return a.reportRestored(ids, running, asJSON)
		})
	cmd.Flags().StringVar(&from, "from", "", "the sender, an `address` or '<>' (default: from its state)")
	cmd.Flags().StringArrayVar(&to, "to", nil, "a recipient, an `address`; may be repeated (default: from its state)")
	addJSON(cmd, &asJSON)
	return cmd
}

// parseNewState reads what a message is given that has no state of its own.
func parseNewState(cmd *cobra.Command, o *admin.Service, from string, to []string, count int) (with admin.NewState, err error) {
	if with.To, err = parseRecipients(cmd, o, to); err != nil {
		return with, err
	}
	changed := cmd.Flags().Lookup("from").Changed
	switch {
	case changed && from == "":
		return with, misuse(cmd, "--from lacks its value")
	case changed && len(to) == 0:
		return with, misuse(cmd, "--from goes with --to")
	case len(to) > 0 && count > 1:
		return with, misuse(cmd, "--to goes with one message")
	}
	if with.Null = from == "<>"; !with.Null {
		with.From, err = parseQueueAddress(o, "from", from)
	}
	return with, err
}

func (a *app) reportRestored(ids []string, running, asJSON bool) error {
	if asJSON {
		return a.writeJSON(struct {
			Running bool     `json:"running"`
			Retried []string `json:"retried"`
		}{running, ids})
	}
	fmt.Fprintf(a.stdout, "put %s back into the queue\n", quota.FormatMessages(int64(len(ids))))
	if !running {
		a.note("the server is not running: no mail is sent until 'pillarbox serve' starts it")
	}
	return nil
}

func (a *app) quarantineRemoveCommand() *cobra.Command {
	var yes, all, asJSON bool
	cmd := a.verb("remove ID... | --all [--yes] [--json]", "Delete messages in quarantine", cobra.ArbitraryArgs,
		func(cmd *cobra.Command, o *admin.Service, args []string) error {
			switch {
			case len(args) > 0 && all:
				return misuse(cmd, "--all goes with no ID")
			case len(args) == 0 && !all:
				return admin.Hint(usageError{fmt.Errorf("%s: no message is chosen", callName(cmd))}, "usage: %s", cmd.UseLine())
			}
			ids, err := o.QuarantineIDs(args)
			if all && err == nil {
				ids, err = allQuarantined(o)
			}
			if err != nil {
				return err
			}
			return a.removeChosen(ids, args, yes, asJSON, "quarantine", o.RemoveQuarantined)
		})
	cmd.Flags().BoolVar(&all, "all", false, "choose all messages in quarantine")
	addYes(cmd, &yes)
	addJSON(cmd, &asJSON)
	return cmd
}

func allQuarantined(o *admin.Service) (ids []string, err error) {
	all, err := o.ListQuarantine()
	for _, s := range all {
		ids = append(ids, s.ID)
	}
	return ids, err
}
