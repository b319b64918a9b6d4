package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore/directory"
)

func (a *app) mailboxCommand() *cobra.Command {
	return family("mailbox", "Manage the mailboxes",
		a.mailboxAddCommand(),
		a.mailboxRemoveCommand(),
		shows(a, "list [DOMAIN]", "List the mailboxes of one domain or of all", takes(0, 1),
			inDomain((*admin.Service).ListMailboxes),
			table("mailboxes", "MAILBOX\tPASSWORD\tLOCKED\tQUOTA\tFORWARD", mailboxRow)),
		shows(a, "show USER@DOMAIN", "Show a mailbox", takes(1, 1), ofOne((*admin.Service).ShowMailbox), (*app).printMailbox),
		a.passwdCommand(),
		a.changes("secrets USER@DOMAIN spa|cram-md5|apop|scram... | none", "Set the secrets that are stored beside the password's hash, such as for SPA", takes(2, 5),
			func(o *admin.Service, args []string) (admin.Change, error) { return o.SetSecrets(args[0], args[1:]...) }),
		a.migrateAuthCommand(),
		a.changesOne("lock USER@DOMAIN", "Lock a mailbox: its user cannot log in; mail still arrives", (*admin.Service).LockMailbox),
		a.changesOne("unlock USER@DOMAIN", "Unlock a mailbox", (*admin.Service).UnlockMailbox),
		a.changes("rename USER@DOMAIN NAME", "Rename a mailbox; aliases and groups follow", takes(2, 2),
			func(o *admin.Service, args []string) (admin.Change, error) { return o.RenameMailbox(args[0], args[1]) }),
		shows(a, "stat USER@DOMAIN", "Count the mail in a mailbox", takes(1, 1), ofOne((*admin.Service).StatMailbox), (*app).printStat),
		a.forwardCommand(),
		a.changes("quota USER@DOMAIN SIZE | none | default", "Set the size limit of a mailbox", takes(2, 2),
			func(o *admin.Service, args []string) (admin.Change, error) { return o.SetQuota(args[0], args[1]) }),
		a.setsRight("outside USER@DOMAIN", "Allow or deny a mailbox to send to other servers", (*admin.Service).SetMailboxOutside),
		a.setsRight("inbound USER@DOMAIN", "Allow or deny a mailbox to get mail from other servers", (*admin.Service).SetMailboxInbound),
		a.changesOne("release USER@DOMAIN", "Release a mailbox that was held because it sent too much to other servers", (*admin.Service).ReleaseMailbox),
		a.exportCommand(),
		a.importCommand(),
	)
}

// setsRight is a verb that sets a right of what it names.
func (a *app) setsRight(use, short string, set func(o *admin.Service, name, right string) (admin.Change, error)) *cobra.Command {
	return a.changes(use+" allow | deny | default", short, takes(2, 2),
		func(o *admin.Service, args []string) (admin.Change, error) { return set(o, args[0], args[1]) })
}

func mailboxRow(m admin.MailboxSummary) string {
	if m.Damaged {
		return m.Mailbox.String() + "\tdamaged, see 'mailbox show'"
	}
	locked := yesNo(m.Locked)
	if m.Held {
		locked += ", held"
	}
	password := yesNo(m.Password)
	if m.Method != directory.ByFile {
		password = string(m.Method)
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s", m.Mailbox, password, locked, quotaText(m.Quota), forwardText(m.Forward, m.KeepCopy))
}

func (a *app) printMailbox(m admin.MailboxDetails) {
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
	a.align(append([]string{
		"Mailbox:\t" + m.Mailbox.String(),
		"Created:\t" + created,
		"Password:\t" + passwordText(m),
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
	}, logInRows(m.LogIns)...))
}

// logInRows say by what a mailbox can be logged in to, and by what not, those
// with the same reason together.
func logInRows(ways []admin.LogInWay) (rows []string) {
	var can, held, reasons []string
	cannot := make(map[string][]string)
	for _, way := range ways {
		if way.Can {
			name := way.Mechanism
			if way.Only != "" {
				way.Mechanism += " (" + way.Only + ")"
			}
			can = append(can, way.Mechanism)
			if way.Held {
				held = append(held, name)
			}
			continue
		}
		if cannot[way.Why] == nil {
			reasons = append(reasons, way.Why)
		}
		cannot[way.Why] = append(cannot[way.Why], way.Mechanism)
	}
	rows = []string{"Log in by:\t" + wordList(can)}
	if len(held) > 0 {
		rows = append(rows, "Not offered:\t"+wordList(held)+", except in auth.challenge_networks: not every mailbox stores its secret")
	}
	for _, why := range reasons {
		rows = append(rows, "Not by:\t"+wordList(cannot[why])+": "+why)
	}
	return rows
}

func passwordText(m admin.MailboxDetails) string {
	if m.Method != directory.ByFile {
		return "checked by " + string(m.Method)
	}
	text := yesNo(m.Password)
	if m.Password && m.PasswordSet != nil {
		text += ", set " + m.PasswordSet.Local().Format(time.DateOnly)
	}
	if m.Expired {
		text += ", expired"
	}
	return text
}

func outsideText(m admin.MailboxDetails) string {
	if m.Held {
		return "held, since it has sent too much; 'pillarbox admin mailbox release' lets it go on"
	}
	return entitlementText(m.Outside)
}

func entitlementText(e admin.Entitlement) string {
	if e.Own == admin.RightDefault {
		return yesNo(e.May) + " (by its groups or the default)"
	}
	return yesNo(e.May)
}

func (a *app) printStat(m admin.MailboxStat) {
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
	var secrets secretFlags
	cmd := a.passwordVerb("add USER@DOMAIN [--password-stdin | --generate | --no-password] [--quota SIZE] [--spa] [--apop] [--cram-md5]", "Make a mailbox", &way,
		(*admin.Service).CheckNewMailbox,
		func(o *admin.Service, user, password string) (admin.Change, error) {
			return o.AddMailbox(user, admin.NewMailbox{Password: password, Quota: limit, Store: secrets.kinds()})
		})
	secrets.addFlags(cmd)
	cmd.Flags().BoolVar(&way.none, "no-password", false, "set no password: mail arrives, but a login is impossible until 'passwd'")
	cmd.Flags().StringVar(&limit, "quota", "", "its limit: a `size` such as 500MB, or none")
	return cmd
}

func (a *app) passwdCommand() *cobra.Command {
	var secrets secretFlags
	cmd := a.passwordVerb("passwd USER@DOMAIN [--password-stdin | --generate] [--spa] [--apop] [--cram-md5]", "Change the password of a mailbox", new(passwordWay),
		(*admin.Service).CheckMailbox,
		func(o *admin.Service, user, password string) (admin.Change, error) {
			return o.SetPassword(user, password, secrets.kinds()...)
		})
	secrets.addFlags(cmd)
	return cmd
}

// secretFlags are what is to be stored of a password beside its hash.
type secretFlags struct{ spa, apop, cram bool }

func (s *secretFlags) addFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&s.spa, "spa", false, "store the secret for Secure Password Authentication (NTLM)")
	cmd.Flags().BoolVar(&s.apop, "apop", false, "store the password itself (encrypted), for APOP and CRAM-MD5")
	cmd.Flags().BoolVar(&s.cram, "cram-md5", false, "store the secret for CRAM-MD5")
}

func (s *secretFlags) kinds() (all []directory.SecretKind) {
	for kind, wanted := range map[directory.SecretKind]bool{directory.SecretSPA: s.spa, directory.SecretAPOP: s.apop, directory.SecretCRAM: s.cram} {
		if wanted {
			all = append(all, kind)
		}
	}
	slices.Sort(all)
	return all
}

// migrateAuthCommand asks for a password only where the mailbox gets one of its
// own.
func (a *app) migrateAuthCommand() *cobra.Command {
	var way passwordWay
	var force bool
	cmd := a.verb("migrate-auth USER@DOMAIN file | system | directory[:NAME]", "Change the method that checks the password of a mailbox; the mail stays", takes(2, 2),
		func(cmd *cobra.Command, o *admin.Service, args []string) error {
			if err := way.check(cmd); err != nil {
				return err
			}
			if _, err := o.ParseMethod(args[1]); err != nil {
				return err
			}
			if err := o.CheckMailbox(args[0]); err != nil {
				return err
			}
			m := admin.Migration{Method: args[1], Force: force}
			if args[1] != string(directory.ByFile) {
				return a.report(o.MigrateAuth(args[0], m))
			}
			return a.withPassword(way, args[0], func(password string) (admin.Change, error) {
				m.Password = password
				return o.MigrateAuth(args[0], m)
			})
		})
	way.addFlags(cmd)
	cmd.Flags().BoolVar(&way.none, "no-password", false, "for file: keep the old password, or none")
	cmd.Flags().BoolVar(&force, "force", false, "migrate even if the method does not know the user")
	return cmd
}

// passwordVerb is a verb that gives a mailbox a password. What check finds wrong
// is said before anybody has to type one.
func (a *app) passwordVerb(use, short string, way *passwordWay, check func(o *admin.Service, user string) error,
	do func(o *admin.Service, user, password string) (admin.Change, error)) *cobra.Command {
	cmd := a.verb(use, short, takes(1, 1), func(cmd *cobra.Command, o *admin.Service, args []string) error {
		if err := way.check(cmd); err != nil {
			return err
		}
		if err := check(o, args[0]); err != nil {
			return err
		}
		return a.withPassword(*way, args[0], func(password string) (admin.Change, error) { return do(o, args[0], password) })
	})
	way.addFlags(cmd)
	return cmd
}

func (a *app) mailboxRemoveCommand() *cobra.Command {
	var yes bool
	cmd := a.verb("remove USER@DOMAIN [--yes]", "Remove a mailbox with all its mail", takes(1, 1),
		func(_ *cobra.Command, o *admin.Service, args []string) error {
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
	cmd := a.verb("forward USER@DOMAIN TARGET... [--keep-copy] | --off USER@DOMAIN", "Forward the mail of a mailbox to other addresses", takes(1, -1),
		func(cmd *cobra.Command, o *admin.Service, args []string) error {
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
