package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/fetch"
)

func (a *app) fetchCommand() *cobra.Command {
	cmd := family("fetch", "Manage the collection of mail from other servers, by ETRN and POP3",
		answers(a, "list", "List the servers to collect from, and the last results", takes(0, 0), admin.FetchList, nothing,
			table("[[fetch]] in the configuration", "NAME\tFROM\tFOR\tNEXT\tLAST", fetchRow)),
		a.fetchNowCommand(),
	)
	cmd.Long = `Manage the collection of mail from other servers, by ETRN and POP3.

The servers are the [[fetch]] entries of the configuration. If an entry keeps failing,
the server waits longer before each try. "now" tries it at once.`
	return cmd
}

// fetchNowCommand prints the results of all entries, and fails if one of them has failed.
func (a *app) fetchNowCommand() *cobra.Command {
	var asJSON bool
	cmd := command("now [NAME] [--json]", "Collect mail now, from all servers or from one", takes(0, 1),
		func(cmd *cobra.Command, args []string) error {
			results := table("[[fetch]] in the configuration", "NAME\tFETCHED\tDELETED\tLEFT\tRESULT", fetchResultRow)
			all, err := call(cmd.Context(), a, admin.FetchNow, first(args))
			if err := respond(a, asJSON, results)(all, err); err != nil {
				return err
			}
			return fetchFailure(all)
		})
	addJSON(cmd, &asJSON)
	return cmd
}

func fetchFailure(all []fetch.Result) error {
	for _, r := range all {
		if r.Error == "" {
			continue
		}
		err := fmt.Errorf("%s: %s", r.Name, r.Error)
		if r.Hint != "" {
			return admin.Hint(err, "%s", r.Hint)
		}
		return err
	}
	return nil
}

func fetchRow(s fetch.Status) string {
	next := "with the next delivery"
	switch {
	case s.Running:
		next = "now"
	case !s.Next.IsZero():
		next = localTime(s.Next)
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s", s.Name, fetchSource(s), fetchTarget(s), next, fetchLast(s))
}

func fetchSource(s fetch.Status) string {
	var from []string
	if s.ETRN != "" {
		from = append(from, s.ETRN+" (ETRN)")
	}
	if s.POP3 != "" {
		from = append(from, strings.TrimPrefix(s.POP3, "smtps://")+" (POP3)")
	}
	return wordList(from)
}

func fetchTarget(s fetch.Status) string {
	if s.DeliverTo.IsZero() {
		return "-"
	}
	return s.DeliverTo.String()
}

func fetchLast(s fetch.Status) string {
	switch {
	case s.Last == nil:
		return "-"
	case s.Failures > 0:
		return fmt.Sprintf("failed (%d in a row): %s", s.Failures, s.Last.Error)
	}
	return fmt.Sprintf("%s, %d fetched", localTime(s.Last.Started), s.Last.Fetched)
}

func fetchResultRow(r fetch.Result) string {
	said := append([]string(nil), r.ETRN...)
	switch {
	case r.Error != "":
		said = append(said, "failed: "+r.Error)
	case r.Ended.IsZero():
		said = append(said, "still under way")
	case len(said) == 0:
		said = append(said, "done in "+r.Ended.Sub(r.Started).Round(10*time.Millisecond).String())
	}
	return fmt.Sprintf("%s\t%d\t%d\t%d\t%s", r.Name, r.Fetched, r.Deleted, r.Left, strings.Join(said, "; "))
}
