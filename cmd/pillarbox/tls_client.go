package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
)

func (a *app) clientCertCommand() *cobra.Command {
	var n admin.NewClientCert
	var file string
	var stdin bool
	cmd := command("client-cert USER@DOMAIN [-o FILE.p12] [--days N] [--rsa] [--password-stdin]",
		"Issue a certificate that a mail program uses for login instead of a password", takes(1, 1),
		func(cmd *cobra.Command, args []string) (err error) {
			if n.Password, err = a.filePassword(stdin); err != nil {
				return err
			}
			order := admin.ClientCertOrder{User: args[0], NewClientCert: n}
			if err := a.issueClientCert(cmd.Context(), order, file); err != nil {
				return err
			}
			if !stdin {
				fmt.Fprintln(a.stdout, "password: "+n.Password)
			}
			return nil
		})
	cmd.Long = `Issue a certificate that a mail program uses for login instead of a password.

The file holds the key, the certificate and the server's own CA (PKCS #12). The mail
program imports it and asks for the file's password once. The server keeps no copy of
the key: a user who loses the file needs a new certificate. The server requests
certificates only if auth.client_certificates is true.

Thunderbird and Windows 10 or newer can read the file. With --rsa, Windows XP to 8 and
old telephones can read it too: it has an RSA key and the weak encryption of their time,
so its password must be long.`
	cmd.Flags().StringVarP(&file, "output", "o", "", "write to this new `file` (default: USER@DOMAIN.p12)")
	cmd.Flags().IntVar(&n.Days, "days", 365, "number of days for which it is valid")
	cmd.Flags().BoolVar(&n.RSA, "rsa", false, "use an RSA key and the old file format, for programs from before 2015")
	cmd.Flags().BoolVar(&stdin, "password-stdin", false, "read the file's password from standard input, one line (default: generate and show it)")
	return cmd
}

// filePassword reads or generates the password that encrypts a certificate file.
func (a *app) filePassword(stdin bool) (string, error) {
	if !stdin {
		return auth.GeneratePassword(), nil
	}
	const shortest = 8
	password, err := a.readLine()
	if err == nil && len(password) < shortest {
		err = fmt.Errorf("the password for the certificate file needs at least %d characters", shortest)
	}
	return password, err
}

// issueClientCert creates the file before it asks for a certificate, so that no certificate is
// issued that cannot be saved.
func (a *app) issueClientCert(ctx context.Context, order admin.ClientCertOrder, file string) (err error) {
	if file == "" {
		try := order
		try.Try = true
		named, err := call(ctx, a, admin.TLSClientCert, try)
		if err != nil {
			return err
		}
		file = named.Mailbox + ".p12"
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return admin.Hint(err, "-o names another file")
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(file)
		}
	}()
	made, err := call(ctx, a, admin.TLSClientCert, order)
	if err != nil {
		return err
	}
	issued := made.Issued
	if _, err = f.Write(issued.File); err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err != nil {
		_, revoked := call(ctx, a, admin.TLSClientRevoke, admin.ClientCertToRevoke{User: order.User, Fingerprint: issued.Fingerprint})
		return errors.Join(err, revoked)
	}
	a.report(made.Change, nil)
	fmt.Fprintf(a.stdout, "written to %s, valid to %s, SHA-256 %s\n", file, issued.NotAfter.Local().Format(time.DateOnly), issued.Fingerprint)
	return nil
}

func (a *app) clientCertsCommand() *cobra.Command {
	return answers(a, "client-certs USER@DOMAIN", "List the client certificates of a mailbox", takes(1, 1), admin.TLSClientCerts, first,
		table("client certificates", "SHA-256\tISSUED\tEXPIRES", func(c directory.ClientCert) string {
			return fmt.Sprintf("%s\t%s\t%s", c.Fingerprint, c.Issued.Local().Format(time.DateOnly), c.Expires.Local().Format(time.DateOnly))
		}))
}

func (a *app) clientRevokeCommand() *cobra.Command {
	var all bool
	cmd := command("client-revoke USER@DOMAIN FINGERPRINT | --all", "Revoke client certificates of a mailbox", takes(1, 2),
		func(cmd *cobra.Command, args []string) error {
			if all == (len(args) == 2) {
				return misuse(cmd, "either a fingerprint or --all")
			}
			in := admin.ClientCertToRevoke{User: args[0], Fingerprint: first(args[1:]), All: all}
			return a.report(call(cmd.Context(), a, admin.TLSClientRevoke, in))
		})
	cmd.Flags().BoolVar(&all, "all", false, "revoke all client certificates of the mailbox")
	return cmd
}
