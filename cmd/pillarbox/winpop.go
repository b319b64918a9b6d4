package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/control"
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
  winpop createquotafile User@Domain [/user:UserName] [/size:500MB]
                                       gives it the default quota, or this one
  winpop migrateToAD User@Domain       from now on the directory checks its password
  winpop get Property
  winpop set Property Value            writes its key into the configuration

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
			order, err := parseWinpop(args)
			if err != nil {
				return admin.Hint(usageError{fmt.Errorf("winpop: %w", err)}, "'pillarbox winpop help' shows the syntax")
			}
			if order.verb == "help" {
				fmt.Fprintln(a.stdout, winpopHelp)
				return nil
			}
			a.actor.From = "winpop" + strings.TrimPrefix(a.actor.From, control.CommandLine)
			return a.winpop(cmd.Context(), order)
		},
	}
}

// winpop executes one call.
func (a *app) winpop(ctx context.Context, order winpopCall) error {
	switch order.verb {
	case "get":
		return a.winpopGet(order.target)
	case "set":
		return a.winpopSet(ctx, order.target, order.values)
	case "list":
		return a.winpopList(ctx, order.target)
	case "stat":
		return a.winpopStat(ctx, order.target)
	case "createquotafile":
		return a.winpopQuotaFile(ctx, order)
	}
	if err := a.report(a.winpopChange(ctx, order)); err != nil {
		return err
	}
	if order.password != "" {
		a.note("the password was on the command line, where every user of this machine could read it; "+
			"'pillarbox admin mailbox passwd %s' asks for it instead", order.target)
	} else if order.verb == "add" && order.isMailbox() {
		if box, err := call(ctx, a, admin.MailboxShow, order.target); err == nil && box.Method == directory.ByFile {
			a.note("the mailbox has no password, so a login is impossible; 'pillarbox admin mailbox passwd %s' sets one", order.target)
		}
	}
	return nil
}

// winpopChange executes a call that changes a mailbox or a domain.
func (a *app) winpopChange(ctx context.Context, order winpopCall) (admin.Change, error) {
	name := order.target
	if order.isMailbox() {
		switch order.verb {
		case "add":
			return call(ctx, a, admin.MailboxAdd, admin.MailboxToAdd{User: name, NewMailbox: admin.NewMailbox{Password: order.password}})
		case "delete":
			return call(ctx, a, admin.MailboxRemove, admin.MailboxToRemove{User: name, Sure: true})
		case "lock":
			return call(ctx, a, admin.MailboxLock, name)
		case "unlock":
			return call(ctx, a, admin.MailboxUnlock, name)
		case "migratetoad":
			return call(ctx, a, admin.MailboxMigrateAuth, admin.MailboxToMigrate{User: name, Migration: admin.Migration{Method: string(directory.ByDirectory)}})
		case "changepwd":
			return call(ctx, a, admin.MailboxPasswd, admin.PasswordToSet{User: name, Password: order.password})
		}
	}
	switch order.verb {
	case "add":
		return call(ctx, a, admin.DomainAdd, name)
	case "delete":
		return call(ctx, a, admin.DomainRemove, admin.DomainToRemove{Name: name, WithMailboxes: true, Sure: true})
	case "lock":
		return call(ctx, a, admin.DomainLock, name)
	case "unlock":
		return call(ctx, a, admin.DomainUnlock, name)
	}
	return admin.Change{}, fmt.Errorf("winpop %s: not known here", order.verb)
}

func (a *app) winpopList(ctx context.Context, domain string) error {
	if domain == "" {
		row := func(d admin.DomainSummary) string {
			return fmt.Sprintf("%s\t%d\t%s", d.Domain, d.Mailboxes, yesNo(d.Locked))
		}
		return answer(a, table("domains", "DOMAIN\tMAILBOXES\tLOCKED", row))(call(ctx, a, admin.DomainList, struct{}{}))
	}
	row := func(m admin.MailboxSummary) string { return fmt.Sprintf("%s\t%s", m.Mailbox, yesNo(m.Locked)) }
	return answer(a, table("mailboxes", "MAILBOX\tLOCKED", row))(call(ctx, a, admin.MailboxList, domain))
}

func (a *app) winpopStat(ctx context.Context, domain string) error {
	if domain == "" {
		row := func(d admin.DomainStat) string {
			return fmt.Sprintf("%s\t%d\t%d\t%d", d.Domain, d.Mailboxes, d.Messages, d.Bytes)
		}
		return answer(a, table("domains", "DOMAIN\tMAILBOXES\tMESSAGES\tBYTES", row))(call(ctx, a, admin.DomainTotals, struct{}{}))
	}
	row := func(m admin.MailboxStat) string { return fmt.Sprintf("%s\t%d\t%d", m.Mailbox, m.Messages, m.Bytes) }
	return answer(a, table("mailboxes", "MAILBOX\tMESSAGES\tBYTES", row))(call(ctx, a, admin.MailboxTotals, domain))
}

// winpopQuotaFile sets the quota of a mailbox: the size on the command line, or the default, which
// then stays even if the default changes. On Windows, the quota file connected a mailbox to a user's
// disk quota. A mailbox with a quota of its own keeps it.
func (a *app) winpopQuotaFile(ctx context.Context, order winpopCall) error {
	box, err := call(ctx, a, admin.MailboxShow, order.target)
	if err != nil {
		return err
	}
	size := order.size
	switch {
	case size == "" && !box.DefaultQuota:
		a.note("the mailbox has a quota of its own already; /size:SIZE sets another")
	case size == "" && box.Quota == 0:
		return admin.Hint(fmt.Errorf("winpop createquotafile: mailbox %s: no size was given, and there is no default quota", box.Mailbox),
			"'pillarbox winpop createquotafile %s /size:500MB', or set mailboxes.default_quota", box.Mailbox)
	case size == "":
		size = quota.FormatSize(box.Quota)
	}
	if size != "" {
		if err := a.report(call(ctx, a, admin.MailboxQuota, admin.Setting{Name: order.target, Value: size})); err != nil {
			return err
		}
	}
	if order.user != "" {
		a.note("/user:%s has no effect: the quota of a mailbox does not depend on a user of this machine", order.user)
	}
	s, err := call(ctx, a, admin.QuotaShow, order.target)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "it %s, and holds %s in %s\n", s.Sentence(), quota.Approximate(s.Bytes, s.Limits.Bytes), quota.FormatMessages(s.Messages))
	if in := s.Within; in != nil {
		fmt.Fprintf(a.stdout, "all mailboxes of %s together %s\n", in.Target, in.Sentence())
	}
	return nil
}
