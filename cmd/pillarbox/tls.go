package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/ops"
	"pillarbox/tls/certs"
)

func (a *app) tlsCommand() *cobra.Command {
	return family("tls", "The server's certificate", a.tlsShowCommand(), a.tlsRenewCommand(), a.tlsExportCommand())
}

// withCertificate opens the certificate that the configuration names.
func (a *app) withCertificate(do func(*certs.Manager) error) func(*cobra.Command, []string) error {
	return func(*cobra.Command, []string) error {
		cfg, err := a.load()
		if err != nil {
			return err
		}
		m, err := ops.OpenCertificate(cfg)
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
		Short: "Show the certificate: names, issuer, until when, fingerprint",
		Args:  takes(0, 0),
		RunE: a.withCertificate(func(m *certs.Manager) error {
			if asJSON {
				return a.writeJSON(m.Info())
			}
			a.printCertificate(m.Info())
			return nil
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}

func (a *app) printCertificate(info certs.Info) {
	names := slices.Clone(info.Names)
	for _, ip := range info.IPs {
		names = append(names, ip.String())
	}
	row := func(label, value string) { fmt.Fprintf(a.stdout, "%-12s %s\n", label, value) }
	row("Subject", info.Subject)
	row("Names", strings.Join(names, ", "))
	row("Issuer", info.Issuer)
	row("Valid", info.NotBefore.Local().Format(time.DateOnly)+" to "+info.NotAfter.Local().Format(time.DateOnly))
	row("SHA-256", info.Fingerprint)
	row("File", info.File)
	if info.CA != nil {
		row("Own CA", fmt.Sprintf("%s, valid to %s", info.CA.Subject, info.CA.NotAfter.Local().Format(time.DateOnly)))
	}
	for _, warning := range info.Warnings(time.Now()) {
		a.note("%s", warning)
	}
}

func (a *app) tlsRenewCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "renew",
		Short: "Issue a new certificate from the server's own CA; a running server takes it within a minute",
		Args:  takes(0, 0),
		RunE: a.withCertificate(func(m *certs.Manager) error {
			if err := m.Renew(time.Now()); err != nil {
				if errors.Is(err, certs.ErrNotOwnCA) {
					return ops.Hint(err, "renew it where it came from; the server notices the new files by itself")
				}
				return err
			}
			fmt.Fprintf(a.stdout, "certificate renewed, valid to %s\n", m.Info().NotAfter.Local().Format(time.DateOnly))
			return nil
		}),
	}
}

func (a *app) tlsExportCommand() *cobra.Command {
	var format, out string
	cmd := &cobra.Command{
		Use:   "export-ca",
		Short: "Write the CA certificate that mail programs must trust (never its key)",
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
	cmd.Flags().StringVar(&format, "format", "pem", "pem, or der for Windows and phones")
	cmd.Flags().StringVarP(&out, "output", "o", "", "write to this `file` instead of the screen")
	return cmd
}
