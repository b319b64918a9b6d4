package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore/addr"
)

func (a *app) domainCommand() *cobra.Command {
	return family("domain", "Manage the domains of this server",
		doesOne(a, "add DOMAIN", "Add a domain, so that the server accepts mail for it", admin.DomainAdd),
		a.domainRemoveCommand(),
		answers(a, "list", "List the domains", takes(0, 0), admin.DomainList, nothing,
			table("domains", "DOMAIN\tMAILBOXES\tALIASES\tGROUPS\tCATCH-ALL\tLOCKED\tDEFAULT", domainRow)),
		answers(a, "show DOMAIN", "Show a domain", takes(1, 1), admin.DomainShow, first, (*app).printDomain),
		doesOne(a, "lock DOMAIN", "Lock every mailbox of a domain: users cannot log in; mail still arrives", admin.DomainLock),
		doesOne(a, "unlock DOMAIN", "Unlock a domain", admin.DomainUnlock),
		a.catchAllCommand(),
		does(a, "method DOMAIN file | system | directory[:NAME] | default", "Set the method that checks the passwords of a domain", takes(2, 2),
			admin.DomainMethod, setting),
		a.footerCommand(),
		a.archiveCommand("DOMAIN", "Copy all mail of a domain, in and out, to a mailbox", admin.DomainArchive),
	)
}

func domainRow(d admin.DomainSummary) string {
	return fmt.Sprintf("%s\t%d\t%d\t%d\t%s\t%s\t%s",
		d.Domain, d.Mailboxes, d.Aliases, d.Groups, orDash(d.CatchAll), yesNo(d.Locked), yesNo(d.Default))
}

func orDash(target addr.Address) string {
	if target.IsZero() {
		return "-"
	}
	return target.String()
}

func (a *app) printDomain(d admin.DomainDetails) {
	var aliases, groups []string
	for _, one := range d.Aliases {
		aliases = append(aliases, fmt.Sprintf("%s (for %s)", one.Alias, one.Target))
	}
	for _, one := range d.Groups {
		groups = append(groups, fmt.Sprintf("%s (%d members)", one.Group, len(one.Members)))
	}
	a.align([]string{
		"Domain:\t" + string(d.Domain),
		"Default:\t" + yesNo(d.Default),
		"Locked:\t" + yesNo(d.Locked),
		"Passwords:\t" + methodText(d),
		"Catch-all:\t" + orDash(d.CatchAll),
		"Archive:\t" + orDash(d.Archive),
		"Footer:\t" + yesNo(d.Footer.Text != ""),
		"Mailboxes:\t" + addressList(d.Mailboxes),
		"Aliases:\t" + wordList(aliases),
		"Groups:\t" + wordList(groups),
	})
}

func methodText(d admin.DomainDetails) string {
	if d.DefaultMethod {
		return string(d.Method) + " (the default)"
	}
	return string(d.Method)
}

func (a *app) domainRemoveCommand() *cobra.Command {
	var in admin.DomainToRemove
	var yes bool
	cmd := command("remove DOMAIN [--with-mailboxes] [--yes]", "Remove a domain, so that the server accepts no more mail for it", takes(1, 1),
		func(cmd *cobra.Command, args []string) error {
			in.Name = args[0]
			return a.confirmed(yes, func(sure bool) error {
				in.Sure = sure
				return a.report(call(cmd.Context(), a, admin.DomainRemove, in))
			})
		})
	cmd.Flags().BoolVar(&in.WithMailboxes, "with-mailboxes", false, "remove its mailboxes too, with all their mail")
	addYes(cmd, &yes)
	return cmd
}

// catchAllCommand sets with a target and clears with --off.
func (a *app) catchAllCommand() *cobra.Command {
	var off bool
	cmd := command("catch-all DOMAIN TARGET | --off DOMAIN", "Set the address that gets the mail to unknown addresses", takes(1, 2),
		func(cmd *cobra.Command, args []string) error {
			if err := targetsOrOff(cmd, args[1:], off); err != nil {
				return err
			}
			return a.report(call(cmd.Context(), a, admin.DomainCatchAll, setting(args)))
		})
	cmd.Flags().BoolVar(&off, "off", false, "refuse mail to unknown addresses")
	return cmd
}

func targetsOrOff(cmd *cobra.Command, targets []string, off bool) error {
	switch {
	case off && len(targets) > 0:
		return misuse(cmd, "--off and a target cannot both be given")
	case !off && len(targets) == 0:
		return misuse(cmd, "the target is missing")
	}
	return nil
}
