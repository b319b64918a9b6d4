package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/smtp/queue"
	"pillarbox/smtp/route"
)

func (a *app) queueShowCommand() *cobra.Command {
	var asJSON bool
	cmd := command("show ID [--json]", "Show a message in the queue and how to deal with it", takes(1, 1),
		func(cmd *cobra.Command, args []string) error {
			shown, err := call(cmd.Context(), a, admin.QueueShow, first(args))
			if err == nil && asJSON {
				return a.writeJSON(shown.Details)
			}
			return answer(a, (*app).printQueued)(shown, err)
		})
	addJSON(cmd, &asJSON)
	return cmd
}

func (a *app) printQueued(shown admin.QueueShown) {
	d := &shown.Details
	now := time.Now()
	lines := []string{
		"ID:\t" + d.ID,
		"From:\t" + senderText(d.From),
		"Size:\t" + sizeText(d.Size),
		"Arrived:\t" + localTime(d.Arrived) + " (" + ageText(now.Sub(d.Arrived)) + " ago)",
		"Came by:\t" + sourceText(d.Source),
	}
	if !d.Sender.IsZero() {
		lines = slices.Insert(lines, 2, "Sent as:\t"+d.Sender.String())
	}
	if d.Parent != "" {
		lines = append(lines, "Report on:\t"+d.Parent)
	}
	if d.EnvID != "" {
		lines = append(lines, "Envelope ID:\t"+d.EnvID)
	}
	if !d.Released.IsZero() {
		lines = append(lines, "Released:\t"+localTime(d.Released)+", its time counts from then")
	}
	if d.Uncounted > 0 {
		lines = append(lines, "Not counted:\t"+ageText(d.Uncounted)+": the clock was set forward, or the machine slept")
	}
	lines = append(lines, "State:\t"+stateText(d.State, now))
	for i := range d.To {
		lines = append(lines, recipientLines(d, i, &shown.Routes[i], now)...)
	}
	a.align(lines)
	fmt.Fprintln(a.stdout, "\nWhat to do: "+a.typed(d.Hint))
}

func sizeText(octets int64) string {
	if octets < 1024 {
		return about(octets)
	}
	return fmt.Sprintf("%s (%d bytes)", about(octets), octets)
}

func sourceText(s queue.Source) string {
	text := s.Service
	if text == "" {
		text = "this server itself"
	}
	if s.Remote.IsValid() {
		text += ", from " + s.Remote.String()
	}
	if s.Helo != "" {
		text += " (" + s.Helo + ")"
	}
	if !s.User.IsZero() {
		text += ", logged in as " + s.User.String()
	}
	return text
}

// recipientLines are all about one recipient.
func recipientLines(d *admin.QueueDetails, i int, way *admin.RouteSummary, now time.Time) []string {
	r, state := &d.To[i], d.States[i]
	lines := []string{
		"",
		"To:\t" + r.Address.String(),
		"  State:\t" + stateText(state, now),
		"  Tries:\t" + triesText(r),
	}
	if r.Last != nil {
		who := r.Last.MTA
		if who == "" {
			who = "this server"
		}
		lines = append(lines, "  Last:\t"+localTime(r.Last.Time)+", "+who+" said:", "\t"+strings.Join(strings.Fields(r.Last.Reply.Error()), " "))
	}
	if len(r.Notify) > 0 {
		lines = append(lines, "  Asked for:\tNOTIFY="+strings.Join(r.Notify, ","))
	}
	lines = append(lines, "  Route:\t"+way.Name+": "+wayText(way.SmartHost, way.DirectFirst, way.LMTP))
	if r.Done != "" {
		return lines
	}
	next := "not by itself"
	switch {
	case state.Wait == admin.WaitTrying || state.Wait == admin.WaitTurn:
		next = "now"
	case !state.Until.IsZero():
		next = localTime(state.Until)
	}
	given := localTime(d.GivenUp[i])
	if d.Held {
		given = "not while it is held"
	}
	return append(lines, "  Next try:\t"+next, "  Given up:\t"+given, "  Sender told:\t"+toldText(r))
}

// triesText counts the attempts. Those by hand are named, because they lengthen no wait.
func triesText(r *queue.Recipient) string {
	if r.ByHand == 0 {
		return fmt.Sprint(r.Tries())
	}
	return fmt.Sprintf("%d, %d of them by hand", r.Tries(), r.ByHand)
}

func toldText(r *queue.Recipient) string {
	if r.DelaySent {
		return "yes, that it takes longer"
	}
	return "no"
}

// wayText is a route's way in words.
func wayText(smartHosts []route.Host, directFirst, lmtp bool) string {
	var hosts []string
	for _, h := range smartHosts {
		hosts = append(hosts, h.String())
	}
	text := strings.Join(hosts, ", ")
	switch {
	case text == "":
		return "the domain's own servers"
	case directFirst:
		return "the domain's own servers, then " + text
	case lmtp:
		return text + " by LMTP"
	}
	return text
}
