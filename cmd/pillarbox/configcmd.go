package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/dnscheck"
	"pillarbox/cmd/internal/netinfo"
	"pillarbox/mailstore/addr"
	"pillarbox/smtp/dns"
	"pillarbox/smtp/remote"
	"pillarbox/tls/certs"
)

func (a *app) configCommand() *cobra.Command {
	var changed, asJSON bool
	show := &cobra.Command{
		Use:   "show",
		Short: "Show every setting with its effective value and the origin of the value",
		Args:  takes(0, 0),
		RunE:  func(*cobra.Command, []string) error { return a.configShow(changed, asJSON) },
	}
	show.Flags().BoolVar(&changed, "changed", false, "only settings that differ from the defaults")
	addJSON(show, &asJSON)
	return family("config", "Check or show the configuration", a.configCheckCommand(), show)
}

func (a *app) configCheckCommand() *cobra.Command {
	var withDNS, asJSON bool
	check := &cobra.Command{
		Use:   "check",
		Short: "Report every mistake in the configuration, with its line",
		Args:  takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON {
				return a.configCheckJSON(cmd.Context(), withDNS)
			}
			if err := a.configCheck(); err != nil || !withDNS {
				return err
			}
			found, err := a.checkDNS(cmd.Context())
			a.printDNS(found)
			return err
		},
	}
	check.Flags().BoolVar(&withDNS, "dns", false,
		"also look up the server's name, its address, and the records of the domains")
	addJSON(check, &asJSON)
	return check
}

// configReport is the JSON of 'config check'.
type configReport struct {
	File     string             `json:"file"`
	Mistakes []configMistake    `json:"mistakes"`
	Warnings []string           `json:"warnings"`
	DNS      []dnscheck.Finding `json:"dns"` // empty without --dns
}

// configMistake is a mistake that keeps the server from starting.
type configMistake struct {
	File string `json:"file"`
	Line int    `json:"line"` // 0 if the mistake has no line
	Key  string `json:"key"`
	What string `json:"what"`
	Hint string `json:"hint"`
}

// configCheckJSON writes a report. Like configCheck it returns the mistakes as an error.
func (a *app) configCheckJSON(ctx context.Context, withDNS bool) error {
	report := configReport{File: a.config}
	cfg, err := a.load()
	mistakes, listed := errors.AsType[config.Errors](err)
	for _, m := range mistakes {
		report.Mistakes = append(report.Mistakes, configMistake{m.File, m.Line, m.Key, m.What, m.Hint})
	}
	switch {
	case err != nil && !listed:
		return err
	case err == nil:
		report.Warnings = a.configWarnings(cfg)
	}
	if err == nil && withDNS {
		report.DNS, err = a.checkDNS(ctx)
	}
	return errors.Join(a.writeJSON(report), err)
}

// configCheck checks the configuration, the certificate, and how the settings fit
// the domains, the mailboxes and the server's account.
func (a *app) configCheck() error {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	for _, warning := range a.configWarnings(cfg) {
		a.note("%s", warning)
	}
	fmt.Fprintf(a.stdout, "%s: no mistakes\n", a.config)
	return nil
}

func (a *app) configWarnings(cfg *config.Config) (all []string) {
	const readEnter = 4 | 1
	if note := dataNote(cfg, syscall.Access(cfg.Data, readEnter)); note != "" {
		return slices.Concat([]string{note}, cfg.Warnings, listenWarnings(cfg))
	}
	m, err := certs.OpenAny(cfg.Certs())
	if errors.Is(err, fs.ErrPermission) {
		all = append(all, fmt.Sprintf("the certificate was not checked: %v; 'sudo pillarbox config check' checks it", err))
	} else if err != nil && cfg.TLS.Cert != "" {
		all = append(all, fmt.Sprintf(
			"tls.cert, tls.key: %v; the server would show a certificate of its own CA", err))
	} else if err != nil {
		all = append(all, err.Error())
	} else {
		all = append(all, m.Warnings(time.Now())...)
	}
	return slices.Concat(all, cfg.Warnings, listenWarnings(cfg), a.settingWarnings(cfg))
}

// dataNote says why a check cannot look into the data directory: err is the result of trying to open
// it. "" means that the check can.
func dataNote(cfg *config.Config, err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("%s: data: the directory %s does not exist; correct the path, or make it with "+
			"'pillarbox setup DOMAIN'", cfg.Origin("data"), cfg.Data)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("this user may not open the data directory %s, so the certificate, the domains and "+
			"the mailboxes were not checked; 'sudo pillarbox config check' checks them", cfg.Data)
	}
	return ""
}

// listenWarnings returns warnings about listen addresses that this machine does not have.
func listenWarnings(cfg *config.Config) (all []string) {
	l := &cfg.Listen
	for key, addresses := range map[string][]string{
		"smtp": l.SMTP, "submission": l.Submission, "smtps": l.SMTPS, "pop3": l.POP3, "pop3s": l.POP3S, "odmr": l.ODMR,
	} {
		for _, address := range addresses {
			if err := netinfo.CheckListen(address); err != nil {
				all = append(all, fmt.Sprintf("%s: listen.%s: %v; the server cannot start with %q",
					cfg.Origin("listen."+key), key, err, address))
			}
		}
	}
	slices.Sort(all)
	return all
}

// checkDNS asks DNS about the server.
func (a *app) checkDNS(ctx context.Context) ([]dnscheck.Finding, error) {
	const most = time.Minute // for all lookups
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	cfg, err := a.load()
	if err != nil {
		return nil, err
	}
	interfaces, err := netinfo.Interfaces()
	if err != nil {
		return nil, err
	}
	domains, err := call(ctx, a, admin.DomainList, struct{}{})
	if err != nil {
		return nil, err
	}
	keys, err := call(ctx, a, admin.DKIMShow, "")
	if err != nil {
		return nil, err
	}
	var hosted []addr.Domain
	for _, d := range domains {
		hosted = append(hosted, d.Domain)
	}
	server := admin.DNSServer(cfg, netinfo.Addresses(interfaces), hosted, keys)
	resolver := dns.NewClient(admin.DNSOptions(cfg).Servers)
	server.Policy = stsPolicy(resolver)
	return append(dnscheck.Run(ctx, resolver, server), dnscheck.Trust(ctx, resolver, server)...), nil
}

// stsPolicy returns what fetches the MTA-STS policy of a domain.
func stsPolicy(resolver *net.Resolver) func(context.Context, addr.Domain) (dnscheck.Policy, error) {
	return func(ctx context.Context, domain addr.Domain) (dnscheck.Policy, error) {
		mode, names, err := remote.FetchPolicy(ctx, nil, resolver, domain)
		return dnscheck.Policy{Mode: mode, Names: names}, err
	}
}

// printDNS prints what DNS says about the server. A warning is no error: many offices want no mail
// from the internet.
func (a *app) printDNS(all []dnscheck.Finding) {
	for _, f := range all {
		mark := "ok  "
		if f.Do != "" {
			mark = "warn"
		}
		fmt.Fprintf(a.stdout, "%s  %s: %s\n", mark, f.About, f.Found)
		if f.Do != "" {
			fmt.Fprintf(a.stdout, "      %s\n", f.Do)
		}
	}
}

func (a *app) settingWarnings(cfg *config.Config) []string {
	office, err := admin.Open(cfg, nil)
	if err != nil {
		return []string{fmt.Sprintf("domains and mailboxes were not compared with the settings: %v", err)}
	}
	defer office.Close()
	warnings := slices.Concat(office.SettingWarnings(), office.LogInWarnings())
	for _, f := range office.OwnerFindings(context.Background()) {
		warnings = append(warnings, f.Text+"; "+f.Hint)
	}
	return warnings
}

func (a *app) configShow(changed, asJSON bool) error {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	settings := cfg.Effective()
	if changed {
		settings = cfg.Changed()
	}
	if asJSON {
		return a.writeJSON(settings)
	}
	var lines []string
	for _, s := range settings {
		lines = append(lines, fmt.Sprintf("%s\t= %s\t# %s", s.Key, s.Value, s.Source))
	}
	a.align(lines)
	return nil
}
