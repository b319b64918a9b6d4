package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore/track"
)

func (a *app) traceCommand() *cobra.Command {
	var q admin.TraceQuestion
	var since, until string
	var asJSON, follow bool
	cmd := command("trace [NAME] [--from A] [--to A] [--subject WORDS] [--since T] [--until T] [-f] [--json]",
		"Show what happened to a message, from its acceptance to its deletion", takes(0, 1),
		func(cmd *cobra.Command, args []string) (err error) {
			if len(args) == 1 {
				q.Name = args[0]
			}
			if q.Since, err = parseMoment(since, time.Now()); err != nil {
				return err
			}
			if q.Until, err = parseMoment(until, time.Now()); err != nil {
				return err
			}
			if q.Name+q.From+q.To+q.Subject == "" && since == "" {
				return admin.Hint(usageError{errors.New("trace needs something to look for")},
					"name a trace code, a queue ID, a Message-ID, an address, an IP address or a "+
						"user, or use --from, --to, --subject or --since")
			}
			if follow {
				return a.followTrace(cmd.Context(), q)
			}
			return respond(a, asJSON, (*app).printStories)(call(cmd.Context(), a, admin.Trace, q))
		})
	addJSON(cmd, &asJSON)
	flags := cmd.Flags()
	flags.StringVar(&q.From, "from", "", "only mail from this `address` or domain")
	flags.StringVar(&q.To, "to", "", "only mail to this `address` or domain")
	flags.StringVar(&q.Subject, "subject", "", "only mail whose subject has these `words` (needs events.subjects)")
	flags.StringVar(&since, "since", "", "only events since a `time` (10:14, 24h, 3d, 2026-11-21, \"2026-11-21 08:00\")")
	flags.StringVar(&until, "until", "", "only events before a `time`")
	flags.IntVarP(&q.Messages, "number", "n", 20, "show at most this `number` of messages, the newest")
	flags.BoolVarP(&follow, "follow", "f", false, "show new events as they happen, until interrupted")
	cmd.Long = `Show what happened to a message: where it came from, which rule permitted it, where it
went, when it was fetched by which client, and when it was deleted. NAME is a trace code
of a refusal, the ID that the 250 named, a Message-ID, an address, a domain, a user, or
the IP address of a client.

Times are those of this machine. --since 10:14 means today. Events are kept for
events.keep_days.`
	return cmd
}

// parseMoment is parseSince with a time of today.
func parseMoment(text string, now time.Time) (time.Time, error) {
	if t, err := time.ParseInLocation("15:04", text, now.Location()); err == nil {
		y, m, d := now.Date()
		return time.Date(y, m, d, t.Hour(), t.Minute(), 0, 0, now.Location()), nil
	}
	return parseSince(text, now)
}

// printStories prints each message with its events, then the events without a message.
func (a *app) printStories(found track.Stories) {
	out := a.stdout
	for _, s := range found.Messages {
		fmt.Fprintf(out, "Message %s%s\n", s.ID, storySender(s))
		if s.MessageID != "" {
			fmt.Fprintf(out, "  Message-ID: %s\n", printable(s.MessageID))
		}
		if s.Subject != "" {
			fmt.Fprintf(out, "  Subject: %s\n", printable(s.Subject))
		}
		for _, e := range s.Events {
			printEvent(out, &e)
		}
		for _, r := range s.Recipients {
			fmt.Fprintf(out, "  = %s: %s\n", printable(r.To), r.State)
		}
		fmt.Fprintln(out)
	}
	if len(found.Others) > 0 {
		fmt.Fprintln(out, "Refusals and logins")
	}
	for _, e := range found.Others {
		printEvent(out, &e)
		if e.Trace != "" {
			fmt.Fprintf(out, "%23swhy: pillarbox admin explain --trace %s\n", "", e.Trace)
		}
	}
	switch {
	case len(found.Messages)+len(found.Others) == 0:
		fmt.Fprintln(out, "nothing found")
	case found.More:
		fmt.Fprintln(out, "There is more: --since, --until, --from, --to or -n choose what to show.")
	}
	if found.Damaged > 0 {
		fmt.Fprintf(out, "%d octets of the events are damaged and could not be read.\n", found.Damaged)
	}
}

func printEvent(out io.Writer, e *track.Event) {
	fmt.Fprintf(out, "  %s  %s\n", localTime(e.Time), printable(e.Words()))
}

func envelopeSender(from string) string {
	if from == "" {
		return "<> (a report)"
	}
	return printable(from)
}

// storySender says whom a message is from. The events of its acceptance may be deleted, or missing:
// then an empty sender is not the null sender.
func storySender(s track.Story) string {
	accepted := func(e track.Event) bool { return e.Kind == track.Accepted }
	if s.From == "" && !slices.ContainsFunc(s.Events, accepted) {
		return ", accepted before the first of these events"
	}
	return " from " + envelopeSender(s.From)
}

// followTrace prints events as they happen.
func (a *app) followTrace(ctx context.Context, q admin.TraceQuestion) error {
	const interval = time.Second
	shown := time.Now()
	if !q.Since.IsZero() {
		shown = q.Since
	}
	for {
		next := q
		next.Since, next.Events = shown, true
		found, err := call(ctx, a, admin.Trace, next)
		if err != nil {
			return err
		}
		for _, e := range found.Others {
			printEvent(a.stdout, &e)
			shown = e.Time.Add(time.Microsecond)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(interval):
		}
	}
}
