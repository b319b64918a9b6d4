package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore/directory"
	"pillarbox/quota"
)

const winpopHelp = `The syntax of winpop, for old scripts and for administrators who know it. The
commands do the same as those of 'pillarbox admin'.

  winpop add Domain
  winpop add User@Domain [/createuser Password]
  winpop delete Domain                 with its mailboxes and mail, without a question
  winpop delete User@Domain [/deleteuser]
  winpop list [Domain]
  winpop stat [Domain]
  winpop lock Domain | User@Domain     users cannot log in; mail still arrives
  winpop unlock Domain | User@Domain
  winpop changepwd User@Domain NewPassword
  winpop createquotafile User@Domain [/user:UserName]
  winpop migrateToAD User@Domain       from now on the directory checks its password
  winpop get Property
  winpop set Property Value            names the configuration key to edit

Properties: auth, logging, mailroot, port, sparequired, threadcount, socketmax,
socketmin, socketthreshold, socketbacklog, socket.

Every user of the machine can read a password on the command line:
'pillarbox admin mailbox passwd' asks for it instead.`

func (a *app) winpopCommand() *cobra.Command {
	return &cobra.Command{
		Use:                   "winpop COMMAND [--config FILE]",
		Short:                 "Manage domains and mailboxes in the syntax of winpop (Windows Server 2003)",
		Long:                  winpopHelp,
		DisableFlagsInUseLine: true,
		// Options begin with a slash, and a password may begin with anything.
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, args := takeConfig(args)
			if path != "" {
				a.config = path
			}
			call, err := parseWinpop(args)
			if err != nil {
				return admin.Hint(usageError{fmt.Errorf("winpop: %w", err)}, "'pillarbox winpop help' shows the syntax")
			}
			if call.verb == "help" {
				fmt.Fprintln(a.stdout, winpopHelp)
				return nil
			}
			return a.winpop(call)
		},
	}
}

// winpop executes one call.
func (a *app) winpop(call winpopCall) error {
	switch call.verb {
	case "get":
		return a.winpopGet(call.target)
	case "set":
		return a.winpopSet(call.target, call.value)
	}
	a.actor.Act = "winpop " + call.verb
	return a.withOffice(func(o *admin.Service) error { return a.winpopOffice(o, call) })
}

// winpopOffice executes a call that concerns domains and mailboxes.
func (a *app) winpopOffice(o *admin.Service, call winpopCall) error {
	switch call.verb {
	case "list":
		return a.winpopList(o, call.target)
	case "stat":
		return a.winpopStat(o, call.target)
	case "createquotafile":
		return a.winpopQuotaFile(o, call)
	}
	change, err := call.change(o)
	if err := a.report(change, err); err != nil {
		return err
	}
	if call.password != "" {
		a.note("the password was on the command line, where every user of this machine could read it; "+
			"'pillarbox admin mailbox passwd %s' asks for it instead", call.target)
	} else if box, err := o.ShowMailbox(call.target); call.verb == "add" && call.isMailbox() && err == nil && box.Method == directory.ByFile {
		a.note("the mailbox has no password, so a login is impossible; 'pillarbox admin mailbox passwd %s' sets one", call.target)
	}
	return nil
}

// change executes a call that changes a mailbox or a domain.
func (c winpopCall) change(o *admin.Service) (admin.Change, error) {
	if c.isMailbox() {
		switch c.verb {
		case "add":
			return o.AddMailbox(c.target, admin.NewMailbox{Password: c.password})
		case "delete":
			return o.RemoveMailbox(c.target)
		case "lock":
			return o.LockMailbox(c.target)
		case "unlock":
			return o.UnlockMailbox(c.target)
		case "migratetoad":
			return o.MigrateAuth(c.target, admin.Migration{Method: string(directory.ByDirectory)})
		case "changepwd":
			return o.SetPassword(c.target, c.password)
		}
	}
	switch c.verb {
	case "add":
		return o.AddDomain(c.target)
	case "delete":
		return o.RemoveDomain(c.target, true)
	case "lock":
		return o.LockDomain(c.target)
	case "unlock":
		return o.UnlockDomain(c.target)
	}
	return admin.Change{}, fmt.Errorf("winpop %s: not known here", c.verb)
}

func (a *app) winpopList(o *admin.Service, domain string) error {
	if domain == "" {
		row := func(d admin.DomainSummary) string {
			return fmt.Sprintf("%s\t%d\t%s", d.Domain, d.Mailboxes, yesNo(d.Locked))
		}
		return answer(a, table("domains", "DOMAIN\tMAILBOXES\tLOCKED", row))(o.ListDomains())
	}
	row := func(m admin.MailboxSummary) string { return fmt.Sprintf("%s\t%s", m.Mailbox, yesNo(m.Locked)) }
	return answer(a, table("mailboxes", "MAILBOX\tLOCKED", row))(o.ListMailboxes(domain))
}

func (a *app) winpopStat(o *admin.Service, domain string) error {
	if domain == "" {
		row := func(d admin.DomainStat) string {
			return fmt.Sprintf("%s\t%d\t%d\t%d", d.Domain, d.Mailboxes, d.Messages, d.Bytes)
		}
		return answer(a, table("domains", "DOMAIN\tMAILBOXES\tMESSAGES\tBYTES", row))(o.StatDomains())
	}
	row := func(m admin.MailboxStat) string { return fmt.Sprintf("%s\t%d\t%d", m.Mailbox, m.Messages, m.Bytes) }
	return answer(a, table("mailboxes", "MAILBOX\tMESSAGES\tBYTES", row))(o.StatMailboxes(domain))
}

// winpopQuotaFile prints the quota of a mailbox and changes nothing. On Windows, the quota file
// connected a mailbox to a user's disk quota. Here a mailbox has limits of its own.
func (a *app) winpopQuotaFile(o *admin.Service, call winpopCall) error {
	s, err := o.ShowQuota(call.target)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "mailbox %s needs no quota file: its quota is kept in the mailbox itself\n", s.Target)
	fmt.Fprintf(a.stdout, "it %s, and holds %s in %s\n", s.Sentence(), quota.Approximate(s.Bytes, s.Limits.Bytes), quota.FormatMessages(s.Messages))
	if in := s.Within; in != nil {
		fmt.Fprintf(a.stdout, "all mailboxes of %s together %s\n", in.Target, in.Sentence())
	}
	if call.user != "" {
		a.note("/user:%s has no effect: the quota of a mailbox does not depend on a user of this machine", call.user)
	}
	a.note("'pillarbox admin quota set %s --size 100MB' sets another", s.Target)
	return nil
}
