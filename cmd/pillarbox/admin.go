package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore/addr"
	"pillarbox/quota"
)

func (a *app) adminCommand() *cobra.Command {
	return strict(family("admin", "Administer domains, mailboxes, aliases, groups and the running server",
		a.backupCommand(), a.restoreCommand(), a.domainCommand(), a.mailboxCommand(), a.quotaCommand(), a.retentionCommand(), a.undeleteCommand(), a.aliasCommand(), a.groupCommand(), a.sendAsCommand(), a.deviceCommand(), a.directoryCommand(),
		a.explainCommand(), a.refusalsCommand(), a.policyCommand(), a.bansCommand(), a.queueCommand(), a.badmailCommand(), a.routeCommand(), a.dkimCommand(), a.fetchCommand(), a.checkCommand(), a.reloadCommand(), a.tlsCommand(),
		a.operatorCommand(), a.auditCommand(), a.traceCommand(), a.statusCommand(), a.sessionsCommand(),
		a.logCommand(), a.topCommand(), a.statsCommand(), a.clientSetupCommand(), a.dnsCommand(),
	))
}

// family is a command that only has others under it.
func family(name, short string, members ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: name, Short: short}
	for _, member := range members {
		if member.Name() == "remove" {
			member.Aliases = []string{"delete", "del", "rm"} // what people type who know other programs
		}
	}
	cmd.AddCommand(members...)
	return cmd
}

// strict makes every family below cmd, and cmd itself, refuse what is none of
// its members: cobra would print a help text and call that a success.
func strict(cmd *cobra.Command) *cobra.Command {
	if cmd.HasSubCommands() && !cmd.Runnable() {
		cmd.SuggestionsMinimumDistance = 2
		cmd.DisableFlagsInUseLine = true
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = refuseStranger
	}
	for _, sub := range cmd.Commands() {
		strict(sub)
	}
	return cmd
}

func refuseStranger(cmd *cobra.Command, args []string) error {
	var names []string
	for _, sub := range cmd.Commands() {
		names = append(names, sub.Name())
	}
	known := "the commands are " + strings.Join(names, ", ")
	if len(args) == 0 {
		return admin.Hint(usageError{fmt.Errorf("%sa command is missing", callPrefix(cmd))}, "%s", known)
	}
	if meant := cmd.SuggestionsFor(args[0]); len(meant) > 0 {
		known = "did you mean " + strings.Join(meant, " or ") + "?"
	}
	return admin.Hint(usageError{fmt.Errorf("%sunknown command %q", callPrefix(cmd), args[0])}, "%s", known)
}

// takes wants at least low arguments and at most high; a negative high is no
// limit.
func takes(low, high int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < low:
			return misuse(cmd, "an argument is missing")
		case high >= 0 && len(args) > high:
			return misuse(cmd, fmt.Sprintf("%q is one argument too many", args[high]))
		}
		return nil
	}
}

// callName is what a person calls a command, without the program's own name.
func callName(cmd *cobra.Command) string {
	return strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
}

// callPrefix is callName before an error; the program itself is named already.
func callPrefix(cmd *cobra.Command) string {
	if !cmd.HasParent() {
		return ""
	}
	return callName(cmd) + ": "
}

// misuse is an error in how a command was called.
func misuse(cmd *cobra.Command, what string) error {
	return admin.Hint(usageError{fmt.Errorf("%s: %s", callName(cmd), what)}, "usage: %s", cmd.UseLine())
}

// report says what was done.
func (a *app) report(c admin.Change, err error) error {
	if err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, c.Text)
	for _, w := range c.Warnings {
		a.note("%s", w)
	}
	return nil
}

// note tells a person what is no result and no error.
func (a *app) note(format string, args ...any) {
	fmt.Fprintf(a.stderr, "note: %s\n", a.typed(fmt.Sprintf(format, args...)))
}

// respond writes JSON or prints, unless the look-up failed.
func respond[T any](a *app, asJSON bool, print func(*app, T)) func(T, error) error {
	if !asJSON {
		return answer(a, print)
	}
	return func(v T, err error) error {
		if err != nil {
			return err
		}
		return a.writeJSON(v)
	}
}

// answer prints what there is to print unless the look-up failed.
func answer[T any](a *app, print func(*app, T)) func(T, error) error {
	return func(v T, err error) error {
		if err == nil {
			print(a, v)
		}
		return err
	}
}

// table prints a list, the cells of a row parted by tabs. An empty one is a
// note, so that a script that counts lines counts none.
func table[T any](what, header string, row func(T) string) func(*app, []T) {
	return func(a *app, all []T) {
		if len(all) == 0 {
			a.note("there are no %s", what)
			return
		}
		lines := []string{header}
		for _, one := range all {
			lines = append(lines, row(one))
		}
		a.align(lines)
	}
}

// align prints lines with their tabs as columns.
func (a *app) align(lines []string) { fmt.Fprint(a.stdout, columns(lines)) }

// columns returns lines with their tabs as columns.
func columns(lines []string) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, line := range lines {
		fmt.Fprintln(w, line)
	}
	w.Flush()
	return text.String()
}

// How values are written in tables.

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func addressList(all []addr.Address) string {
	var texts []string
	for _, one := range all {
		texts = append(texts, one.String())
	}
	return wordList(texts)
}

func wordList(words []string) string {
	if len(words) == 0 {
		return "-"
	}
	return strings.Join(words, ", ")
}

func quotaText(octets int64) string {
	if octets == 0 {
		return "none"
	}
	return quota.FormatSize(octets)
}

// about writes a size for reading: "117.7 MiB".
func about(octets int64) string { return quota.Approximate(octets, 0) }

func forwardText(targets []addr.Address, keepCopy bool) string {
	text := addressList(targets)
	if keepCopy {
		text += " (a copy stays)"
	}
	return text
}
