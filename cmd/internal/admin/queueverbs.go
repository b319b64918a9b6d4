package admin

import (
	"fmt"
	"strings"
	"time"

	"pillarbox/quota"
	"pillarbox/smtp/queue"
)

// QueueDetails is all about one message in the queue.
type QueueDetails struct {
	Running bool `json:"running"`
	QueuedMessage
	GivenUp []time.Time `json:"given_up"` // parallel to the recipients: when a waiting one is given up
	Hint    string      `json:"hint"`     // what to do about the message
}

// QueueShown is a message in the queue with the routes of its recipients.
type QueueShown struct {
	Details QueueDetails
	Routes  []RouteSummary // parallel to Details.To
}

// showQueued shows the message that a word names: see QueueIDs.
func (o *Service) showQueued(word string) (shown QueueShown, err error) {
	ids, err := o.QueueIDs([]string{word})
	if err != nil {
		return shown, err
	}
	l, err := o.lookIntoQueue(queue.Filter{IDs: ids}, 1)
	if err != nil {
		return shown, err
	}
	if len(l.Messages) == 0 {
		return shown, Hint(fmt.Errorf("%s has just left the queue, or cannot be understood", ids[0]),
			"the log tells what became of it")
	}
	d := QueueDetails{Running: l.Running, QueuedMessage: l.Messages[0]}
	for _, r := range d.To {
		way := o.Config().Routes.For(r.Address.Domain)
		d.GivenUp = append(d.GivenUp, d.Item.Expires(way))
		shown.Routes = append(shown.Routes, routeSummary(way))
	}
	d.Hint = queueHint(&d)
	shown.Details = d
	return shown, nil
}

// queueHint is what to do about a message.
func queueHint(d *QueueDetails) string {
	if !d.Running {
		return "start the server: 'pillarbox serve'"
	}
	r := d.Foremost()
	switch d.State.Wait {
	case WaitTrying, WaitTurn:
		return "nothing; 'pillarbox admin queue active' shows what is being delivered"
	case WaitHeld:
		return "'pillarbox admin queue release " + d.ID + "' lets it go"
	case WaitKept:
		return "nothing: the server of " + d.State.Server + " asks for it; " +
			"'pillarbox admin queue flush " + d.ID + "' sends it now"
	case WaitUnreachable:
		return "'pillarbox admin route test " + r.Address.String() + "' shows where the way ends; " +
			"'pillarbox admin queue retry " + d.ID + "' once that is mended"
	case WaitHours:
		return "nothing; 'pillarbox admin queue flush " + d.ID + "' sends it whatever the hour"
	case WaitReport:
		return "nothing; if it stays like that, see the log for why the report cannot be made"
	}
	return lastHint(d.ID, r)
}

// lastHint is what to do about the last reply of a server.
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
	case r.Attempts < 3 &&
		(reply.Enhanced[1] == 7 || strings.Contains(strings.ToLower(reply.Text), "greylist")):
		return "nothing yet: many servers take mail from a stranger at the second or third try only"
	}
	return "nothing, if it is in order with time; else tell the people of " + r.Last.MTA +
		" what it said, or give it back: 'pillarbox admin queue bounce " + id + "'"
}

// QueueActivity lists the deliveries in progress.
type QueueActivity struct {
	Messages int            `json:"messages"` // in the queue
	Active   []queue.Active `json:"active"`
	// Suppressed counts the reports and notices that were not sent since the start: see
	// Running.Suppressed.
	Suppressed int64 `json:"suppressed_reports"`
}

// QueueNow is the activity with the names of its destinations for people.
type QueueNow struct {
	Activity QueueActivity
	Names    []string // parallel to Activity.Active
}

// queueActive tells what the server delivers at this moment.
func (o *Service) queueActive() (now QueueNow, err error) {
	r, err := o.server("do this")
	if err != nil {
		return now, err
	}
	now.Activity = QueueActivity{
		Messages: r.Queue.Len(), Active: r.Queue.Active(), Suppressed: r.Suppressed(),
	}
	for _, one := range now.Activity.Active {
		now.Names = append(now.Names, DestinationText(&o.Config().Routes, one.Destination))
	}
	return now, nil
}

// QueueOrder chooses the messages that a verb acts on.
type QueueOrder struct {
	Choice QueueChoice
	Sure   bool
	// Confirmed are the IDs that a question was about. With Sure, no other message is chosen. None
	// means that no question was asked.
	Confirmed []string
}

// QueueDone is what a verb did to messages in the queue.
type QueueDone struct {
	Action queue.Action
	Count  int      // of the messages that it was done to
	IDs    []string // the messages that were named; with ErrConfirm, those that are asked about
}

// queueVerb makes the function of a verb that acts on messages in the queue. If question is set,
// the action cannot be undone: the function asks first, with the number of messages for its %s.
func queueVerb(action queue.Action, question string) func(*Service, QueueOrder) (QueueDone, error) {
	return func(o *Service, in QueueOrder) (done QueueDone, err error) {
		if in.Choice.empty() && !in.Choice.All {
			return done, errNoChoice()
		}
		f, err := o.filter(in.Choice)
		if err != nil {
			return done, err
		}
		r, err := o.server("do this")
		if err != nil {
			return done, err
		}
		if question != "" && !in.Sure {
			if done.IDs, err = confirmQueue(r.Queue, f, question); err != nil {
				return done, newerHint(err, f)
			}
		}
		done.IDs = f.IDs
		confirmed := f
		if len(in.Confirmed) > 0 {
			confirmed.IDs = in.Confirmed
		}
		done.Count, err = r.Queue.Do(action, confirmed)
		if done.Count > 0 {
			o.Record("queue", nil, map[string]any{"messages": done.Count, "action": action, "chosen": f})
		}
		return done, newerHint(err, f)
	}
}

// confirmQueue asks, unless the filter names one message. With ErrConfirm, ids are the messages
// that the question is about.
func confirmQueue(q Queue, f queue.Filter, question string) (ids []string, err error) {
	items, count, err := q.List(f, 0)
	if err != nil || count == 0 || count == 1 && len(f.IDs) > 0 {
		return nil, err
	}
	for _, it := range items {
		ids = append(ids, it.ID)
	}
	return ids, confirm(false, question, quota.FormatMessages(int64(count)))
}
