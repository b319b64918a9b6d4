package main

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
)

// completionTimeout limits the time that a shell waits for names after the Tab key.
const completionTimeout = 2 * time.Second

// names lists what an argument may be. After an error the shell completes nothing.
type names func(ctx context.Context, a *app) ([]string, error)

// nameSources are the lists for the words of usage lines. A word after the name of a command stands for that
// command and those below it.
func nameSources() map[string]names {
	boxes := namesOf(admin.MailboxList, "", func(m admin.MailboxSummary) string { return m.Mailbox.String() })
	domains := namesOf(admin.DomainList, struct{}{}, func(d admin.DomainSummary) string { return string(d.Domain) })
	return map[string]names{
		"USER@DOMAIN": boxes, "USER": boxes, "MAILBOX": boxes,
		"DOMAIN": domains, "--domain": domains,
		"ALIAS":         namesOf(admin.AliasList, "", func(x admin.Alias) string { return x.Alias.String() }),
		"GROUP":         namesOf(admin.GroupList, "", func(g admin.Group) string { return g.Group.String() }),
		"device NAME":   namesOf(admin.DeviceList, struct{}{}, func(d admin.Device) string { return d.Name }),
		"operator NAME": namesOf(admin.OperatorList, struct{}{}, func(g admin.Grant) string { return g.Name }),
		"queue ID":      queueIDs,
		"quarantine ID": namesOf(admin.QuarantineList, struct{}{}, func(s admin.Spooled) string { return s.ID }),
		"badmail ID":    namesOf(admin.BadmailList, "", func(m admin.BadMessage) string { return m.ID }),
	}
}

// namesOf lists the names in the answer of a verb.
func namesOf[In, Out any](v admin.Verb[In, []Out], in In, name func(Out) string) names {
	return func(ctx context.Context, a *app) (all []string, err error) {
		out, err := call(ctx, a, v, in)
		for _, one := range out {
			all = append(all, name(one))
		}
		return all, err
	}
}

func queueIDs(ctx context.Context, a *app) (ids []string, err error) {
	found, err := call(ctx, a, admin.QueueList, admin.QueueQuestion{})
	for _, m := range found.Listing.Messages {
		ids = append(ids, m.ID)
	}
	return ids, err
}

// completeNames lets the shell complete the arguments and flags of cmd, and of the commands below it, whose usage
// line has a word of sources.
func (a *app) completeNames(cmd *cobra.Command, sources map[string]names) {
	words := strings.Fields(cmd.Use)[1:]
	if !cmd.HasSubCommands() && len(words) > 0 && cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			list := sourceOf(cmd, argument(words, len(args)), sources)
			return a.completions(cmd.Context(), list, typed), cobra.ShellCompDirectiveNoFileComp
		}
	}
	if list := sources["--domain"]; cmd.Flags().Lookup("domain") != nil {
		// The only error is a second registration.
		_ = cmd.RegisterFlagCompletionFunc("domain", func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
			return a.completions(cmd.Context(), list, typed), cobra.ShellCompDirectiveNoFileComp
		})
	}
	for _, sub := range cmd.Commands() {
		a.completeNames(sub, sources)
	}
}

// argument returns the word of a usage line for the argument with this index. The last word of a list such as
// "ID..." stands for all further arguments.
func argument(words []string, index int) string {
	for _, word := range words {
		if strings.HasPrefix(word, "[-") || strings.HasPrefix(word, "-") || word == "|" {
			break
		}
		name, list := strings.CutSuffix(strings.Trim(word, "[]"), "...")
		if index == 0 || list {
			return name
		}
		index--
	}
	return ""
}

// sourceOf returns the list for a word of the usage line of cmd: that of the nearest command above, else the
// general one. nil means that there is none.
func sourceOf(cmd *cobra.Command, word string, sources map[string]names) names {
	for c := cmd; c != nil; c = c.Parent() {
		if list := sources[c.Name()+" "+word]; list != nil {
			return list
		}
	}
	return sources[word]
}

// completions returns the names that begin as typed.
func (a *app) completions(ctx context.Context, list names, typed string) []string {
	if list == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	quiet := *a
	quiet.stderr = io.Discard // a note would appear between the names
	all, err := list(ctx, &quiet)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(all, func(name string) bool { return !strings.HasPrefix(name, typed) })
}
