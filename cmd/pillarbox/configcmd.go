package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/dnscheck"
	"pillarbox/cmd/internal/netinfo"
	"pillarbox/smtp/dns"
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
	var withDNS bool
	check := &cobra.Command{
		Use:   "check",
		Short: "Report every mistake in the configuration, with its line",
		Args:  takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.configCheck(); err != nil || !withDNS {
				return err
			}
			return a.checkDNS(cmd.Context())
		},
	}
	check.Flags().BoolVar(&withDNS, "dns", false,
		"also look up the server's name, its address, and MX and SPF of the domains")
	return family("config", "Check or show the configuration", check, show)
}

// configCheck checks the configuration, the certificate, and how the settings fit
// the domains, the mailboxes and the server's account.
func (a *app) configCheck() error {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	if m, err := certs.OpenAny(cfg.Certs()); err != nil && cfg.TLS.Cert != "" {
		a.note("tls.cert, tls.key: %v; the server would show a certificate of its own CA", err)
	} else if err != nil {
		a.note("%v", err)
	} else {
		for _, warning := range m.Warnings(time.Now()) {
			a.note("%s", warning)
		}
	}
	for _, warning := range slices.Concat(cfg.Warnings, a.settingWarnings(cfg)) {
		a.note("%s", warning)
	}
	fmt.Fprintf(a.stdout, "%s: no mistakes\n", a.config)
	return nil
}

// checkDNS prints what DNS says about the server. A warning is no error: many offices want no mail
// from the internet.
func (a *app) checkDNS(ctx context.Context) error {
	const most = time.Minute // for all lookups
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	cfg, err := a.load()
	if err != nil {
		return err
	}
	interfaces, err := netinfo.Interfaces()
	if err != nil {
		return err
	}
	domains, err := call(ctx, a, admin.DomainList, struct{}{})
	if err != nil {
		return err
	}
	server := dnscheck.Server{Hostname: cfg.Hostname, Addresses: netinfo.Addresses(interfaces),
		SmartHost: len(cfg.Routes.Default.SmartHost) > 0 && !cfg.Routes.Default.DirectFirst}
	for _, d := range domains {
		server.Domains = append(server.Domains, d.Domain)
	}
	for _, f := range dnscheck.Run(ctx, dns.NewClient(admin.DNSOptions(cfg).Servers), server) {
		mark := "ok  "
		if f.Do != "" {
			mark = "warn"
		}
		fmt.Fprintf(a.stdout, "%s  %s: %s\n", mark, f.About, f.Found)
		if f.Do != "" {
			fmt.Fprintf(a.stdout, "      %s\n", f.Do)
		}
	}
	return nil
}

func (a *app) settingWarnings(cfg *config.Config) []string {
	office, err := admin.Open(cfg, nil)
	if err != nil {
		return []string{fmt.Sprintf("domains and mailboxes were not compared with the settings: %v", err)}
	}
	defer office.Close()
	return slices.Concat(office.SettingWarnings(), office.LogInWarnings())
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
