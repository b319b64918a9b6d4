package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/tls/certs"
)

func (a *app) tlsCommand() *cobra.Command {
	return family("tls", "Manage the server's certificates and those of clients",
		a.tlsShowCommand(), a.tlsRenewCommand(), a.tlsExportCommand(), a.tlsCSRCommand(), a.acmeCommand(), a.tlsClientsCommand(),
		a.clientCertCommand(), a.clientCertsCommand(), a.clientRevokeCommand())
}

func (a *app) tlsShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show the certificates: names, issuer, validity, fingerprint",
		Args:  takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			shown, err := call(cmd.Context(), a, admin.TLSShow, struct{}{})
			if err == nil && asJSON {
				return a.writeJSON(shownCertificates{shown.All[0], shown.All[1:], shown.Warnings})
			}
			return answer(a, (*app).printCertificates)(shown, err)
		},
	}
	addJSON(cmd, &asJSON)
	return cmd
}

// shownCertificates is the certificate that most clients are shown, with the
// others.
type shownCertificates struct {
	certs.Info
	Beside   []certs.Info `json:"beside"`
	Warnings []string     `json:"warnings"`
}

func (a *app) printCertificates(shown admin.Certificates) {
	for i, info := range shown.All {
		if i > 0 {
			fmt.Fprintln(a.stdout)
		}
		a.printCertificate(info)
	}
	for _, warning := range shown.Warnings {
		a.note("%s", warning)
	}
}

func (a *app) printCertificate(info certs.Info) {
	names := slices.Clone(info.Names)
	for _, ip := range info.IPs {
		names = append(names, ip.String())
	}
	row := func(label, value string) { fmt.Fprintf(a.stdout, "%-12s %s\n", label, value) }
	if info.Subject != "" { // authorities of today name nobody
		row("Subject", info.Subject)
	}
	row("Names", strings.Join(names, ", "))
	row("Issuer", info.Issuer)
	row("Key", info.Key)
	row("Valid", info.NotBefore.Local().Format(time.DateOnly)+" to "+info.NotAfter.Local().Format(time.DateOnly))
	row("SHA-256", info.Fingerprint)
	row("File", info.File)
	if info.CA != nil {
		row("Own CA", fmt.Sprintf("%s, valid to %s", info.CA.Subject, info.CA.NotAfter.Local().Format(time.DateOnly)))
	}
}

func (a *app) tlsRenewCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "renew",
		Short: "Issue a new certificate from the server's own CA; a running server uses it within a minute",
		Args:  takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			done, err := call(cmd.Context(), a, admin.TLSRenew, struct{}{})
			return answer(a, (*app).printRenewed)(done, err)
		},
	}
}

func (a *app) printRenewed(done admin.Renewed) {
	fmt.Fprintf(a.stdout, "certificate renewed, valid to %s\n", done.NotAfter.Local().Format(time.DateOnly))
	if done.Beside {
		a.note("most clients get the certificate from ACME; 'pillarbox admin tls acme renew' renews that one")
	}
}

func (a *app) tlsExportCommand() *cobra.Command {
	var format, out string
	cmd := &cobra.Command{
		Use:   "export-ca",
		Short: "Export the CA certificate that mail programs must trust (never its key)",
		Args:  takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ca, err := call(cmd.Context(), a, admin.TLSExportCA, format)
			if err != nil {
				return err
			}
			if out == "" || out == "-" {
				_, err = a.stdout.Write(ca)
				return err
			}
			if err := os.WriteFile(out, ca, 0o644); err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "CA certificate written to %s\n", out)
			return nil
		},
	}
	cmd.Flags().StringVar(&format, "format", "pem", "the `format`: pem, or der for Windows and phones")
	cmd.Flags().StringVarP(&out, "output", "o", "", "write to this `file` instead of standard output")
	return cmd
}
