package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/quota"
)

func (a *app) quarantineCommand() *cobra.Command {
	cmd := family("quarantine", "Manage messages that the server moved out of the queue as damaged",
		answers(a, "list", "List messages in quarantine, the oldest first", takes(0, 0), admin.QuarantineList, nothing,
			table("messages in quarantine", "ID\tAGE\tSIZE\tFROM\tTO\tPROBLEM", quarantineRow)),
		a.quarantineShowCommand(),
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

func (a *app) quarantineShowCommand() *cobra.Command {
	var asJSON bool
	cmd := command("show ID [--json]", "Show a message in quarantine and how to deal with it", takes(1, 1),
		func(cmd *cobra.Command, args []string) error {
			shown, err := call(cmd.Context(), a, admin.QuarantineShow, first(args))
			if err == nil && asJSON {
				return a.writeJSON(shown.Message)
			}
			return answer(a, (*app).printQuarantined)(shown, err)
		})
	addJSON(cmd, &asJSON)
	return cmd
}

func (a *app) printQuarantined(shown admin.QuarantineShown) {
	s := &shown.Message
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
	fmt.Fprintln(a.stdout, "\nWhat to do: "+shown.Hint)
}

func (a *app) quarantineRetryCommand() *cobra.Command {
	var from string
	var to []string
	var asJSON bool
	cmd := command("retry ID... [--from A --to A] [--json]", "Move messages back to the queue and try to deliver them", takes(1, -1),
		func(cmd *cobra.Command, args []string) error {
			if err := checkNewState(cmd, to, len(args)); err != nil {
				return err
			}
			done, err := call(cmd.Context(), a, admin.QuarantineRetry, admin.QuarantineOrder{Words: args, From: from, To: to})
			return respond(a, asJSON, (*app).printRestored)(done, err)
		})
	cmd.Flags().StringVar(&from, "from", "", "the sender, an `address` or '<>' (default: from its state)")
	cmd.Flags().StringArrayVar(&to, "to", nil, "a recipient, an `address`; may be repeated (default: from its state)")
	addJSON(cmd, &asJSON)
	return cmd
}

// checkNewState looks at the flags for a message that has no state of its own.
func checkNewState(cmd *cobra.Command, to []string, count int) error {
	switch {
	case slices.Contains(to, ""):
		return misuse(cmd, "--to lacks its value")
	case cmd.Flags().Lookup("from").Changed && len(to) == 0:
		return cmp.Or(lacksValue(cmd, "from"), misuse(cmd, "--from goes with --to"))
	case len(to) > 0 && count > 1:
		return misuse(cmd, "--to goes with one message")
	}
	return lacksValue(cmd, "from")
}

func (a *app) printRestored(done admin.QuarantineRetried) {
	fmt.Fprintf(a.stdout, "put %s back into the queue\n", quota.FormatMessages(int64(len(done.Retried))))
	if !done.Running {
		a.note("the server is not running: no mail is sent until 'pillarbox serve' starts it")
	}
}

func (a *app) quarantineRemoveCommand() *cobra.Command {
	var yes, all, asJSON bool
	cmd := command("remove ID... | --all [--yes] [--json]", "Delete messages in quarantine", cobra.ArbitraryArgs,
		func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) > 0 && all:
				return misuse(cmd, "--all goes with no ID")
			case len(args) == 0 && !all:
				return admin.Hint(usageError{fmt.Errorf("%s: no message is chosen", callName(cmd))}, "usage: %s", cmd.UseLine())
			}
			return a.removeMessages(yes, asJSON, "quarantine", func(sure bool, asked []string) (admin.Removed, error) {
				return call(cmd.Context(), a, admin.QuarantineRemove,
					admin.QuarantineToRemove{Words: args, All: all, Sure: sure, Confirmed: asked})
			})
		})
	cmd.Flags().BoolVar(&all, "all", false, "choose all messages in quarantine")
	addYes(cmd, &yes)
	addJSON(cmd, &asJSON)
	return cmd
}
