package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/tls/acme"
	"pillarbox/tls/certs"
)

func (a *app) tlsClientsCommand() *cobra.Command {
	var legacy bool
	cmd := answers(a, "clients [--legacy]", "List the TLS protocol and cipher of each client since the start of the server", takes(0, 0), admin.TLSClients,
		func([]string) admin.TLSClientsQuestion { return admin.TLSClientsQuestion{Legacy: legacy} },
		table("clients", "ADDRESS\tSERVICE\tPROTOCOL\tCIPHER\tFIRST\tLAST\tCOUNT", clientRow))
	cmd.Long = `List the TLS protocol and cipher of each client since the start of the server.

Clients that need tls.legacy_networks come first, then clients that are too old for the
offered versions. The list is limited to some thousand clients, those seen last.`
	cmd.Flags().BoolVar(&legacy, "legacy", false, "only clients that need old TLS, and those that were refused because of it")
	return cmd
}

func clientRow(c certs.Client) string {
	cipher := c.Cipher
	switch {
	case c.Refused:
		cipher = "refused: too old"
	case c.WeakCipher:
		cipher += " (below 128 bits)"
	}
	return fmt.Sprintf("%s\t%s:%d\t%s\t%s\t%s\t%s\t%d", c.Address, c.Service, c.Port, c.Protocol, cipher, localTime(c.First), localTime(c.Last), c.Count)
}

func (a *app) acmeCommand() *cobra.Command {
	return family("acme", "Manage the certificate from a public CA by ACME ([tls.acme])",
		answers(a, "status", "Show the names, the validity and the last attempt", takes(0, 0), admin.ACMEStatus, nothing, (*app).printACME),
		answers(a, "renew", "Renew the certificate now, even if it is not due", takes(0, 0), admin.ACMERenew, nothing, (*app).printACME),
	)
}

func (a *app) printACME(s acme.Status) {
	if !s.Enabled {
		fmt.Fprintln(a.stdout, "ACME is off: tls.acme.enabled is false")
		return
	}
	lines := []string{"Names:\t" + wordList(s.Names), "Authority:\t" + s.Directory, "Challenge:\t" + string(s.Challenge)}
	const standIn = "; that of the server's own CA stands in"
	switch {
	case s.NotAfter.IsZero():
		lines = append(lines, "Certificate:\tnone yet"+standIn)
	case time.Now().After(s.NotAfter):
		lines = append(lines, "Certificate:\tended "+localTime(s.NotAfter)+standIn)
	default:
		lines = append(lines, "Certificate:\tvalid to "+localTime(s.NotAfter))
	}
	switch {
	case s.Error != "":
		lines = append(lines, fmt.Sprintf("Last attempt:\t%s, failed (%d in a row): %s", localTime(s.Last), s.Failures, s.Error))
	case !s.Last.IsZero():
		lines = append(lines, "Last attempt:\t"+localTime(s.Last)+", good")
	}
	if s.Next.IsZero() {
		lines = append(lines, "Next attempt:\tnow")
	} else {
		lines = append(lines, "Next attempt:\t"+localTime(s.Next))
	}
	a.align(lines)
}
