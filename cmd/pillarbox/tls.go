package main

import (
	"errors"
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
		a.tlsShowCommand(), a.tlsRenewCommand(), a.tlsExportCommand(), a.acmeCommand(), a.tlsClientsCommand(),
		a.clientCertCommand(), a.clientCertsCommand(), a.clientRevokeCommand())
}

// withCertificate opens the certificate that the configuration names.
func (a *app) withCertificate(do func(*certs.Manager) error) func(*cobra.Command, []string) error {
	return func(*cobra.Command, []string) error {
		cfg, err := a.load()
		if err != nil {
			return err
		}
		m, err := admin.OpenCertificate(cfg)
		if err != nil {
			return err
		}
		return do(m)
	}
}

func (a *app) tlsShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show the certificates: names, issuer, validity, fingerprint",
		Args:  takes(0, 0),
		RunE: a.withCertificate(func(m *certs.Manager) error {
			all := m.Infos()
			if asJSON {
				return a.writeJSON(shownCertificates{all[0], all[1:], append([]string{}, m.Warnings(time.Now())...)})
			}
			a.printCertificates(m)
			return nil
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}

// shownCertificates is the certificate that most clients are shown, with the
// others.
type shownCertificates struct {
	certs.Info
	Beside   []certs.Info `json:"beside"`
	Warnings []string     `json:"warnings"`
}

func (a *app) printCertificates(m *certs.Manager) {
	for i, info := range m.Infos() {
		if i > 0 {
			fmt.Fprintln(a.stdout)
		}
		a.printCertificate(info)
	}
	for _, warning := range m.Warnings(time.Now()) {
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
		RunE: a.withCertificate(func(m *certs.Manager) error {
			if err := m.Renew(time.Now()); err != nil {
				if errors.Is(err, certs.ErrNotOwnCA) {
					return admin.Hint(err, "renew it where it came from; the server notices the new files by itself")
				}
				return err
			}
			a.recordAct("certificate", map[string]any{"not_after": m.OwnExpiry()})
			fmt.Fprintf(a.stdout, "certificate renewed, valid to %s\n", m.OwnExpiry().Local().Format(time.DateOnly))
			if m.Info().Source == certs.FromACME {
				a.note("most clients get the certificate from ACME; 'pillarbox admin tls acme renew' renews that one")
			}
			return nil
		}),
	}
}

func (a *app) tlsExportCommand() *cobra.Command {
	var format, out string
	cmd := &cobra.Command{
		Use:   "export-ca",
		Short: "Export the CA certificate that mail programs must trust (never its key)",
		Args:  takes(0, 0),
		RunE: a.withCertificate(func(m *certs.Manager) error {
			ca, err := m.ExportCA(format)
			if errors.Is(err, certs.ErrFormat) {
				return usageError{fmt.Errorf("--format is pem or der, not %q", format)}
			} else if err != nil {
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
		}),
	}
	cmd.Flags().StringVar(&format, "format", "pem", "the `format`: pem, or der for Windows and phones")
	cmd.Flags().StringVarP(&out, "output", "o", "", "write to this `file` instead of standard output")
	return cmd
}
