package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore/addr"
	"pillarbox/quota"
	"pillarbox/smtp/queue"
)

func (a *app) queueListCommand() *cobra.Command {
	var choice queueChoice
	var limit int
	var asJSON bool
	cmd := command("list"+queueChoiceUse+" [--limit 100] [--json]", "List messages, the oldest first, with the reason of their wait", cobra.ArbitraryArgs,
		func(cmd *cobra.Command, args []string) error {
			if limit < 0 {
				return admin.Hint(usageError{fmt.Errorf("--limit %d is not a number of messages", limit)}, "write 1 or more, or 0 for all")
			}
			c, err := choice.check(cmd, args, true)
			if err != nil {
				return err
			}
			found, err := call(cmd.Context(), a, admin.QueueList, admin.QueueQuestion{Choice: c, Limit: limit})
			if err == nil && asJSON {
				return a.writeJSON(found.Listing)
			}
			return answer(a, (*app).printQueue)(found, err)
		})
	choice.addFlags(cmd)
	cmd.Flags().IntVar(&limit, "limit", 100, "show at most this number of `messages`; 0 for all")
	addJSON(cmd, &asJSON)
	return cmd
}

func (a *app) printQueue(found admin.QueueFound) {
	now, l := time.Now(), found.Listing
	table("matching messages in the queue", "ID\tAGE\tSIZE\tFROM\tTO\tSTATE\tLAST", func(m admin.QueuedMessage) string {
		return strings.Join([]string{m.ID, ageText(now.Sub(m.Arrived)), about(m.Size), senderText(m.From), toText(&m),
			stateText(m.State, now), lastWords(m.Foremost().Last)}, "\t")
	})(a, l.Messages)
	if more := l.Count - len(l.Messages); more > 0 {
		a.note("these are the oldest %d of %d; --limit 0 shows all", len(l.Messages), l.Count)
	}
	if len(l.Newer) > 0 {
		a.note("%s of a newer release: in the queue, but neither shown nor sent; 'pillarbox admin check' tells more", quota.FormatMessages(int64(len(l.Newer))))
	}
	if len(l.Destinations) == 0 {
		return
	}
	const enough = 50
	lines := []string{"", "DESTINATION\tMESSAGES\tSTATE\tLAST"}
	for i, d := range l.Destinations[:min(len(l.Destinations), enough)] {
		lines = append(lines, strings.Join([]string{found.Names[i], fmt.Sprint(d.Waiting), destinationText(d, now), lastWords(d.Last)}, "\t"))
	}
	a.align(lines)
	if more := len(l.Destinations) - enough; more > 0 {
		a.note("%d more destinations are waiting; --json shows them", more)
	}
}

func destinationText(d queue.Destination, now time.Time) string {
	switch {
	case d.ETRNHeld:
		return "kept for ETRN"
	case d.Failures > 0:
		text := fmt.Sprintf("cannot be reached (%s)", timesText(d.Failures))
		if d.Trying > 0 {
			return text + ", trying now"
		}
		if d.NotBefore.After(now) {
			text += ", next try " + clockText(d.NotBefore, now)
		}
		return text
	}
	return "leaves from " + clockText(d.NotBefore, now)
}

func timesText(n int) string {
	if n == 1 {
		return "1 try"
	}
	return fmt.Sprintf("%d tries", n)
}

// How values are written.

func senderText(from addr.Address) string {
	if from.IsZero() {
		return "<>"
	}
	return from.String()
}

// toText formats the recipient that the state belongs to, and the number of others that wait.
func toText(m *admin.QueuedMessage) string {
	first, more := m.Foremost(), -1
	for i := range m.To {
		if m.To[i].Done == "" {
			more++
		}
	}
	if more < 1 {
		return first.Address.String()
	}
	return fmt.Sprintf("%s +%d", first.Address, more)
}

func stateText(s admin.QueueState, now time.Time) string {
	switch s.Wait {
	case admin.WaitTrying:
		return "trying now"
	case admin.WaitKept:
		return "kept for ETRN"
	case admin.WaitUnreachable:
		text := "waits for " + s.Server
		switch {
		case s.Until.IsZero():
			return text + ", tried on flush"
		case s.Until.After(now):
			return text + ", next try " + clockText(s.Until, now)
		}
		return text
	case admin.WaitHours:
		if s.Until.IsZero() {
			return "waits for flush"
		}
		return "leaves from " + clockText(s.Until, now)
	case admin.WaitNext:
		return "next try " + clockText(s.Until, now)
	case admin.WaitTurn:
		return "due"
	case admin.WaitReport:
		return "report to sender due"
	}
	return string(s.Wait)
}

// clockText formats a time as briefly as is clear: without the date if it is near now.
func clockText(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	days := t.Sub(now).Abs().Hours() / 24
	switch {
	case t.Format(time.DateOnly) == now.Format(time.DateOnly):
		return t.Format("15:04")
	case days < 6:
		return t.Format("Mon 15:04")
	}
	return t.Format("2006-01-02 15:04")
}

// ageText formats a duration in its two largest units: "40s", "12m", "2h 5m", "3d 4h".
func ageText(d time.Duration) string {
	d = max(d, 0).Truncate(time.Second)
	days, hours, minutes := int(d.Hours())/24, int(d.Hours())%24, int(d.Minutes())%60
	two := func(a int, unitA string, b int, unitB string) string {
		if b == 0 {
			return fmt.Sprint(a, unitA)
		}
		return fmt.Sprintf("%d%s %d%s", a, unitA, b, unitB)
	}
	switch {
	case days > 0:
		return two(days, "d", hours, "h")
	case hours > 0:
		return two(hours, "h", minutes, "m")
	case minutes > 0:
		return two(minutes, "m", 0, "")
	}
	return two(int(d.Seconds()), "s", 0, "")
}

// lastWords formats the last reply, cut to 60 characters.
func lastWords(last *queue.Last) string {
	if last == nil {
		return "-"
	}
	return shorten(lastText(last), 60)
}

func lastText(last *queue.Last) string {
	text := strings.Join(strings.Fields(last.Reply.Error()), " ")
	if last.MTA == "" { // our own words; the code is for machines
		return cmp.Or(strings.Join(strings.Fields(last.Reply.Text), " "), text)
	}
	return text
}

func shorten(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return strings.TrimSpace(string(runes[:most-3])) + "..."
	}
	return text
}
