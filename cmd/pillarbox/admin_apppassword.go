package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
)

func (a *app) appPasswordCommand() *cobra.Command {
	return family("app-password", "Manage the app passwords of a mailbox: one for each program or device",
		a.appPasswordAddCommand(),
		answers(a, "list USER@DOMAIN", "List the app passwords of a mailbox, with their last use", takes(1, 1), admin.AppPasswordList, first,
			table("app passwords", "ID\tNAME\tFOR\tCREATED\tLAST USE", appPasswordRow)),
		does(a, "remove USER@DOMAIN ID | NAME", "Remove an app password; programs that use it cannot log in any more", takes(2, 2),
			admin.AppPasswordRemove, setting),
	)
}

func (a *app) appPasswordAddCommand() *cobra.Command {
	var in admin.AppPasswordToAdd
	var asJSON bool
	cmd := command("add USER@DOMAIN NAME [--for pop3|smtp|both] [--json]", "Make an app password for a program or device, and show it once", takes(2, 2),
		func(cmd *cobra.Command, args []string) error {
			in.User, in.Name = args[0], args[1]
			return respond(a, asJSON, (*app).printAppPassword)(call(cmd.Context(), a, admin.AppPasswordAdd, in))
		})
	cmd.Flags().StringVar(&in.For, "for", "both", "the `service` that it is for: pop3, smtp or both")
	addJSON(cmd, &asJSON)
	return cmd
}

func (a *app) printAppPassword(made admin.AppPasswordMade) {
	a.report(made.Change, nil)
	fmt.Fprintln(a.stdout, "password: "+made.Password)
}

func appPasswordRow(p admin.AppPasswordStatus) string {
	last := "-"
	if p.LastUse != nil {
		last = strings.TrimSpace(p.LastUse.Local().Format(time.DateTime) + " " + string(p.LastService) + " " + p.LastRemote)
	}
	return strings.Join([]string{p.ID, p.Name, p.For, p.Created.Local().Format(time.DateOnly), last}, "\t")
}

func loginRow(l admin.LoginEvent) string {
	result := "logged in"
	if !l.OK {
		result = l.Reason
	}
	return strings.Join([]string{l.Time.Local().Format(time.DateTime), string(l.Service), cmp.Or(l.Remote, "-"), result, l.Mechanism}, "\t")
}

// loginMeans returns rows about what a user has beside the password; none if that is nothing.
func loginMeans(m admin.MailboxDetails) (rows []string) {
	var names []string
	for _, p := range m.AppPasswords {
		names = append(names, fmt.Sprintf("%s (%s, %s)", p.Name, p.ID, p.For))
	}
	if len(names) > 0 {
		rows = append(rows, "App passwords:\t"+wordList(names))
	}
	if names = factorNames(m.SecondFactor); len(names) > 0 {
		rows = append(rows, "Second factor:\t"+wordList(names))
	}
	return rows
}

func factorNames(d admin.SecondFactorDetails) (names []string) {
	for _, f := range d.Factors {
		names = append(names, f.Name)
	}
	return names
}

func (a *app) secondFactorCommand() *cobra.Command {
	return family("second-factor", "Show or remove the second factor of a mailbox, which its user sets up at the page",
		answers(a, "show USER@DOMAIN", "Show the second factors of a mailbox", takes(1, 1), admin.SecondFactorShow, first, (*app).printSecondFactor),
		does(a, "remove USER@DOMAIN [ID | NAME]", "Remove one second factor of a mailbox, or all, for a lost phone", takes(1, 2),
			admin.SecondFactorRemove, setting),
	)
}

func (a *app) printSecondFactor(d admin.SecondFactorDetails) {
	if len(d.Factors) == 0 {
		a.note("there is no second factor")
		return
	}
	lines := []string{"ID\tNAME\tSET UP"}
	for _, f := range d.Factors {
		lines = append(lines, f.ID+"\t"+f.Name+"\t"+f.Created.Local().Format(time.DateOnly))
	}
	a.align(lines)
	fmt.Fprintf(a.stdout, "%d recovery codes are left\n", d.RecoveryCodes)
}

func (a *app) printResetLink(l admin.ResetLink) {
	a.report(l.Change, nil)
	fmt.Fprintf(a.stdout, "link: %s\nvalid once, until %s\n", l.Link, l.Expires.Local().Format(time.DateTime))
}
