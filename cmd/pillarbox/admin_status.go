package main

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/recentlog"
	"pillarbox/cmd/internal/sysinfo"
	"pillarbox/cmd/internal/traffic"
	"pillarbox/quota"
)

func (a *app) statusCommand() *cobra.Command {
	var asJSON bool
	cmd := command("status [--json]", "Show how the server is: mail of today, queue, disk, certificates, last errors",
		takes(0, 0), func(cmd *cobra.Command, _ []string) error {
			s, err := call(cmd.Context(), a, admin.ServerStatus, struct{}{})
			if !s.Running {
				s.Version = version
			}
			return respond(a, asJSON, (*app).printStatus)(s, err)
		})
	addJSON(cmd, &asJSON)
	return cmd
}

func (a *app) printStatus(s admin.Status) {
	a.align(statusLines(s))
	if len(s.Errors) > 0 {
		fmt.Fprintln(a.stdout, "\nLatest warnings and errors of the log:")
		a.align(errorLines(s.Errors))
	}
	for _, problem := range s.Problems {
		a.note("%s", printable(problem))
	}
	if !s.Running {
		a.note("the server is not running: this is what the files tell")
	}
}

// statusLines are the facts, one a line, with a tab after each name.
func statusLines(s admin.Status) []string {
	lines := []string{"Server:\t" + serverText(s), "Data:\t" + printable(s.Data)}
	for i, one := range s.Services {
		lines = append(lines, heading("Services:", i)+serviceText(one))
	}
	if s.Today != nil {
		for i, text := range todayTexts(*s.Today) {
			lines = append(lines, heading("Today:", i)+text)
		}
	}
	lines = append(lines, "Queue:\t"+queueText(s.Queue))
	lines = append(lines, fmt.Sprintf("Badmail:\t%s, %s", quota.FormatMessages(int64(s.Badmail.Messages)), about(s.Badmail.Octets)))
	if s.Quarantine > 0 {
		lines = append(lines, fmt.Sprintf("Quarantine:\t%s; see 'pillarbox admin queue quarantine list'",
			quota.FormatMessages(int64(s.Quarantine))))
	}
	lines = append(lines, "Disk:\t"+diskText(s.Disk, s.Running))
	if s.Disk.Disk.Inodes > 0 {
		lines = append(lines, "Inodes:\t"+inodesText(s.Disk, s.Running))
	}
	for i, c := range s.Certificates {
		lines = append(lines, heading("Certificates:", i)+certificateText(c))
	}
	return append(lines, "Clock:\t"+clockStateText(s.Clock), "Backup:\t"+backupText(s),
		"Doctor:\t"+doctorText(s))
}

func backupText(s admin.Status) string {
	switch b := s.Backup; {
	case b.Dir == "":
		return "none; [backup] in the configuration makes them"
	case b.Fault != "":
		return printable(b.Fault) + "; 'pillarbox admin backup run' tries again"
	case b.Success.IsZero():
		return "none yet in " + printable(b.Dir)
	default:
		return fmt.Sprintf("%s ago in %s", ageText(s.Now.Sub(b.Success)), printable(b.Dir))
	}
}

// doctorText tells the last result of 'pillarbox doctor' and its age.
func doctorText(s admin.Status) string {
	d := s.Doctor
	if d == nil {
		return "never run; 'pillarbox doctor' checks the server and its surroundings"
	}
	found := "all is well"
	if d.Errors+d.Warnings > 0 {
		found = many(int64(d.Errors), "error") + ", " + many(int64(d.Warnings), "warning") +
			"; 'pillarbox doctor' shows them"
	}
	return fmt.Sprintf("%s ago: %s", ageText(s.Now.Sub(d.Time)), found)
}

// heading is the name of a fact with several lines, which only its first line has.
func heading(name string, line int) string {
	if line > 0 {
		name = ""
	}
	return name + "\t"
}

func serverText(s admin.Status) string {
	if !s.Running {
		return "not running; this program is " + printable(s.Version)
	}
	return fmt.Sprintf("running for %s, since %s, version %s", ageText(s.Now.Sub(s.Since)),
		localTime(s.Since), printable(s.Version))
}

func serviceText(s admin.ServiceStatus) string {
	return fmt.Sprintf("%s on %s: %s", s.Service, wordList(s.Addresses), many(int64(s.Sessions), "session"))
}

// many is a number of things: "1 session", "2 sessions".
func many(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func todayTexts(d traffic.Day) []string {
	count := func(c traffic.Count, what string) string {
		return fmt.Sprintf("%s %s, %s", quota.FormatMessages(c.Messages), what, about(c.Octets))
	}
	texts := []string{
		count(d.Accepted, "accepted"), count(d.Delivered, "put into mailboxes"),
		count(d.Relayed, "taken by other servers"), count(d.Fetched, "fetched by POP3"),
		fmt.Sprintf("%s, %s, %s", many(d.Refused, "refusal"), failedText(d.Failed),
			many(d.LoginsFailed, "failed login")),
	}
	if !d.Complete {
		texts = append(texts, "without those from before the start of the server")
	}
	return texts
}

func failedText(n int64) string {
	if n == 1 {
		return "1 failed delivery"
	}
	return fmt.Sprintf("%d failed deliveries", n)
}

func queueText(q admin.QueueStatus) string {
	text := quota.FormatMessages(int64(q.Messages))
	if q.Active > 0 {
		text += fmt.Sprintf(", %d being delivered", q.Active)
	}
	for i, r := range q.Reasons {
		separator := ", "
		if i == 0 {
			separator = ": "
		}
		text += fmt.Sprintf("%s%d %s", separator, r.Messages, reasonText(r.Wait))
	}
	if q.Counted < q.Messages {
		text += fmt.Sprintf(" (of the first %d)", q.Counted)
	}
	return text
}

// reasonText says what messages wait for.
func reasonText(wait admin.QueueWait) string {
	switch wait {
	case admin.WaitKept:
		return "kept for ETRN"
	case admin.WaitUnreachable:
		return "for servers that cannot be reached"
	case admin.WaitHours:
		return "until mail may leave"
	case admin.WaitNext:
		return "to be tried again"
	case admin.WaitTurn:
		return "due"
	case admin.WaitReport:
		return "with a report due"
	}
	return printable(string(wait))
}

func diskText(d admin.DiskStatus, running bool) string {
	text := fmt.Sprintf("%s of %s free", about(d.Free), about(d.Size))
	return text + forecastText(d.Forecast, d.Forecast.Days, running)
}

func inodesText(d admin.DiskStatus, running bool) string {
	text := fmt.Sprintf("%d of %d free", d.Disk.FreeInodes, d.Disk.Inodes)
	return text + forecastText(d.Forecast, d.Forecast.Inodes, running)
}

func forecastText(f sysinfo.Forecast, days *float64, running bool) string {
	switch {
	case !running:
		return ""
	case f.Measured < 6:
		return "; how long that lasts is known after 6 hours"
	case days == nil:
		return "; it does not shrink noticeably"
	}
	return fmt.Sprintf("; lasts %.0f days at the rate of the last %s", *days,
		ageText(time.Duration(f.Measured*float64(time.Hour))))
}

func certificateText(c admin.CertificateStatus) string {
	left := many(int64(c.Days), "day") + " left"
	if c.Days < 0 {
		left = "ended"
	}
	return fmt.Sprintf("%s (%s, %s): %s, until %s", printable(wordList(c.Names)), c.Source, c.Key, left, localTime(c.NotAfter))
}

func clockStateText(c sysinfo.Clock) string {
	switch {
	case !c.Known:
		return "the kernel does not tell"
	case !c.Synchronized:
		return "not synchronised; install chrony or turn on systemd-timesyncd"
	}
	return fmt.Sprintf("synchronised, offset %.3f ms", c.Offset*1000)
}

func errorLines(all []recentlog.Entry) []string {
	lines := make([]string, len(all))
	for i, e := range all {
		level := "warning"
		if e.Level >= slog.LevelError {
			level = "error"
		}
		lines[i] = fmt.Sprintf("%s\t%s\t%s", localTime(e.Time), level, shorten(printable(e.Text), 300))
	}
	return lines
}
