package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/audit"
)

func (a *app) auditCommand() *cobra.Command {
	var q admin.AuditQuestion
	var since string
	var asJSON bool
	cmd := command("audit [--since 24h|DATE] [--object NAME] [--by WHO] [-n 50] [--json]", "Show the audit log: actor, time, place, and what has changed", takes(0, 0),
		func(cmd *cobra.Command, _ []string) (err error) {
			if q.Since, err = parseSince(since, time.Now()); err != nil {
				return err
			}
			if q.Limit < 0 {
				return admin.Hint(usageError{fmt.Errorf("-n %d is not a number of events", q.Limit)}, "write 1 or more, or 0 for all")
			}
			events := table("events", "TIME\tWHO\tFROM\tACT\tOBJECT\tWHAT", auditRow)
			return respond(a, asJSON, events)(call(cmd.Context(), a, admin.AuditShow, q))
		})
	addJSON(cmd, &asJSON)
	cmd.Flags().StringVar(&since, "since", "", "only events within a `time` (24h, 3d) or since a date (2026-11-21, \"2026-11-21 08:00\")")
	cmd.Flags().StringVar(&q.Object, "object", "", "only events about an `address`, or about a domain and everything in it")
	cmd.Flags().StringVar(&q.By, "by", "", "only events of actors whose `name` contains this")
	cmd.Flags().IntVarP(&q.Limit, "number", "n", 50, "show at most this `number` of events, the newest; 0 for all")
	cmd.Long = `Show the audit log, the newest events last: actor, time, place, and the values before
and after the change. The log never contains passwords or other secrets; it records
only that they were set or changed. It also has actions of the server itself, such as
holding a mailbox that sends too much.

The events are in audit.log in the data directory; older ones are in audit.1.log to
audit.9.log. Each line is a JSON object. Times are from the clock of this machine.`
	return cmd
}

// parseSince reads an age or a date, in local time; "" is the zero time.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if age, err := admin.ParseAge(text); err == nil {
		return now.Add(-age), nil
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02 15:04", time.DateTime, time.RFC3339} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, admin.Hint(usageError{fmt.Errorf("--since %q is neither a time nor a date", text)}, `write it like 24h, 3d, 2026-11-21 or "2026-11-21 08:00"`)
}

func auditRow(e audit.Event) string {
	return strings.Join([]string{localTime(e.Time), printable(e.Who), printable(e.From), cmp.Or(printable(e.Act), "-"),
		cmp.Or(printable(e.Object), "-"), shorten(printable(whatChanged(e)), 160)}, "\t")
}

// whatChanged is an event in words: "locked: - → true".
func whatChanged(e audit.Event) string {
	switch {
	case e.Refused != "":
		return "refused: " + e.Refused
	case e.Next != "":
		return "now " + e.Next
	case e.Before == nil && e.After == nil:
		return "done" // an act that changes nothing of its own
	case e.Before == nil:
		return cmp.Or(strings.Join(memberTexts(e.After), ", "), "made")
	case e.After == nil:
		return strings.TrimSuffix("removed: "+strings.Join(memberTexts(e.Before), ", "), ": ")
	}
	before, after := membersOf(e.Before), membersOf(e.After)
	names := maps.Clone(before)
	maps.Copy(names, after)
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		parts = append(parts, fmt.Sprintf("%s: %s → %s", name, cmp.Or(before[name], "-"), cmp.Or(after[name], "-")))
	}
	if parts == nil {
		return "as it was"
	}
	return strings.Join(parts, "; ")
}

func memberTexts(object json.RawMessage) (texts []string) {
	all := membersOf(object)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		texts = append(texts, name+" "+all[name])
	}
	return texts
}

// membersOf are the members of an object of JSON as a person reads them.
func membersOf(object json.RawMessage) map[string]string {
	var raw map[string]json.RawMessage
	if json.Unmarshal(object, &raw) != nil {
		return map[string]string{}
	}
	all := make(map[string]string, len(raw))
	for name, value := range raw {
		var text string
		if json.Unmarshal(value, &text) != nil {
			text = string(bytes.ReplaceAll(value, []byte(`"`), nil))
		}
		all[name] = text
	}
	return all
}
