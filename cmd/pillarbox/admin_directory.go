package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
)

func (a *app) directoryCommand() *cobra.Command {
	return family("directory", "Manage LDAP directories for passwords and users",
		answers(a, "list", "List the configured directories", takes(0, 0), admin.DirectoryList, nothing,
			table("directories", "DIRECTORY\tSERVERS\tLOOK-UP\tDOMAINS", directoryRow)),
		a.directoryTestCommand(),
	)
}

func directoryRow(d admin.DirectoryInfo) string {
	var domains []string
	for _, one := range d.Domains {
		domains = append(domains, string(one))
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s", d.Name, wordList(d.Servers), yesNo(d.Lookup), wordList(domains))
}

// These make the exit code say what the lines above them have said.
var (
	errDirectory = errors.New("not every server of the directory can be used as it is")
	errLogIn     = errors.New("this user cannot log in as it is")
)

func (a *app) directoryTestCommand() *cobra.Command {
	var asJSON, stdin bool
	cmd := command("test NAME [USER@DOMAIN [--password-stdin]] [--json]", "Test a directory, or the login of a user in it", takes(1, 2),
		func(cmd *cobra.Command, args []string) (err error) {
			in := admin.DirectoryTrial{Name: args[0], User: first(args[1:])}
			if len(args) == 1 && stdin {
				return misuse(cmd, "--password-stdin is the password of a user, who is missing")
			}
			if stdin {
				if in.Password, err = a.readLine(); err != nil {
					return err
				}
			}
			steps, err := call(cmd.Context(), a, admin.DirectoryTest, in)
			if err := respond(a, asJSON, (*app).printDirectorySteps)(steps, err); err != nil {
				return err
			}
			return verdict(steps)
		})
	cmd.Flags().BoolVar(&stdin, "password-stdin", false, "test the user's password, one line of standard input")
	addJSON(cmd, &asJSON)
	return cmd
}

// verdict is what failed: a server, or else what is about the user.
func verdict(steps []admin.DirectoryStep) (err error) {
	for _, s := range steps {
		switch {
		case s.Error != "" && s.Server != "":
			return errDirectory
		case s.Error != "":
			err = errLogIn
		}
	}
	return err
}

func (a *app) printDirectorySteps(steps []admin.DirectoryStep) {
	var rows []string
	for _, s := range steps {
		result, what := "ok", s.Detail
		if s.Error != "" {
			result, what = "FAILED", s.Error
		}
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s\t%s", orWord(s.Server, "-"), s.What, result, s.Took.Round(time.Millisecond), what))
	}
	a.align(rows)
}

func orWord(s, word string) string {
	if s == "" {
		return word
	}
	return s
}
