package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/smtp/dkim"
)

func (a *app) dkimCommand() *cobra.Command {
	cmd := family("dkim", "Manage the DKIM keys of domains",
		a.dkimCreateCommand(), a.dkimShowCommand(), a.dkimRotateCommand(), a.dkimRemoveCommand())
	cmd.Long = `Manage the DKIM keys of domains.

If a domain has a key, the server signs its mail to other servers. These verify the
signature with the public key, which you publish as a DNS record: 'create' and 'show'
print it. 'rotate' creates a new key, which begins to sign after two days, when its
record is known everywhere. It also tells how long the old record must stay.`
	return cmd
}

// dkimFlags choose how a new key is made.
type dkimFlags struct {
	order admin.DKIMOrder
	json  bool
}

const dkimFlagsUse = " [--selector S] [--type rsa|ed25519]"

func (f *dkimFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.order.Selector, "selector", "", "the key's `name` in DNS (default: one with the current month)")
	cmd.Flags().StringVar(&f.order.Type, "type", "", "the `type` of key: rsa (the default), or ed25519, which many servers cannot verify")
	addJSON(cmd, &f.json)
}

// makesKey is a command whose verb makes a key.
func makesKey[Out any](a *app, f *dkimFlags, use, short string, v admin.Verb[admin.DKIMOrder, Out], print func(*app, Out)) *cobra.Command {
	cmd := command(use+" [--json]", short, takes(1, 1), func(cmd *cobra.Command, args []string) error {
		if err := lacksValue(cmd, "selector", "type"); err != nil {
			return err
		}
		f.order.Domain = args[0]
		return respond(a, f.json, print)(call(cmd.Context(), a, v, f.order))
	})
	f.add(cmd)
	return cmd
}

func (a *app) dkimCreateCommand() *cobra.Command {
	return makesKey(a, new(dkimFlags), "create DOMAIN"+dkimFlagsUse, "Create the first key of a domain and print its DNS record",
		admin.DKIMCreate, (*app).printNewDKIM)
}

func (a *app) printNewDKIM(k admin.DKIMKey) {
	fmt.Fprintf(a.stdout, "DKIM key %s of %s made; mail of the domain is signed with it from now on\n", k.Selector, k.Domain)
	a.printDKIMRecord(k)
	fmt.Fprintf(a.stdout, "\nWhat to do now: publish this record in the DNS of %s, today: until it is there, nobody can verify the signatures.\n", k.Domain)
}

// printDKIMRecord prints the record as a line of a zone file, and for the form of a provider.
func (a *app) printDKIMRecord(k admin.DKIMKey) {
	fmt.Fprintf(a.stdout, "\nAs a line of a zone file:\n%s\n\n", k.Record.Zone)
	fmt.Fprintln(a.stdout, "For the form of a provider (some want the name without the domain):")
	a.align([]string{"Name:\t" + k.Record.Name, "Type:\tTXT", "Value:\t" + k.Record.Value})
}

func (a *app) dkimRotateCommand() *cobra.Command {
	var f dkimFlags
	cmd := makesKey(a, &f, "rotate DOMAIN"+dkimFlagsUse+" [--now]", "Create a key that replaces the current one after two days",
		admin.DKIMRotate, (*app).printRotatedDKIM)
	cmd.Flags().BoolVar(&f.order.Now, "now", false, "sign with the new key at once: use this if the old key was stolen")
	return cmd
}

// printRotatedDKIM prints the last of a domain's keys, and what is to be done about it and about the one before.
func (a *app) printRotatedDKIM(all []admin.DKIMKey) {
	k, old := all[len(all)-1], all[len(all)-2]
	fmt.Fprintf(a.stdout, "DKIM key %s of %s made\n", k.Selector, k.Domain)
	a.printDKIMRecord(k)
	fmt.Fprintln(a.stdout, "\nWhat to do now:")
	if k.State == dkim.Waiting {
		fmt.Fprintf(a.stdout, "1. Publish this record in the DNS of %s, today: the key signs from %s on.\n", k.Domain, localTime(k.From))
		fmt.Fprintf(a.stdout, "2. Leave the old record, %s, where it is until %s.\n", old.Record.Name, localTime(old.Keep))
		fmt.Fprintf(a.stdout, "3. Then take it out, and let 'pillarbox admin dkim remove %s %s' delete its key.\n", old.Domain, old.Selector)
		return
	}
	fmt.Fprintf(a.stdout, "1. Publish this record in the DNS of %s, at once: the key signs already.\n", k.Domain)
	fmt.Fprintf(a.stdout, "2. If others have got hold of the old key, take its record out at once too: %s.\n", old.Record.Name)
	fmt.Fprintf(a.stdout, "   Otherwise leave it until %s, for mail that is on its way.\n", localTime(old.Keep))
	fmt.Fprintf(a.stdout, "3. Then let 'pillarbox admin dkim remove %s %s' delete the old key.\n", old.Domain, old.Selector)
}

func (a *app) dkimShowCommand() *cobra.Command {
	var asJSON bool
	cmd := command("show [DOMAIN] [--json]", "Show the DNS records of a domain's keys, or list the keys of all domains", takes(0, 1),
		func(cmd *cobra.Command, args []string) error {
			domain := first(args)
			print := table("DKIM keys", "DOMAIN\tSELECTOR\tTYPE\tSTATE\tSIGNS FROM\tRECORD UNTIL", dkimRow)
			if domain != "" {
				print = func(a *app, all []admin.DKIMKey) { a.printDKIM(domain, all) }
			}
			return respond(a, asJSON, print)(call(cmd.Context(), a, admin.DKIMShow, domain))
		})
	addJSON(cmd, &asJSON)
	return cmd
}

func dkimRow(k admin.DKIMKey) string {
	until := "-"
	if !k.Keep.IsZero() {
		until = localTime(k.Keep)
	}
	state := string(k.State)
	if k.Problem != "" {
		state += ", damaged"
	}
	return strings.Join([]string{string(k.Domain), k.Selector, string(k.Kind), state, localTime(k.From), until}, "\t")
}

func (a *app) printDKIM(domain string, all []admin.DKIMKey) {
	if len(all) == 0 {
		a.note("%s has no DKIM key: its mail is not signed; 'pillarbox admin dkim create %s' makes one", domain, domain)
	}
	for i, k := range all {
		if i > 0 {
			fmt.Fprintln(a.stdout)
		}
		fmt.Fprintf(a.stdout, "DKIM key %s of %s (%s): %s\n", k.Selector, k.Domain, k.Kind, dkimStateText(k))
		switch {
		case k.State == dkim.Over:
		case k.Problem != "":
			fmt.Fprintf(a.stdout, "The key's file cannot be read: %s.\nTake it from a backup, or let 'pillarbox admin dkim rotate %s --now' make another key.\n", k.Problem, k.Domain)
		default:
			a.printDKIMRecord(k)
		}
	}
}

func dkimStateText(k admin.DKIMKey) string {
	switch k.State {
	case dkim.Waiting:
		return "signs from " + localTime(k.From) + " on; its record must be in the DNS by then"
	case dkim.Active:
		return "signs since " + localTime(k.From) + "; its record must be in the DNS"
	case dkim.Retired:
		return "signs no longer; its record must stay until " + localTime(k.Keep)
	}
	return fmt.Sprintf("over; take its record out of the DNS, and 'pillarbox admin dkim remove %s %s'", k.Domain, k.Selector)
}

func (a *app) dkimRemoveCommand() *cobra.Command {
	var yes bool
	cmd := command("remove DOMAIN SELECTOR [--yes]", "Remove a key", takes(2, 2), func(cmd *cobra.Command, args []string) error {
		return a.confirmed(yes, func(sure bool) error {
			in := admin.DKIMToRemove{Domain: args[0], Selector: args[1], Sure: sure}
			return a.report(call(cmd.Context(), a, admin.DKIMRemove, in))
		})
	})
	addYes(cmd, &yes)
	return cmd
}
