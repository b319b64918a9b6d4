package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
)

func (a *app) tlsCSRCommand() *cobra.Command {
	var in admin.CSROrder
	var asJSON bool
	cmd := command("csr [--name HOST]... [--file NAME] [--ecdsa] [--json]",
		"Make a key and a certificate request (CSR) for a commercial authority", takes(0, 0),
		func(cmd *cobra.Command, _ []string) error {
			made, err := call(cmd.Context(), a, admin.TLSCSR, in)
			if err == nil && asJSON {
				return a.writeJSON(made)
			}
			return answer(a, (*app).printCSR)(made, err)
		})
	cmd.Long = `Make a key and a certificate request (CSR) for a commercial authority.

The request has the server's host name and those of --name. The key stays on this machine,
readable by the server alone. No file is overwritten: for a new key, name other files with
--file. The command says where the signed certificate goes, and which keys of the
configuration to set.

A certificate of Let's Encrypt and the like needs no request: see [tls.acme] in the
configuration.`
	cmd.Flags().StringArrayVar(&in.Names, "name", nil, "another `host` name for the certificate; may be repeated")
	cmd.Flags().StringVar(&in.Base, "file", "", "the `name` of the files, without an extension (default: the host name)")
	cmd.Flags().BoolVar(&in.ECDSA, "ecdsa", false, "use an ECDSA key; programs from before 2010 need RSA, the default")
	addJSON(cmd, &asJSON)
	return cmd
}

func (a *app) printCSR(made admin.CSRMade) {
	a.align([]string{
		"Names:\t" + strings.Join(made.Names, ", "),
		"Request:\t" + made.RequestFile,
		"Key:\t" + made.KeyFile + " (keep it secret)",
	})
	apply := "'pillarbox admin reload'"
	if made.Restart {
		apply = "restart the server"
	}
	fmt.Fprintf(a.stdout, `
1. Give the request to the authority.
2. Write its answer to %s, in PEM:
   the certificate first, then the intermediate certificates.
3. Set in %s:
   [tls]
   cert = %q
   key = %q
4. Then %s.
`, made.CertFile, a.config, made.CertFile, made.KeyFile, apply)
}
