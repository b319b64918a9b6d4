package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/clientsetup"
)

// clientSetupCommand makes a file that sets up a mail program.
func (a *app) clientSetupCommand() *cobra.Command {
	var req admin.ClientSetupRequest
	var out string
	var withPassword, asJSON bool
	programs := strings.Join(clientsetup.Programs(), ", ")
	cmd := command("client-setup USER --for PROGRAM [--reg] [--with-password] [-o FILE] [--json]",
		"Make a file that sets up a mail program for a user", takes(1, 1),
		func(cmd *cobra.Command, args []string) error {
			if req.User = args[0]; req.For == "" {
				return misuse(cmd, "--for is missing: the programs are "+programs)
			}
			if withPassword {
				ask, ok := a.asker()
				if !ok {
					return admin.Hint(errors.New("cannot ask for the password: standard input is not a terminal"),
						"leave out --with-password: the mail program asks for it")
				}
				var err error
				if req.Password, err = ask("Password of "+req.User+", for the file: ", true); err != nil {
					return err
				}
			}
			file, err := call(cmd.Context(), a, admin.ClientSetup, req)
			if err != nil || asJSON {
				return respond(a, asJSON, func(*app, clientsetup.File) {})(file, err)
			}
			return a.writeClientFile(file, out, withPassword)
		})
	cmd.Flags().StringVar(&req.For, "for", "", "the `program`: "+programs)
	cmd.Flags().BoolVar(&req.Registry, "reg", false, "make a registry file for Outlook Express, not an .iaf file")
	cmd.Flags().BoolVar(&withPassword, "with-password", false,
		"ask for the password and put it into the file (apple, windows-mail, printer, text)")
	cmd.Flags().StringVarP(&out, "output", "o", "", "write to this `file` instead of standard output")
	addJSON(cmd, &asJSON)
	return cmd
}

// writeClientFile writes the file. Only its owner may read one with a password.
func (a *app) writeClientFile(file clientsetup.File, out string, secret bool) error {
	if out == "" || out == "-" {
		if _, err := a.stdout.Write(file.Body); err != nil {
			return err
		}
	} else {
		mode := os.FileMode(0o644)
		if secret {
			mode = 0o600
		}
		if err := os.WriteFile(out, file.Body, mode); err != nil {
			return err
		}
		if secret { // the file may have been there with another mode
			if err := os.Chmod(out, mode); err != nil {
				return err
			}
		}
		fmt.Fprintf(a.stdout, "written to %s\n", out)
	}
	if file.Note != "" {
		a.note("%s", file.Note)
	}
	return nil
}
