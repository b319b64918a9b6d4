package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/tls/certs"
)

func (a *app) configCommand() *cobra.Command {
	var asJSON bool
	show := &cobra.Command{
		Use:   "show",
		Short: "Show every setting with its effective value and the origin of the value",
		Args:  takes(0, 0),
		RunE:  func(*cobra.Command, []string) error { return a.configShow(asJSON) },
	}
	show.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	check := &cobra.Command{
		Use:   "check",
		Short: "Report every mistake in the configuration, with its line",
		Args:  takes(0, 0),
		RunE:  func(*cobra.Command, []string) error { return a.configCheck() },
	}
	return family("config", "Check or show the configuration", check, show)
}

// configCheck checks the configuration, and the certificate, because serve needs both.
func (a *app) configCheck() error {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	if m, err := certs.Open(cfg.Certs()); err != nil && cfg.TLS.Cert != "" {
		return fmt.Errorf("tls.cert, tls.key: %w", err)
	} else if err != nil {
		a.note("%v", err)
	} else {
		for _, warning := range m.Warnings(time.Now()) {
			a.note("%s", warning)
		}
	}
	for _, warning := range cfg.Warnings {
		a.note("%s", warning)
	}
	fmt.Fprintf(a.stdout, "%s: no mistakes\n", a.config)
	return nil
}

func (a *app) configShow(asJSON bool) error {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	if asJSON {
		return a.writeJSON(cfg.Effective())
	}
	var lines []string
	for _, s := range cfg.Effective() {
		lines = append(lines, fmt.Sprintf("%s\t= %s\t# %s", s.Key, s.Value, s.Source))
	}
	a.align(lines)
	return nil
}
