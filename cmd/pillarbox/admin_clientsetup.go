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
		if err := writeFor(out, file.Body, secret); err != nil {
			return err
		}
		fmt.Fprintf(a.stdout, "written to %s\n", out)
	}
	if file.Note != "" {
		a.note("%s", file.Note)
	}
	return nil
}

// writeFor writes a file. Others may not read a secret one, even if the file was there with another
// mode.
func writeFor(path string, body []byte, secret bool) error {
	mode := os.FileMode(0o644)
	if secret {
		mode = 0o600
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if secret {
		err = f.Chmod(mode)
	}
	if err == nil {
		_, err = f.Write(body)
	}
	return errors.Join(err, f.Close())
}
