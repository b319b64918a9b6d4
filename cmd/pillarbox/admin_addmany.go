package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore/durable"
)

func (a *app) addManyCommand() *cobra.Command {
	var in admin.MailboxesToAdd
	var asJSON bool
	cmd := command("add-many FILE | - [--dry-run] [--json]", "Add the mailboxes of a list that a spreadsheet has saved as CSV",
		takes(1, 1), func(cmd *cobra.Command, args []string) error {
			text, err := a.readList(args[0])
			if err != nil {
				return err
			}
			if in.List, err = admin.DecodeList(text); err != nil {
				return err
			}
			out, err := call(cmd.Context(), a, admin.MailboxAddMany, in)
			if asJSON {
				return errors.Join(a.writeJSON(out), addManyError(out, err))
			}
			return errors.Join(a.printAddedMany(out), addManyError(out, err))
		})
	cmd.Long = `Add the mailboxes of a list, one in each line, from FILE or from standard input.

The first line names the columns, in any order: address, name, password, quota, groups,
aliases, forward. Only address must be there. The columns are parted by commas, semicolons
or tabs; a cell with several names has blanks between them. The text is UTF-8 or
Windows-1252, as spreadsheets save it.

The mistakes of all lines are told before anything is made; --dry-run makes nothing at all.
A mailbox without a password in the list gets a new one, which the output tells once, as
CSV. A mailbox that exists keeps its password, quota and name; aliases, groups and a
forwarding that it lacks are added. So the same list can be given again after an
interruption. Groups must exist.`
	cmd.Flags().BoolVar(&in.Try, "dry-run", false, "only look for mistakes")
	addJSON(cmd, &asJSON)
	return cmd
}

// readList reads a file, or standard input for "-".
func (a *app) readList(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(a.stdin, admin.MaxMailboxList+1)) // one too many is an error
	}
	return durable.ReadSmallFile(name, admin.MaxMailboxList)
}

// printAddedMany prints what became of each line as CSV, and the mistakes and notes as text.
func (a *app) printAddedMany(out admin.AddedMailboxes) error {
	for _, m := range out.Mistakes {
		fmt.Fprintf(a.stderr, "line %d: %s\n", m.Line, m.Text)
		if m.Hint != "" {
			fmt.Fprintf(a.stderr, "  hint: %s\n", a.typed(m.Hint))
		}
	}
	if len(out.Mailboxes) == 0 {
		return nil
	}
	w := csv.NewWriter(a.stdout)
	w.Write([]string{"address", "password", "state"}) // Error tells of a failed write
	for _, m := range out.Mailboxes {
		w.Write([]string{m.Mailbox.String(), m.Password, m.State})
	}
	w.Flush()
	for _, m := range out.Mailboxes {
		for _, note := range m.Warnings {
			a.note("%s: %s", m.Mailbox, note)
		}
	}
	return w.Error()
}

// addManyError is the error of the verb, or of what was not done.
func addManyError(out admin.AddedMailboxes, err error) error {
	switch n := len(out.Mistakes); {
	case err != nil:
		return err
	case n == 1:
		return errors.New("1 mistake in the list; nothing was made")
	case n > 1:
		return fmt.Errorf("%d mistakes in the list; nothing was made", n)
	case out.Left > 0:
		return admin.Hint(fmt.Errorf("%d lines of the list are left", out.Left), "give the same list again")
	}
	return nil
}
