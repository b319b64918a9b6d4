package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/dnscheck"
)

func (a *app) dnsCommand() *cobra.Command {
	var q admin.DNSQuestion
	var asJSON bool
	cmd := command("dns [DOMAIN] [--check] [--json]", "List the DNS records to publish for a domain, or for all",
		takes(0, 1), func(cmd *cobra.Command, args []string) error {
			q.Domain = first(args)
			return respond(a, asJSON, (*app).printRecords)(call(cmd.Context(), a, admin.DNSRecords, q))
		})
	cmd.Long = `List the DNS records to publish for a domain that is hosted here, or for all domains.

The output has the form of a zone file: each record is a line, and its comments say what
it is for and whether it is optional. With --check they also say what DNS has now: right,
missing, different, or that DNS cannot be asked.`
	cmd.Flags().BoolVar(&q.Check, "check", false, "also look up what DNS has now")
	addJSON(cmd, &asJSON)
	return cmd
}

// printRecords prints a zone file with comments.
func (a *app) printRecords(all []admin.DomainRecords) {
	if len(all) == 0 {
		a.note("there are no domains")
	}
	for i, d := range all {
		if i > 0 {
			fmt.Fprintln(a.stdout)
		}
		fmt.Fprintf(a.stdout, "; Records to publish for %s\n", d.Domain)
		for _, r := range d.Records {
			a.printRecord(r)
		}
	}
}

func (a *app) printRecord(r dnscheck.Checked) {
	need := "needed"
	if r.Optional {
		need = "optional"
	}
	fmt.Fprintf(a.stdout, "\n; %s, %s. %s\n", r.Record, need, r.For)
	if r.State != "" {
		fmt.Fprintf(a.stdout, "; In DNS now: %s (%s)\n", r.State, a.typed(r.Found))
	}
	fmt.Fprintln(a.stdout, r.Zone)
}
