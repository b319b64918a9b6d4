package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore/directory"
)

func (a *app) mailboxCommand() *cobra.Command {
	return family("mailbox", "Manage the mailboxes",
		a.mailboxAddCommand(),
		a.addManyCommand(),
		a.mailboxRemoveCommand(),
		answers(a, "list [DOMAIN]", "List the mailboxes of one domain or of all", takes(0, 1), admin.MailboxList, first,
			table("mailboxes", "MAILBOX\tPASSWORD\tLOCKED\tQUOTA\tSIZE\tMESSAGES\tLAST LOGIN\tFORWARD", mailboxRow)),
		answers(a, "show USER@DOMAIN", "Show a mailbox", takes(1, 1), admin.MailboxShow, first, (*app).printMailbox),
		a.passwdCommand(),
		does(a, "secrets USER@DOMAIN spa|cram-md5|apop|scram... | none", "Set the secrets that are stored beside the password's hash, such as for SPA", takes(2, 5),
			admin.MailboxSecrets, members),
		a.migrateAuthCommand(),
		doesOne(a, "lock USER@DOMAIN", "Lock a mailbox: its user cannot log in; mail still arrives", admin.MailboxLock),
		doesOne(a, "unlock USER@DOMAIN", "Unlock a mailbox", admin.MailboxUnlock),
		a.nameCommand(),
		does(a, "access USER@DOMAIN pop3 | smtp | both | none", "Set the services that a mailbox may log in to; mail still arrives", takes(2, 2),
			admin.MailboxAccess, setting),
		does(a, "rename USER@DOMAIN NAME", "Rename a mailbox; aliases and groups follow", takes(2, 2), admin.MailboxRename, setting),
		answers(a, "stat USER@DOMAIN", "Count the mail in a mailbox", takes(1, 1), admin.MailboxStatistics, first, (*app).printStat),
		a.forwardCommand(),
		does(a, "quota USER@DOMAIN SIZE | none | default", "Set the size limit of a mailbox", takes(2, 2), admin.MailboxQuota, setting),
		a.setsRight("outside USER@DOMAIN", "Allow or deny a mailbox to send to other servers", admin.MailboxOutside),
		a.setsRight("inbound USER@DOMAIN", "Allow or deny a mailbox to get mail from other servers", admin.MailboxInbound),
		doesOne(a, "release USER@DOMAIN", "Release a mailbox that was held because it sent too much to other servers", admin.MailboxRelease),
		answers(a, "logins USER@DOMAIN", "Show the latest logins to a mailbox, and those that failed", takes(1, 1), admin.MailboxLogins, first,
			table("logins in the last month", "TIME\tSERVICE\tFROM\tRESULT\tMECHANISM", loginRow)),
		a.appPasswordCommand(),
		a.secondFactorCommand(),
		answers(a, "reset-link USER@DOMAIN", "Make a link by which a user who forgot the password sets a new one, once, within a day", takes(1, 1),
			admin.MailboxResetLink, first, (*app).printResetLink),
		a.rulesCommand(),
		a.absenceCommand(),
		a.archiveCommand("USER@DOMAIN", "Copy all mail of a mailbox, in and out, to another one", admin.MailboxArchive),
		a.exportCommand(),
		a.importCommand(),
	)
}

// setsRight is a command for a verb that sets a right of what it names.
func (a *app) setsRight(use, short string, v admin.Verb[admin.Setting, admin.Change]) *cobra.Command {
	return does(a, use+" allow | deny | default", short, takes(2, 2), v, setting)
}

func mailboxRow(m admin.MailboxSummary) string {
	if m.Damaged {
		return m.Mailbox.String() + "\tdamaged, see 'mailbox show'"
	}
	locked := yesNo(m.Locked)
	if m.Held {
		locked += ", held"
	}
	if m.Access != "both" {
		locked += ", access " + m.Access
	}
	password := yesNo(m.Password)
	if m.Method != directory.ByFile {
		password = string(m.Method)
	}
	size, messages := about(m.Bytes), strconv.Itoa(m.Messages)
	if m.Uncounted {
		size, messages = "unknown", "unknown"
	}
	return strings.Join([]string{
		m.Mailbox.String(), password, locked, quotaText(m.Quota), size, messages,
		lastLoginText(m), forwardText(m.Forward, m.KeepCopy),
	}, "\t")
}

func lastLoginText(m admin.MailboxSummary) string {
	if m.LastLogin == nil {
		return "-"
	}
	return m.LastLogin.Local().Format(time.DateTime) + " " + string(m.LastLoginService)
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
		"Name:\t" + cmp.Or(m.Name, "-"),
		"Created:\t" + created,
		"Password:\t" + passwordText(m),
		"Locked:\t" + locked,
		"Access:\t" + accessWords(m.Access),
		"Last login:\t" + lastLoginText(m.MailboxSummary),
		"Messages:\t" + fmt.Sprint(m.Messages),
		"Size:\t" + about(m.Bytes),
		"Quota:\t" + limit,
		"Forward:\t" + forwardText(m.Forward, m.KeepCopy),
		"Rules:\t" + fmt.Sprint(m.RuleCount),
		"Absence:\t" + string(m.Absence),
		"Archive:\t" + orDash(m.Archive),
		"Forwarded from:\t" + addressList(m.ForwardedFrom),
		"Aliases:\t" + addressList(m.Aliases),
		"Groups:\t" + addressList(m.Groups),
		"Catch-all of:\t" + wordList(domains),
		"May send as:\t" + addressList(m.SendAs),
		"Sent as by:\t" + addressList(m.SentAsBy),
		"May send outside:\t" + outsideText(m),
		"Gets from outside:\t" + entitlementText(m.Inbound),
	}, append(loginMeans(m), logInRows(m.LogIns)...)...))
}

// accessWords says which services the user of a mailbox may log in to.
func accessWords(access string) string {
	switch access {
	case "both":
		return "POP3 and SMTP"
	case "pop3":
		return "POP3 only: it cannot send"
	case "smtp":
		return "SMTP only: it cannot be read"
	}
	return "neither POP3 nor SMTP"
}

// logInRows returns a row of the mechanisms that a mailbox can use to log in, and a row for each
// reason why others cannot be used.
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
	var in admin.MailboxToAdd
	var secrets secretFlags
	cmd := a.passwordCommand("add USER@DOMAIN [--password-stdin | --generate | --no-password] [--quota SIZE] [--spa] [--apop] [--cram-md5]", "Make a mailbox", &way,
		func(ctx context.Context, user, password string, try bool) (admin.Change, error) {
			in.User, in.Password, in.Store, in.Try = user, password, secrets.kinds(), try
			return call(ctx, a, admin.MailboxAdd, in)
		})
	secrets.addFlags(cmd)
	cmd.Flags().BoolVar(&way.none, "no-password", false, "set no password: mail arrives, but a login is impossible until 'passwd'")
	cmd.Flags().StringVar(&in.Quota, "quota", "", "its limit: a `size` such as 500MB, or none")
	return cmd
}

func (a *app) passwdCommand() *cobra.Command {
	var secrets secretFlags
	cmd := a.passwordCommand("passwd USER@DOMAIN [--password-stdin | --generate] [--spa] [--apop] [--cram-md5]", "Change the password of a mailbox", new(passwordWay),
		func(ctx context.Context, user, password string, try bool) (admin.Change, error) {
			return call(ctx, a, admin.MailboxPasswd, admin.PasswordToSet{User: user, Password: password, Store: secrets.kinds(), Try: try})
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
	in := admin.MailboxToMigrate{Try: true}
	cmd := command("migrate-auth USER@DOMAIN file | system | directory[:NAME]", "Change the method that checks the password of a mailbox; the mail stays", takes(2, 2),
		func(cmd *cobra.Command, args []string) error {
			if err := way.check(cmd); err != nil {
				return err
			}
			in.User, in.Method = args[0], args[1]
			tried, err := call(cmd.Context(), a, admin.MailboxMigrateAuth, in)
			if err != nil {
				return err
			}
			way.rules = tried.Text
			way.try = func(password string) error {
				trial := in
				trial.Password = password
				_, err := call(cmd.Context(), a, admin.MailboxMigrateAuth, trial)
				return err
			}
			if in.Method != string(directory.ByFile) {
				in.Try = false
				return a.report(call(cmd.Context(), a, admin.MailboxMigrateAuth, in))
			}
			return a.withPassword(way, in.User, func(password string) (admin.Change, error) {
				in.Password, in.Try = password, false
				return call(cmd.Context(), a, admin.MailboxMigrateAuth, in)
			})
		})
	way.addFlags(cmd)
	cmd.Flags().BoolVar(&way.none, "no-password", false, "for file: keep the old password, or none")
	cmd.Flags().BoolVar(&in.Force, "force", false, "migrate even if the method does not know the user")
	return cmd
}

// passwordCommand is a command that gives a mailbox a password. It tries the verb without one
// first, so that a mistake is known before a person has to type a password.
func (a *app) passwordCommand(use, short string, way *passwordWay,
	do func(ctx context.Context, user, password string, try bool) (admin.Change, error)) *cobra.Command {
	cmd := command(use, short, takes(1, 1), func(cmd *cobra.Command, args []string) error {
		if err := way.check(cmd); err != nil {
			return err
		}
		tried, err := do(cmd.Context(), args[0], "", true)
		if err != nil {
			return err
		}
		way.rules = tried.Text
		way.try = func(password string) error {
			_, err := do(cmd.Context(), args[0], password, true)
			return err
		}
		return a.withPassword(*way, args[0], func(password string) (admin.Change, error) {
			return do(cmd.Context(), args[0], password, false)
		})
	})
	way.addFlags(cmd)
	return cmd
}

func (a *app) mailboxRemoveCommand() *cobra.Command {
	var yes bool
	cmd := command("remove USER@DOMAIN [--yes]", "Remove a mailbox with all its mail", takes(1, 1),
		func(cmd *cobra.Command, args []string) error {
			return a.confirmed(yes, func(sure bool) error {
				return a.report(call(cmd.Context(), a, admin.MailboxRemove, admin.MailboxToRemove{User: args[0], Sure: sure}))
			})
		})
	addYes(cmd, &yes)
	return cmd
}

// nameCommand sets with a name and clears with --off.
func (a *app) nameCommand() *cobra.Command {
	var off bool
	cmd := command("name USER@DOMAIN NAME | --off USER@DOMAIN", "Set the full name of a mailbox's user, such as 'John Doe'", takes(1, 2),
		func(cmd *cobra.Command, args []string) error {
			if err := targetsOrOff(cmd, args[1:], off); err != nil {
				return err
			}
			return a.report(call(cmd.Context(), a, admin.MailboxName, setting(args)))
		})
	cmd.Flags().BoolVar(&off, "off", false, "remove the name")
	return cmd
}

// forwardCommand sets with targets and clears with --off.
func (a *app) forwardCommand() *cobra.Command {
	var off bool
	var in admin.Forwarding
	cmd := command("forward USER@DOMAIN TARGET... [--keep-copy] | --off USER@DOMAIN", "Forward the mail of a mailbox to other addresses", takes(1, -1),
		func(cmd *cobra.Command, args []string) error {
			if err := targetsOrOff(cmd, args[1:], off); err != nil {
				return err
			}
			in.User, in.Targets = args[0], args[1:]
			return a.report(call(cmd.Context(), a, admin.MailboxForward, in))
		})
	cmd.Flags().BoolVar(&off, "off", false, "stop forwarding")
	cmd.Flags().BoolVar(&in.KeepCopy, "keep-copy", false, "keep a copy in the mailbox")
	return cmd
}
