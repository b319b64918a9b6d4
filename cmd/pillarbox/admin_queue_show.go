package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/smtp/queue"
	"pillarbox/smtp/route"
)

// queueDetails is the JSON of the verb show.
type queueDetails struct {
	Running bool `json:"running"`
	admin.QueuedMessage
	GivenUp []time.Time `json:"given_up"` // parallel to the recipients: when each is, that still waits then
	Hint    string      `json:"hint"`
}

func (a *app) queueShowCommand() *cobra.Command {
	var asJSON bool
	cmd := a.verb("show ID [--json]", "Show a message in the queue and how to deal with it", takes(1, 1),
		func(cmd *cobra.Command, o *admin.Service, args []string) error {
			ids, err := o.QueueIDs(args)
			if err != nil {
				return err
			}
			l, err := a.lookIntoQueue(cmd.Context(), o, queue.Filter{IDs: ids}, 1)
			if err != nil {
				return err
			}
			if len(l.Messages) == 0 {
				return admin.Hint(fmt.Errorf("%s has just left the queue, or cannot be understood", ids[0]), "the log tells what became of it")
			}
			routes := &o.Config().Routes
			d := queueDetails{Running: l.Running, QueuedMessage: l.Messages[0]}
			for _, r := range d.To {
				d.GivenUp = append(d.GivenUp, d.Item.Expires(routes.For(r.Address.Domain)))
			}
			d.Hint = queueHint(&d)
			return respond(a, asJSON, func(a *app, d queueDetails) { a.printQueued(&d, routes) })(d, nil)
		})
	addJSON(cmd, &asJSON)
	return cmd
}

func (a *app) printQueued(d *queueDetails, routes *route.Table) {
	now := time.Now()
	lines := []string{
		"ID:\t" + d.ID,
		"From:\t" + senderText(d.From),
		"Size:\t" + sizeText(d.Size),
		"Arrived:\t" + localTime(d.Arrived) + " (" + ageText(now.Sub(d.Arrived)) + " ago)",
		"Came by:\t" + sourceText(d.Source),
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
		lines = append(lines, recipientLines(d, i, routes.For(d.To[i].Address.Domain), now)...)
	}
	a.align(lines)
	fmt.Fprintln(a.stdout, "\nWhat to do: "+d.Hint)
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
func recipientLines(d *queueDetails, i int, way *route.Route, now time.Time) []string {
	r, state := &d.To[i], d.States[i]
	lines := []string{
		"",
		"To:\t" + r.Address.String(),
		"  State:\t" + stateText(state, now),
		"  Tries:\t" + fmt.Sprint(r.Attempts),
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

func toldText(r *queue.Recipient) string {
	if r.DelaySent {
		return "yes, that it takes longer"
	}
	return "no"
}

// queueHint is what to do about a message.
func queueHint(d *queueDetails) string {
	if !d.Running {
		return "start the server: 'pillarbox serve'"
	}
	r := d.Foremost()
	switch d.State.Wait {
	case admin.WaitTrying, admin.WaitTurn:
		return "nothing; 'pillarbox admin queue active' shows what is being delivered"
	case admin.WaitHeld:
		return "'pillarbox admin queue release " + d.ID + "' lets it go"
	case admin.WaitKept:
		return "nothing: the server of " + d.State.Server + " asks for it; 'pillarbox admin queue flush " + d.ID + "' sends it now"
	case admin.WaitUnreachable:
		return "'pillarbox admin route test " + r.Address.String() + "' shows where the way ends; 'pillarbox admin queue retry " + d.ID + "' once that is mended"
	case admin.WaitHours:
		return "nothing; 'pillarbox admin queue flush " + d.ID + "' sends it whatever the hour"
	case admin.WaitReport:
		return "nothing; if it stays like that, see the log for why the report cannot be made"
	}
	return lastHint(d.ID, r)
}

// lastHint is what to do about what a server has said.
func lastHint(id string, r *queue.Recipient) string {
	if r.Last == nil {
		return "nothing; it is tried soon"
	}
	reply := &r.Last.Reply
	switch {
	case r.Last.MTA == "":
		return "'pillarbox admin route test " + r.Address.String() + "' shows where the way ends"
	case reply.Enhanced[1] == 2 || reply.Code == 452:
		return "nothing, or tell the recipient: the mailbox there, or its server, has no room"
	case r.Attempts < 3 && (reply.Enhanced[1] == 7 || strings.Contains(strings.ToLower(reply.Text), "greylist")):
		return "nothing yet: many servers take mail from a stranger at the second or third try only"
	}
	return "nothing, if it is in order with time; else tell the people of " + r.Last.MTA + " what it said, or give it back: 'pillarbox admin queue bounce " + id + "'"
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
