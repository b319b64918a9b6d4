package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
)

func (a *app) policyCommand() *cobra.Command {
	cmd := family("policy", "Show, change and compare the rules for clients, senders and recipients",
		a.policyListCommand(),
		answers(a, "try KEY [VALUE]...", "Replay recent decisions with another value, and change nothing", takes(1, -1),
			admin.PolicyTry, policyValue, (*app).printPolicyPreview),
		does(a, "set KEY [VALUE]...", "Set a key and put it in force; without a value, a list is empty", takes(1, -1),
			admin.PolicySet, policyValue),
		doesOne(a, "reset KEY", "Let the configuration file say the value of a key again", admin.PolicyReset),
		does(a, "undo", "Undo the last change; done twice, it changes nothing", takes(0, 0), admin.PolicyUndo, nothing),
		a.policyDiffCommand(),
	)
	cmd.Long = `Show, change and compare the rules for clients, senders and recipients.

What set, reset and undo change is in the file policy.toml of the data directory. It
wins over the configuration file, which stays as it is. A change with a mistake, or
one that would make the server an open relay, is refused.`
	cmd.Example = "  pillarbox admin policy list\n" +
		"  pillarbox admin policy try connections.deny 203.0.113.0/24 .spam.example\n" +
		"  pillarbox admin policy set connections.deny 203.0.113.0/24 .spam.example\n" +
		"  pillarbox admin policy undo"
	return cmd
}

func policyValue(args []string) admin.PolicyValue {
	return admin.PolicyValue{Key: args[0], Values: args[1:]}
}

func (a *app) policyListCommand() *cobra.Command {
	var q admin.PolicyQuestion
	var asJSON bool
	cmd := command("list [--all] [--json]", "List the rules in force, and where each is set", takes(0, 0),
		func(cmd *cobra.Command, _ []string) error {
			print := table("keys", "KEY\tVALUE\tSET BY", policyRow)
			return respond(a, asJSON, print)(call(cmd.Context(), a, admin.PolicyList, q))
		})
	cmd.Flags().BoolVar(&q.All, "all", false, "also the keys that only the configuration file can set")
	addJSON(cmd, &asJSON)
	return cmd
}

func policyRow(k config.KeyInfo) string { return k.Key + "\t" + k.Value + "\t" + k.Source }

func (a *app) printPolicyPreview(p admin.PolicyPreview) {
	a.align([]string{"Now:\t" + p.Before, "Then:\t" + p.After})
	for _, w := range p.Warnings {
		a.note("%s", w)
	}
	for _, c := range p.Changes {
		a.printPolicyChange(c)
	}
	fmt.Fprintf(a.stdout, "%d of the last %d decisions would change\n", p.Count, p.Looked)
}

func (a *app) policyDiffCommand() *cobra.Command {
	var asJSON bool
	diff := &cobra.Command{
		Use:   "diff NEW.toml",
		Short: "Replay recent decisions with another configuration and list those that would change",
		Args:  takes(1, 1),
		RunE:  func(cmd *cobra.Command, args []string) error { return a.policyDiff(cmd.Context(), args[0], asJSON) },
	}
	addJSON(diff, &asJSON)
	return diff
}

func (a *app) policyDiff(ctx context.Context, file string, asJSON bool) error {
	found, err := callOnFiles(ctx, a, admin.PolicyDiff, file, a.tell)
	switch {
	case err != nil:
		return err
	case asJSON:
		return a.writeJSON(found.Changes)
	case len(found.Changes) == 0:
		fmt.Fprintf(a.stdout, "none of the last %d decisions would change\n", found.Looked)
		return nil
	}
	for _, c := range found.Changes {
		a.printPolicyChange(c)
	}
	fmt.Fprintf(a.stdout, "%d of the last %d decisions would change\n", len(found.Changes), found.Looked)
	return nil
}

func (a *app) printPolicyChange(c admin.PolicyChange) {
	fmt.Fprintf(a.stdout, "%s  %s, <%s> to <%s>\n", c.Time.Local().Format("2006-01-02 15:04:05"), clientText(c.Facts), c.Facts.From, c.Facts.To)
	fmt.Fprintf(a.stdout, "  now:   %s\n  then:  %s\n", c.Old, c.New)
	if n := len(c.Why.Steps); n > 0 {
		fmt.Fprintf(a.stdout, "         %s\n", strings.TrimSpace(c.Why.Steps[n-1].String()))
	}
}
