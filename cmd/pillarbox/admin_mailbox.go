package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/ops"
)

func (a *app) mailboxCommand() *cobra.Command {
	return family("mailbox", "The mailboxes",
		a.mailboxAddCommand(),
		a.mailboxRemoveCommand(),
		shows(a, "list [DOMAIN]", "List the mailboxes, of one domain or of all", takes(0, 1),
			inDomain((*ops.Office).ListMailboxes),
			table("mailboxes", "MAILBOX\tPASSWORD\tLOCKED\tQUOTA\tFORWARD", mailboxRow)),
		shows(a, "show USER@DOMAIN", "Show all about a mailbox", takes(1, 1), ofOne((*ops.Office).ShowMailbox), (*app).printMailbox),
		a.passwdCommand(),
		a.changesOne("lock USER@DOMAIN", "Lock a mailbox: mail arrives, nobody can log in", (*ops.Office).LockMailbox),
		a.changesOne("unlock USER@DOMAIN", "Undo lock", (*ops.Office).UnlockMailbox),
		a.changes("rename USER@DOMAIN NAME", "Give a mailbox another name; aliases and groups follow", takes(2, 2),
			func(o *ops.Office, args []string) (ops.Change, error) { return o.RenameMailbox(args[0], args[1]) }),
		shows(a, "stat USER@DOMAIN", "Count the mail in a mailbox", takes(1, 1), ofOne((*ops.Office).StatMailbox), (*app).printStat),
		a.forwardCommand(),
		a.changes("quota USER@DOMAIN SIZE | none | default", "Limit what a mailbox holds", takes(2, 2),
			func(o *ops.Office, args []string) (ops.Change, error) { return o.SetQuota(args[0], args[1]) }),
		a.setsRight("outside USER@DOMAIN", "Say whether a mailbox may send to other servers", (*ops.Office).SetMailboxOutside),
		a.setsRight("inbound USER@DOMAIN", "Say whether a mailbox takes mail from outside", (*ops.Office).SetMailboxInbound),
		a.changesOne("release USER@DOMAIN", "Let a mailbox send to other servers again that was held for too much mail", (*ops.Office).ReleaseMailbox),
		a.exportCommand(),
		a.importCommand(),
	)
}

// setsRight is a verb that sets a right of what it names.
func (a *app) setsRight(use, short string, set func(o *ops.Office, name, right string) (ops.Change, error)) *cobra.Command {
	return a.changes(use+" allow | deny | default", short, takes(2, 2),
		func(o *ops.Office, args []string) (ops.Change, error) { return set(o, args[0], args[1]) })
}

func mailboxRow(m ops.MailboxSummary) string {
	if m.Damaged {
		return m.Mailbox.String() + "\tdamaged, see 'mailbox show'"
	}
	locked := yesNo(m.Locked)
	if m.Held {
		locked += ", held"
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s", m.Mailbox, yesNo(m.Password), locked, quotaText(m.Quota), forwardText(m.Forward, m.KeepCopy))
}

func (a *app) printMailbox(m ops.MailboxDetails) {
	locked, limit, created := yesNo(m.Locked), quotaText(m.Quota), "-"
	if m.LockedByDomain {
		locked = "yes, with the domain"
	}
	if m.DefaultQuota {
		limit += " (the default)"
	}
	if m.Created != nil {
		created = m.Created.Local().Format(time.DateTime)
	}
	var domains []string
	for _, d := range m.CatchAllOf {
		domains = append(domains, string(d))
	}
	a.align([]string{
		"Mailbox:\t" + m.Mailbox.String(),
		"Created:\t" + created,
		"Password:\t" + yesNo(m.Password),
		"Locked:\t" + locked,
		"Messages:\t" + fmt.Sprint(m.Messages),
		"Size:\t" + about(m.Bytes),
		"Quota:\t" + limit,
		"Forward:\t" + forwardText(m.Forward, m.KeepCopy),
		"Forwarded from:\t" + addressList(m.ForwardedFrom),
		"Aliases:\t" + addressList(m.Aliases),
		"Groups:\t" + addressList(m.Groups),
		"Catch-all of:\t" + wordList(domains),
		"May send as:\t" + addressList(m.SendAs),
		"Sent as by:\t" + addressList(m.SentAsBy),
		"May send outside:\t" + outsideText(m),
		"Gets from outside:\t" + entitlementText(m.Inbound),
	})
}

func outsideText(m ops.MailboxDetails) string {
	if m.Held {
		return "held, since it has sent too much; 'pillarbox admin mailbox release' lets it go on"
	}
	return entitlementText(m.Outside)
}

func entitlementText(e ops.Entitlement) string {
	if e.Own == ops.RightDefault {
		return yesNo(e.May) + " (by its groups or the default)"
	}
	return yesNo(e.May)
}

func (a *app) printStat(m ops.MailboxStat) {
	a.align([]string{
		"Mailbox:\t" + m.Mailbox.String(),
		"Messages:\t" + fmt.Sprint(m.Messages),
		"Size:\t" + fmt.Sprintf("%s (%d bytes)", about(m.Bytes), m.Bytes),
		"Quota:\t" + quotaText(m.Quota),
		"Forward:\t" + forwardText(m.Forward, m.KeepCopy),
	})
}

func (a *app) mailboxAddCommand() *cobra.Command {
	var way passwordWay
	var limit string
	cmd := a.passwordVerb("add USER@DOMAIN [--password-stdin | --generate | --no-password] [--quota SIZE]", "Make a mailbox", &way,
		(*ops.Office).CheckNewMailbox,
		func(o *ops.Office, user, password string) (ops.Change, error) {
			return o.AddMailbox(user, ops.NewMailbox{Password: password, Quota: limit})
		})
	cmd.Flags().BoolVar(&way.none, "no-password", false, "mail arrives, and nobody can log in until 'passwd'")
	cmd.Flags().StringVar(&limit, "quota", "", "the most that it holds: a `size` such as 500MB, or none")
	return cmd
}

func (a *app) passwdCommand() *cobra.Command {
	return a.passwordVerb("passwd USER@DOMAIN [--password-stdin | --generate]", "Change the password of a mailbox", new(passwordWay),
		(*ops.Office).CheckMailbox, (*ops.Office).SetPassword)
}

// passwordVerb is a verb that gives a mailbox a password. What check finds wrong
// is said before anybody has to type one.
func (a *app) passwordVerb(use, short string, way *passwordWay, check func(o *ops.Office, user string) error,
	do func(o *ops.Office, user, password string) (ops.Change, error)) *cobra.Command {
	cmd := a.verb(use, short, takes(1, 1), func(cmd *cobra.Command, o *ops.Office, args []string) error {
		if err := way.check(cmd); err != nil {
			return err
		}
		if err := check(o, args[0]); err != nil {
			return err
		}
		return a.withPassword(*way, args[0], func(password string) (ops.Change, error) { return do(o, args[0], password) })
	})
	way.addFlags(cmd)
	return cmd
}

func (a *app) mailboxRemoveCommand() *cobra.Command {
	var yes bool
	cmd := a.verb("remove USER@DOMAIN [--yes]", "Delete a mailbox with all its mail", takes(1, 1),
		func(_ *cobra.Command, o *ops.Office, args []string) error {
			if err := a.confirmMailbox(o, args[0], yes); err != nil {
				return err
			}
			return a.report(o.RemoveMailbox(args[0]))
		})
	addYes(cmd, &yes)
	return cmd
}

// forwardCommand sets with targets and clears with --off.
func (a *app) forwardCommand() *cobra.Command {
	var off, keepCopy bool
	cmd := a.verb("forward USER@DOMAIN TARGET... [--keep-copy] | --off USER@DOMAIN", "Send what comes for a mailbox to other addresses", takes(1, -1),
		func(cmd *cobra.Command, o *ops.Office, args []string) error {
			if err := targetsOrOff(cmd, args[1:], off); err != nil {
				return err
			}
			if off {
				return a.report(o.ClearForward(args[0]))
			}
			return a.report(o.SetForward(args[0], args[1:], keepCopy))
		})
	cmd.Flags().BoolVar(&off, "off", false, "stop forwarding")
	cmd.Flags().BoolVar(&keepCopy, "keep-copy", false, "keep a copy in the mailbox")
	return cmd
}
