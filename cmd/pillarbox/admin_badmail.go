package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/daemon"
	"pillarbox/mailstore/addr"
	"pillarbox/quota"
)

func (a *app) badmailCommand() *cobra.Command {
	cmd := family("badmail", "Manage mail that could neither be delivered nor reported",
		a.badmailListCommand(),
		shows(a, "show ID", "Show a message in badmail and the reason why it is there", takes(1, 1), ofOne((*admin.Service).ShowBadmail), (*app).printBadmail),
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
	cmd := shows(a, "list [--older 2h]", "List messages in badmail, the oldest first", takes(0, 0),
		func(o *admin.Service, _ []string) ([]admin.BadMessage, error) {
			age, err := parseAge(older)
			if err != nil {
				return nil, err
			}
			all, err := o.ListBadmail()
			kept := make([]admin.BadMessage, 0, len(all))
			for _, m := range all {
				if time.Since(m.Kept) >= age {
					kept = append(kept, m)
				}
			}
			return kept, err
		}, table("matching messages in badmail", "ID\tAGE\tSIZE\tFROM\tTO\tREASON", badmailRow))
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
	cmd := a.verb("send ID... | --all [--to A] [--yes] [--json]", "Send messages in badmail again, and remove them from it", cobra.ArbitraryArgs,
		func(cmd *cobra.Command, o *admin.Service, args []string) error {
			recipients, err := parseRecipients(cmd, o, to)
			if err != nil {
				return err
			}
			ids, err := chooseBadmail(cmd, o, args, all, "")
			if err != nil {
				return err
			}
			if len(args) == 0 && len(ids) > 1 {
				if err := a.confirm(yes, fmt.Sprintf("Send %s again?", quota.FormatMessages(int64(len(ids))))); err != nil {
					return err
				}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), queuePatience)
			defer cancel()
			sent, err := daemon.SendBadmail(ctx, o, daemon.BadmailOrder{IDs: ids, To: recipients})
			if err != nil {
				return err
			}
			return respond(a, asJSON, (*app).printSent)(sent, nil)
		})
	cmd.Flags().StringArrayVar(&to, "to", nil, "send to this `address` instead of the original recipients; may be repeated")
	cmd.Flags().BoolVar(&all, "all", false, "choose all messages in badmail")
	addYes(cmd, &yes)
	addJSON(cmd, &asJSON)
	return cmd
}

func (a *app) printSent(sent []daemon.BadmailSent) {
	for _, s := range sent {
		fmt.Fprintf(a.stdout, "sent %s, as %s\n", s.ID, s.As)
	}
	if len(sent) == 0 {
		a.note("there are no messages in badmail")
	}
}

// parseRecipients reads the values of --to.
func parseRecipients(cmd *cobra.Command, o *admin.Service, words []string) (all []addr.Address, err error) {
	for _, word := range words {
		if word == "" {
			return nil, misuse(cmd, "--to lacks its value")
		}
		to, err := parseQueueAddress(o, "to", word)
		if err != nil {
			return nil, err
		}
		all = append(all, to)
	}
	return all, nil
}

// chooseBadmail finds the messages that are meant. Something has to be said.
func chooseBadmail(cmd *cobra.Command, o *admin.Service, args []string, all bool, older string) ([]string, error) {
	switch {
	case len(args) > 0 && (all || older != ""), all && older != "":
		return nil, misuse(cmd, "IDs, --older and --all do not go together")
	case len(args) == 0 && !all && older == "":
		return nil, admin.Hint(usageError{fmt.Errorf("%s: no message is chosen", callName(cmd))}, "usage: %s", cmd.UseLine())
	}
	age, err := parseAge(older)
	if err != nil {
		return nil, err
	}
	return o.BadmailIDs(args, age, time.Now())
}

func (a *app) badmailRemoveCommand() *cobra.Command {
	var older string
	var yes, all, asJSON bool
	cmd := a.verb("remove ID... | --older 30d | --all [--yes] [--json]", "Delete messages in badmail", cobra.ArbitraryArgs,
		func(cmd *cobra.Command, o *admin.Service, args []string) error {
			if f := cmd.Flags().Lookup("older"); f.Changed && older == "" {
				return misuse(cmd, "--older lacks its value")
			}
			ids, err := chooseBadmail(cmd, o, args, all, older)
			if err != nil {
				return err
			}
			return a.removeChosen(ids, args, yes, asJSON, "badmail", o.RemoveBadmail)
		})
	cmd.Flags().StringVar(&older, "older", "", "messages that have been there for this `time`, such as 2h, 90m or 3d")
	cmd.Flags().BoolVar(&all, "all", false, "choose all messages in badmail")
	addYes(cmd, &yes)
	addJSON(cmd, &asJSON)
	return cmd
}

// removeChosen deletes messages. It asks first, unless one message was named.
func (a *app) removeChosen(ids, named []string, yes, asJSON bool, where string, remove func([]string) error) error {
	if len(ids) > 0 && (len(ids) > 1 || len(named) == 0) {
		if err := a.confirm(yes, fmt.Sprintf("Delete %s in %s?", quota.FormatMessages(int64(len(ids))), where)); err != nil {
			return err
		}
	}
	if len(ids) > 0 {
		if err := remove(ids); err != nil {
			return err
		}
	}
	if asJSON {
		return a.writeJSON(struct {
			Removed []string `json:"removed"`
		}{append([]string{}, ids...)})
	}
	if len(ids) == 0 {
		a.note("there are no matching messages in %s", where)
		return nil
	}
	fmt.Fprintf(a.stdout, "removed %s from %s\n", quota.FormatMessages(int64(len(ids))), where)
	return nil
}
