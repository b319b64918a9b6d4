package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/quota"
)

func (a *app) badmailCommand() *cobra.Command {
	cmd := family("badmail", "Manage mail that could neither be delivered nor reported",
		a.badmailListCommand(),
		answers(a, "show ID", "Show a message in badmail and the reason why it is there", takes(1, 1), admin.BadmailShow, first, (*app).printBadmail),
		a.badmailSendCommand(),
		a.badmailRemoveCommand(),
	)
	cmd.Long = `Manage mail that could neither be delivered nor reported: delivery reports that no
server accepted, and mail whose sender may not get a report. The folder badmail keeps
it, within reports.badmail_days and reports.badmail_size. The server removes the oldest
messages first.

Name a message by its ID, the beginning of its ID, or its last 8 characters.`
	return cmd
}

func (a *app) badmailListCommand() *cobra.Command {
	var older string
	cmd := answers(a, "list [--older 2h]", "List messages in badmail, the oldest first", takes(0, 0), admin.BadmailList,
		func([]string) string { return older },
		table("matching messages in badmail", "ID\tAGE\tSIZE\tFROM\tTO\tREASON", badmailRow))
	cmd.Flags().StringVar(&older, "older", "", "only messages that have been there for this `time`, such as 2h, 90m or 3d")
	return cmd
}

func badmailRow(m admin.BadMessage) string {
	from, to := "-", "-"
	if m.Envelope != nil {
		from, to = senderText(m.Envelope.From), m.Envelope.To[0].Address.String()
		if more := len(m.Envelope.To) - 1; more > 0 {
			to += fmt.Sprintf(" +%d", more)
		}
	}
	reason, _, _ := strings.Cut(m.Reason, "\n")
	return strings.Join([]string{m.ID, ageText(time.Since(m.Kept)), about(m.Message), from, to, shorten(oneLine(reason), 60)}, "\t")
}

// oneLine makes a text that others wrote fit for a line.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

func (a *app) printBadmail(m admin.BadMessage) {
	lines := []string{
		"ID:\t" + m.ID,
		"Kept:\t" + localTime(m.Kept) + " (" + ageText(time.Since(m.Kept)) + " ago)",
		"Size:\t" + sizeText(m.Message),
		"Files:\t" + strings.Join(m.Files, ", ") + ", in badmail",
	}
	if e := m.Envelope; e != nil {
		lines = append(lines, "From:\t"+senderText(e.From), "Came by:\t"+sourceText(e.Source), "Arrived:\t"+localTime(e.Arrived))
		for i := range e.To {
			lines = append(lines, "To:\t"+e.To[i].Address.String())
		}
	}
	a.align(lines)
	fmt.Fprintf(a.stdout, "\nWhy it is there:\n  %s\n\nWhat to do: %s\n", strings.ReplaceAll(m.Reason, "\n", "\n  "), badmailHint(&m))
}

func badmailHint(m *admin.BadMessage) string {
	switch {
	case !m.Has(".eml"):
		return "the message itself is missing; 'pillarbox admin badmail remove " + m.ID + "' removes the rest"
	case m.Envelope == nil:
		return "'pillarbox admin badmail send " + m.ID + " --to x@partner.example' sends it; 'badmail remove' deletes it"
	}
	return "'pillarbox admin badmail send " + m.ID + "' sends it once the reason is gone; --to names another recipient"
}

func (a *app) badmailSendCommand() *cobra.Command {
	var to []string
	var yes, all, asJSON bool
	cmd := command("send ID... | --all [--to A] [--yes] [--json]", "Send messages in badmail again, and remove them from it", cobra.ArbitraryArgs,
		func(cmd *cobra.Command, args []string) error {
			if slices.Contains(to, "") {
				return misuse(cmd, "--to lacks its value")
			}
			if err := choosesBadmail(cmd, args, all, ""); err != nil {
				return err
			}
			var sent []admin.BadmailSent
			err := a.confirmed(yes, func(sure bool) (err error) {
				in := admin.BadmailToSend{Words: args, All: all, To: to, Sure: sure}
				for _, asked := range sent {
					in.Confirmed = append(in.Confirmed, asked.ID)
				}
				sent, err = call(cmd.Context(), a, admin.BadmailSend, in)
				return err
			})
			return respond(a, asJSON, (*app).printSent)(sent, err)
		})
	cmd.Flags().StringArrayVar(&to, "to", nil, "send to this `address` instead of the original recipients; may be repeated")
	cmd.Flags().BoolVar(&all, "all", false, "choose all messages in badmail")
	addYes(cmd, &yes)
	addJSON(cmd, &asJSON)
	return cmd
}

func (a *app) printSent(sent []admin.BadmailSent) {
	for _, s := range sent {
		fmt.Fprintf(a.stdout, "sent %s, as %s\n", s.ID, s.As)
	}
	if len(sent) == 0 {
		a.note("there are no messages in badmail")
	}
}

// choosesBadmail wants one way to choose messages.
func choosesBadmail(cmd *cobra.Command, args []string, all bool, older string) error {
	switch {
	case len(args) > 0 && (all || older != ""), all && older != "":
		return misuse(cmd, "IDs, --older and --all do not go together")
	case len(args) == 0 && !all && older == "":
		return admin.Hint(usageError{fmt.Errorf("%s: no message is chosen", callName(cmd))}, "usage: %s", cmd.UseLine())
	}
	return nil
}

func (a *app) badmailRemoveCommand() *cobra.Command {
	var older string
	var yes, all, asJSON bool
	cmd := command("remove ID... | --older 30d | --all [--yes] [--json]", "Delete messages in badmail", cobra.ArbitraryArgs,
		func(cmd *cobra.Command, args []string) error {
			if err := lacksValue(cmd, "older"); err != nil {
				return err
			}
			if err := choosesBadmail(cmd, args, all, older); err != nil {
				return err
			}
			return a.removeMessages(yes, asJSON, "badmail", func(sure bool, asked []string) (admin.Removed, error) {
				return call(cmd.Context(), a, admin.BadmailRemove, admin.BadmailToRemove{
					Words: args, Older: older, All: all, Sure: sure, Confirmed: asked,
				})
			})
		})
	cmd.Flags().StringVar(&older, "older", "", "messages that have been there for this `time`, such as 2h, 90m or 3d")
	cmd.Flags().BoolVar(&all, "all", false, "choose all messages in badmail")
	addYes(cmd, &yes)
	addJSON(cmd, &asJSON)
	return cmd
}

// removeMessages deletes messages by a verb that may ask first. remove gets the messages that the
// question was about.
func (a *app) removeMessages(
	yes, asJSON bool, where string, remove func(sure bool, asked []string) (admin.Removed, error),
) error {
	var done admin.Removed
	err := a.confirmed(yes, func(sure bool) (err error) {
		done, err = remove(sure, done.Removed)
		return err
	})
	switch {
	case err != nil:
		return err
	case asJSON:
		return a.writeJSON(done)
	case len(done.Removed) == 0:
		a.note("there are no matching messages in %s", where)
	default:
		fmt.Fprintf(a.stdout, "removed %s from %s\n", quota.FormatMessages(int64(len(done.Removed))), where)
	}
	return nil
}
