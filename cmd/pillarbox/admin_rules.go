package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
)

func (a *app) rulesCommand() *cobra.Command {
	cmd := family("rules", "Manage the rules that decide what happens to the mail of a mailbox",
		answers(a, "show USER@DOMAIN", "Show the rules of a mailbox, in their order", takes(1, 1), admin.RulesShow, first, (*app).printRules),
		a.rulesAddCommand(),
		a.rulesRemoveCommand(),
		a.rulesMoveCommand(),
		a.rulesTestCommand(),
	)
	cmd.Long = `Manage the rules that decide what happens to the mail of a mailbox.

The rules are asked in order, at delivery. A rule applies if all its conditions hold;
a rule without conditions applies to every message. keep, forward, discard and refuse
end the list; after mark and reply, the next rule is asked. A message that no rule ends
is kept.`
	return cmd
}

func (a *app) printRules(list admin.RuleList) {
	if len(list.Rules) == 0 {
		a.note("%s has no rules: all its mail is kept", list.Mailbox)
		return
	}
	lines := []string{"RULE\tIF\tTHEN"}
	for _, r := range list.Rules {
		conditions := strings.Join(r.If, " and ")
		if conditions == "" {
			conditions = "every message"
		}
		lines = append(lines, fmt.Sprintf("%d\t%s\t%s", r.Number, conditions, r.Then))
	}
	a.align(lines)
}

// conditionFlags are the flags for conditions, in the order of the help text.
func conditionFlags() []struct{ flag, what, usage string } {
	return []struct{ flag, what, usage string }{
		{"from", "from", "if the sender is this `address`, @domain, or has this text"},
		{"to", "to", "if a recipient is this `address`, @domain, or has this text"},
		{"subject", "subject", "if the subject has this `text`"},
		{"header", "header", "if there is this `field`, such as List-Id, or 'List-Id: text' if it has this text"},
		{"over", "over", "if the message is larger than this `size`, such as 10MB"},
		{"under", "under", "if the message is smaller than this `size`"},
	}
}

func (a *app) rulesAddCommand() *cobra.Command {
	var in admin.RuleToAdd
	conditions := make(map[string]*[]string)
	cmd := command("add USER@DOMAIN keep | forward | discard | refuse | mark | reply [--from ADDRESS] [--to ADDRESS] [--subject TEXT] [--header FIELD] [--over SIZE] [--under SIZE] [--not-...] [--target ADDRESS] [--keep-copy] [--text TEXT] [--title TEXT] [--at NUMBER]",
		"Add a rule: what to do, and the conditions, which must all hold", takes(2, 2),
		func(cmd *cobra.Command, args []string) error {
			in.User, in.Do, in.If = args[0], args[1], nil
			for _, c := range conditionFlags() {
				for _, not := range []bool{false, true} {
					for _, value := range *conditions[negated(c.flag, not)] {
						in.If = append(in.If, conditionOf(c.what, value, not))
					}
				}
			}
			text, err := a.textArgument(in.Text)
			if err != nil {
				return err
			}
			in.Text = text
			return a.report(call(cmd.Context(), a, admin.RulesAdd, in))
		})
	for _, c := range conditionFlags() {
		for _, not := range []bool{false, true} {
			name, usage := negated(c.flag, not), c.usage
			if not {
				usage = "the contrary of --" + c.flag + " `VALUE`"
			}
			conditions[name] = cmd.Flags().StringArray(name, nil, usage)
		}
	}
	cmd.Flags().StringArrayVar(&in.To, "target", nil, "forward: to this `address`; may be given more than once")
	cmd.Flags().BoolVar(&in.KeepCopy, "keep-copy", false, "forward: keep a copy in the mailbox")
	cmd.Flags().StringVar(&in.Text, "text", "", "refuse: the `text` for the sender; reply: the answer, or - for standard input; mark: the label, in a field X-Pillarbox-Label")
	cmd.Flags().StringVar(&in.Subject, "title", "", "reply: the subject; mark: a `text` before the subject")
	cmd.Flags().IntVar(&in.At, "at", 0, "the `number` of the rule; without it, the last")
	return cmd
}

func negated(flag string, not bool) string {
	if not {
		return "not-" + flag
	}
	return flag
}

// conditionOf makes a condition of the value of a flag.
func conditionOf(what, value string, not bool) admin.ConditionText {
	c := admin.ConditionText{What: what, Value: value, Not: not}
	if what == "header" {
		name, text, _ := strings.Cut(value, ":")
		c.Name, c.Value = strings.TrimSpace(name), strings.TrimSpace(text)
	}
	return c
}

// textArgument returns a text, or standard input for "-".
func (a *app) textArgument(text string) (string, error) {
	const most = 64 << 10
	if text != "-" {
		return text, nil
	}
	input, err := io.ReadAll(io.LimitReader(a.stdin, most))
	return string(input), err
}

func (a *app) rulesRemoveCommand() *cobra.Command {
	return command("remove USER@DOMAIN NUMBER", "Remove a rule; the numbers of later rules change", takes(2, 2),
		func(cmd *cobra.Command, args []string) error {
			in := admin.RuleToRemove{User: args[0]}
			if err := number(cmd, args[1], &in.Number); err != nil {
				return err
			}
			return a.report(call(cmd.Context(), a, admin.RulesRemove, in))
		})
}

func (a *app) rulesMoveCommand() *cobra.Command {
	return command("move USER@DOMAIN NUMBER NUMBER", "Move a rule from one number to another", takes(3, 3),
		func(cmd *cobra.Command, args []string) error {
			in := admin.RuleToMove{User: args[0]}
			if err := number(cmd, args[1], &in.Number); err != nil {
				return err
			}
			if err := number(cmd, args[2], &in.To); err != nil {
				return err
			}
			return a.report(call(cmd.Context(), a, admin.RulesMove, in))
		})
}

func number(cmd *cobra.Command, text string, n *int) error {
	if _, err := fmt.Sscanf(text, "%d", n); err != nil || fmt.Sprint(*n) != text {
		return misuse(cmd, fmt.Sprintf("%q is not the number of a rule", text))
	}
	return nil
}

func (a *app) rulesTestCommand() *cobra.Command {
	var in admin.RuleTrial
	var asJSON bool
	cmd := command("test USER@DOMAIN [--from ADDRESS] [--to ADDRESS] [--subject TEXT] [--header FIELD] [--size SIZE] [--json]",
		"Say what would happen to a message, rule by rule", takes(1, 1),
		func(cmd *cobra.Command, args []string) error {
			in.User = args[0]
			return respond(a, asJSON, (*app).printRuleAnswer)(call(cmd.Context(), a, admin.RulesTest, in))
		})
	cmd.Flags().StringVar(&in.From, "from", "", "the `address` of the sender; without it, the message has none")
	cmd.Flags().StringVar(&in.To, "to", "", "the `address` of the recipient; without it, the mailbox")
	cmd.Flags().StringVar(&in.Subject, "subject", "", "the subject")
	cmd.Flags().StringArrayVar(&in.Headers, "header", nil, "a further `field`, such as 'List-Id: <x>'")
	cmd.Flags().StringVar(&in.Size, "size", "", "the `size`, such as 10MB")
	addJSON(cmd, &asJSON)
	return cmd
}

func (a *app) printRuleAnswer(r admin.RuleAnswer) {
	for _, step := range r.Steps {
		fmt.Fprintln(a.stdout, step)
	}
	fmt.Fprintf(a.stdout, "%s\n%s\n", r.Outcome, r.Absence)
}

func (a *app) absenceCommand() *cobra.Command {
	return family("absence", "Manage the absence notices of a mailbox",
		answers(a, "show USER@DOMAIN", "Show the absence of a mailbox's user", takes(1, 1), admin.AbsenceShow, first, (*app).printAbsence),
		a.absenceSetCommand(),
		doesOne(a, "off USER@DOMAIN", "Send no absence notices; the text stays", admin.AbsenceOff),
	)
}

func (a *app) absenceSetCommand() *cobra.Command {
	var in admin.AbsenceToSet
	cmd := command("set USER@DOMAIN --text TEXT | - [--from DAY] [--to DAY] [--subject TEXT] [--days NUMBER]",
		"Answer senders that the user is absent", takes(1, 1),
		func(cmd *cobra.Command, args []string) error {
			text, err := a.textArgument(in.Text)
			if err != nil {
				return err
			}
			in.User, in.Text = args[0], text
			return a.report(call(cmd.Context(), a, admin.AbsenceSet, in))
		})
	cmd.Flags().StringVar(&in.From, "from", "", "the first `day`, such as 2026-12-24; without it, from now on")
	cmd.Flags().StringVar(&in.To, "to", "", "the last `day`; without it, until 'off'")
	cmd.Flags().StringVar(&in.Subject, "subject", "", "the subject; without it, 'Auto:' and the subject of the message")
	cmd.Flags().StringVar(&in.Text, "text", "", "the `text`, or - for standard input")
	cmd.Flags().IntVar(&in.Days, "days", 0, "a sender gets one notice in this `number` of days; without it, 7")
	return cmd
}

func (a *app) printAbsence(s admin.AbsenceStatus) {
	if s.Text == "" {
		a.note("%s has no absence", s.Mailbox)
		return
	}
	subject := s.Subject
	if subject == "" {
		subject = "Auto: and the subject of the message"
	}
	a.align([]string{
		"Mailbox:\t" + s.Mailbox.String(),
		"State:\t" + string(s.State),
		"From:\t" + orText(string(s.From), "no first day"),
		"To:\t" + orText(string(s.To), "no last day"),
		"One notice in:\t" + fmt.Sprintf("%d days", s.Days),
		"Subject:\t" + subject,
	})
	fmt.Fprintf(a.stdout, "\n%s\n", strings.TrimRight(s.Text, "\r\n"))
}

func orText(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// archiveCommand sets with a target and clears with --off.
func (a *app) archiveCommand(use, short string, v admin.Verb[admin.Setting, admin.Change]) *cobra.Command {
	var off bool
	cmd := command("archive "+use+" MAILBOX | --off "+use, short, takes(1, 2),
		func(cmd *cobra.Command, args []string) error {
			if err := targetsOrOff(cmd, args[1:], off); err != nil {
				return err
			}
			return a.report(call(cmd.Context(), a, v, setting(args)))
		})
	cmd.Flags().BoolVar(&off, "off", false, "make no more copies")
	return cmd
}

func (a *app) footerCommand() *cobra.Command {
	var in admin.FooterToSet
	var off bool
	cmd := command("footer DOMAIN --text TEXT | - [--html TEXT] | --off DOMAIN",
		"Set the text under the mail that a domain's users send to other servers", takes(1, 1),
		func(cmd *cobra.Command, args []string) error {
			if off == (in.Text != "") {
				return misuse(cmd, "give either --text or --off")
			}
			text, err := a.textArgument(in.Text)
			if err != nil {
				return err
			}
			in.Domain, in.Text = args[0], text
			return a.report(call(cmd.Context(), a, admin.DomainFooter, in))
		})
	cmd.Flags().StringVar(&in.Text, "text", "", "the `text`, or - for standard input")
	cmd.Flags().StringVar(&in.HTML, "html", "", "the `text` for messages in HTML; without it, made from --text")
	cmd.Flags().BoolVar(&off, "off", false, "add no more footer")
	return cmd
}
