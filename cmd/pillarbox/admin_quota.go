package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/quota"
	"pillarbox/quota/quotamail"
)

func (a *app) quotaCommand() *cobra.Command {
	cmd := family("quota", "Manage the limits of mailboxes and domains",
		a.quotaSetCommand(),
		answers(a, "show USER@DOMAIN | DOMAIN", "Show the use and the limits of a mailbox or a domain", takes(1, 1),
			admin.QuotaShow, first, (*app).printQuota),
		a.quotaListCommand(),
		a.quotaRecalculateCommand(),
		a.quotaTemplateCommand(),
	)
	cmd.Long = `Manage the limits of mailboxes and domains.

A limit is a size (100MB is 100,000,000 bytes, 1GiB is 1,073,741,824) or a number
of messages. The limits of a domain are for all its mailboxes together. A warning is
a percentage of its limit, such as 90%, or a size or number of its own.

The defaults are in [mailboxes] of the configuration.`
	return cmd
}

// quotaSetCommand changes limits. The defaults are only in the configuration.
func (a *app) quotaSetCommand() *cobra.Command {
	var c admin.QuotaChange
	var defaults, asJSON bool
	cmd := &cobra.Command{
		Use:   "set USER@DOMAIN | DOMAIN | --default [--size SIZE] [--messages NUMBER] [--warn LEVEL] [--warn-messages LEVEL] [--json]",
		Short: "Set limits: each is a value, none, or default", Args: takes(0, 1), DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkQuotaSet(cmd, args, defaults); err != nil {
				return err
			}
			if defaults {
				return a.quotaDefaults(c)
			}
			change, err := call(cmd.Context(), a, admin.QuotaSet, admin.QuotasToSet{Target: args[0], QuotaChange: c})
			if err == nil && asJSON {
				return a.writeJSON(change)
			}
			return a.report(change, err)
		},
	}
	cmd.Flags().StringVar(&c.Size, "size", "", "the size limit: a `size` such as 500MB or 1GiB")
	cmd.Flags().StringVar(&c.Messages, "messages", "", "the maximum number of `messages`, such as 5000")
	cmd.Flags().StringVar(&c.Warn, "warn", "", "warn at this percentage of the limit, such as 90%, or at this `size`")
	cmd.Flags().StringVar(&c.WarnMessages, "warn-messages", "", "warn at this percentage of the limit, or at this `number` of messages")
	cmd.Flags().BoolVar(&defaults, "default", false, "show how to set the defaults")
	addJSON(cmd, &asJSON)
	return cmd
}

func checkQuotaSet(cmd *cobra.Command, args []string, defaults bool) error {
	switch {
	case defaults && len(args) > 0:
		return misuse(cmd, "--default and a name cannot both be given")
	case !defaults && len(args) == 0:
		return misuse(cmd, "the mailbox or the domain is missing")
	}
	return lacksValue(cmd, "size", "messages", "warn", "warn-messages")
}

// quotaDefaults changes nothing, like winpop set: the settings are in one
// commented file.
func (a *app) quotaDefaults(c admin.QuotaChange) error {
	if _, err := a.load(); err != nil {
		return err
	}
	lines, err := admin.QuotaDefaults(c)
	if err != nil {
		return err
	}
	return admin.Hint(fmt.Errorf("the defaults are only in the file %s", a.config),
		"write %s into its section [mailboxes], then 'pillarbox admin reload'", strings.Join(lines, " and "))
}

func (a *app) quotaListCommand() *cobra.Command {
	return overCommand(a, "list [DOMAIN] [--over 80%]", "List the use and the limits of the mailboxes of a domain, or of all", admin.QuotaList,
		table("mailboxes like that", "NAME\t"+quotaColumns, quotaRow))
}

// overCommand is a command for a verb that lists the limits of mailboxes.
func overCommand[T any](a *app, use, short string, v admin.Verb[admin.QuotaQuestion, []T], print func(*app, []T)) *cobra.Command {
	var over string
	var asJSON bool
	cmd := command(use+" [--json]", short, takes(0, 1), func(cmd *cobra.Command, args []string) (err error) {
		q := admin.QuotaQuestion{Domain: first(args)}
		if over != "" {
			if q.Percent, err = admin.Percent(over); err != nil {
				return usageError{err}
			}
		}
		return respond(a, asJSON, print)(call(cmd.Context(), a, v, q))
	})
	cmd.Flags().StringVar(&over, "over", "", "only those whose use is at least this `percentage`, such as 80%")
	addJSON(cmd, &asJSON)
	return cmd
}

const quotaColumns = "SIZE\tSIZE LIMIT\tMESSAGES\tMESSAGE LIMIT\tUSED\tSTATE"

func quotaRow(s admin.QuotaStatus) string {
	used, limit, most := "-", "-", "-"
	if s.Limits.Bytes > 0 || s.Limits.Messages > 0 {
		used = strconv.Itoa(s.Percent) + " %"
	}
	if s.Limits.Bytes > 0 {
		limit = quota.FormatSize(s.Limits.Bytes)
	}
	if s.Limits.Messages > 0 {
		most = strconv.FormatInt(s.Limits.Messages, 10)
	}
	return fmt.Sprintf("%s\t%s\t%s\t%d\t%s\t%s\t%s", s.Target, quota.Approximate(s.Bytes, s.Limits.Bytes), limit, s.Messages, most, used, s.State)
}

func (a *app) printQuota(s admin.QuotaStatus) {
	kind := "Mailbox"
	if s.Domain {
		kind = "Domain"
	}
	lines := append([]string{kind + ":\t" + s.Target}, quotaLines(s)...)
	if in := s.Within; in != nil {
		lines = append(lines, "", "Domain:\t"+in.Target)
		lines = append(lines, quotaLines(*in)...)
	}
	a.align(lines)
}

func quotaLines(s admin.QuotaStatus) []string {
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	value := func(n int64, own string, format func(int64) string) string {
		text := "none"
		if n > 0 {
			text = format(n)
		}
		switch {
		case own == "default":
			text += " (the default)"
		case strings.HasSuffix(own, "%"):
			text += " (" + own + ")"
		}
		return text
	}
	return []string{
		"Size:\t" + fmt.Sprintf("%s (%d bytes)", quota.Approximate(s.Bytes, s.Limits.Bytes), s.Bytes),
		"Messages:\t" + number(s.Messages),
		"Limit:\t" + value(s.Limits.Bytes, s.Own.Size, quota.FormatSize),
		"Warning:\t" + value(s.Limits.WarnBytes, s.Own.Warn, quota.FormatSize),
		"Limit of messages:\t" + value(s.Limits.Messages, s.Own.Messages, number),
		"Warning of messages:\t" + value(s.Limits.WarnMessages, s.Own.WarnMessages, number),
		"Used:\t" + fmt.Sprintf("%d %%", s.Percent),
		"State:\t" + string(s.State),
	}
}

// quotaRecalculateCommand counts, and makes the running server count too.
func (a *app) quotaRecalculateCommand() *cobra.Command {
	return overCommand(a, "recalculate [DOMAIN] [--over 80%]", "Count the mail again, in the running server too, and show its old counts",
		admin.QuotaRecalculate, (*app).printQuotaCounts)
}

func (a *app) printQuotaCounts(all []admin.QuotaCount) {
	row := func(c admin.QuotaCount) string {
		wrong := "-"
		switch b := c.Believed; {
		case b != nil && *b == c.Usage:
			wrong = "right"
		case b != nil:
			wrong = quota.Approximate(b.Bytes, c.Limits.Bytes) + " in " + quota.FormatMessages(b.Messages)
		}
		return quotaRow(c.QuotaStatus) + "\t" + wrong
	}
	table("mailboxes like that", "NAME\t"+quotaColumns+"\tBELIEVED", row)(a, all)
}

func (a *app) quotaTemplateCommand() *cobra.Command {
	var asJSON bool
	cmd := command("template [NAME] [--json]", "Print a built-in notice, or the names of all notices",
		takes(0, 1), func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return respond(a, asJSON, (*app).printLines)(quotamail.Names(), nil)
			}
			text, err := quotaTemplate(args[0])
			return respond(a, asJSON, func(a *app, t noticeText) { fmt.Fprint(a.stdout, t.Text) })(text, err)
		})
	addJSON(cmd, &asJSON)
	return cmd
}

func (a *app) printLines(lines []string) {
	for _, line := range lines {
		fmt.Fprintln(a.stdout, line)
	}
}

// noticeText is the JSON of 'quota template NAME'.
type noticeText struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

func quotaTemplate(name string) (noticeText, error) {
	text := quotamail.Standard(name)
	if text == "" {
		return noticeText{}, admin.Hint(fmt.Errorf("there is no notice %q", name),
			"the names are %s", strings.Join(quotamail.Names(), ", "))
	}
	return noticeText{name, text}, nil
}
