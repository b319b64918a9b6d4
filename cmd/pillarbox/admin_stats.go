package main

import (
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/statistics"
)

func (a *app) statsCommand() *cobra.Command {
	var q admin.StatisticsQuestion
	var since, until string
	var asJSON, asCSV bool
	cmd := command("stats [--by mailbox|domain|device|day] [--domain D] [--since T] [--until T] [-n N] [--json|--csv]",
		"Show how much mail each mailbox, domain, device or day had", takes(0, 0),
		func(cmd *cobra.Command, _ []string) (err error) {
			if q.Since, err = parseMoment(since, time.Now()); err != nil {
				return err
			}
			if q.Until, err = parseMoment(until, time.Now()); err != nil {
				return err
			}
			if q.Limit < 0 || asJSON && asCSV {
				return admin.Hint(usageError{errors.New("these flags do not go together, or -n is below 0")},
					"write one of --json and --csv, and -n 1 or more, or 0 for all")
			}
			found, err := call(cmd.Context(), a, admin.MailStatistics, q)
			if err == nil && asCSV {
				return writeStatisticsCSV(a.stdout, found.Rows)
			}
			return respond(a, asJSON, (*app).printStatistics)(found, err)
		})
	addJSON(cmd, &asJSON)
	flags := cmd.Flags()
	flags.BoolVar(&asCSV, "csv", false, "write CSV, for a spreadsheet")
	flags.StringVar(&q.By, "by", "mailbox", "count by `what`: mailbox, domain, device or day")
	flags.StringVar(&q.Domain, "domain", "", "only this `domain`")
	flags.StringVar(&since, "since", "", "only mail since a `time` (24h, 30d, 2026-11-21); 7 days, with today, if it is left out")
	flags.StringVar(&until, "until", "", "only mail before a `time`")
	flags.IntVarP(&q.Limit, "number", "n", 0, "show at most this `number` of rows, the largest; 0 for all")
	cmd.Long = `Show how much mail each mailbox, domain, device or day had. The mailboxes and domains that
store most come first.

IN is mail that was put into mailboxes, OUT is mail from people who logged in, from devices
and from programs of this machine. A message to three mailboxes comes in three times and
goes out once. STORED is what is in the mailboxes now. LAST LOGIN and PROGRAM are the latest
of the time that is counted; POP3 clients do not name themselves, so the program is the one
that wrote mail. Times are those of this machine. Events are kept for events.keep_days.`
	return cmd
}

func (a *app) printStatistics(s admin.Statistics) {
	fmt.Fprintf(a.stdout, "From %s to %s\n\n", localTime(s.Since), localTime(s.Until))
	header := strings.ToUpper(string(s.By)) +
		"\tIN\tSIZE\tOUT\tSIZE\tFETCHED\tREFUSED\tBAD LOGINS\tSTORED\tLAST LOGIN\tPROGRAM"
	table("rows", header, statisticsRow)(a, s.Rows)
	if s.More {
		fmt.Fprintln(a.stdout, "There are more rows: -n 0 shows all.")
	}
	if s.Damaged > 0 {
		fmt.Fprintf(a.stdout, "%d octets of the events are damaged and could not be read.\n", s.Damaged)
	}
}

func statisticsRow(r statistics.Row) string {
	login := "-"
	if !r.LastLogin.IsZero() {
		login = localTime(r.LastLogin) + " " + printable(r.Service)
	}
	return strings.Join([]string{
		printable(r.Name), fmt.Sprint(r.In.Messages), about(r.In.Octets),
		fmt.Sprint(r.Out.Messages), about(r.Out.Octets), fmt.Sprint(r.Fetched.Messages),
		fmt.Sprint(r.Refused), fmt.Sprint(r.LoginsFailed), about(r.Stored.Octets), login,
		cmp.Or(shorten(printable(r.Program), 40), "-"),
	}, "\t")
}

// writeStatisticsCSV writes rows as RFC 4180 describes. The names of the columns are those of the
// JSON form.
func writeStatisticsCSV(out io.Writer, rows []statistics.Row) error {
	w := csv.NewWriter(out)
	w.UseCRLF = true
	lines := [][]string{{"name", "in_messages", "in_octets", "out_messages", "out_octets",
		"fetched_messages", "fetched_octets", "stored_messages", "stored_octets", "refused",
		"logins_failed", "last_login", "last_login_service", "program"}}
	for _, r := range rows {
		login := ""
		if !r.LastLogin.IsZero() {
			login = r.LastLogin.Format(time.RFC3339)
		}
		line := []string{cell(r.Name)}
		for _, n := range []int64{
			r.In.Messages, r.In.Octets, r.Out.Messages, r.Out.Octets, r.Fetched.Messages,
			r.Fetched.Octets, r.Stored.Messages, r.Stored.Octets, r.Refused, r.LoginsFailed,
		} {
			line = append(line, strconv.FormatInt(n, 10))
		}
		lines = append(lines, append(line, login, cell(r.Service), cell(r.Program)))
	}
	return w.WriteAll(lines)
}

// cell returns a text that no spreadsheet takes for a formula. Foreign programs choose some texts.
func cell(text string) string {
	text = printable(text)
	if strings.ContainsAny(text[:min(1, len(text))], "=+-@") {
		return "'" + text
	}
	return text
}
