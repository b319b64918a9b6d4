package track

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"pillarbox/mailstore/durable"
)

// Story is what happened to one message, in order.
type Story struct {
	ID        string  `json:"id"`
	MessageID string  `json:"message_id,omitempty"`
	From      string  `json:"from"`
	Subject   string  `json:"subject,omitempty"`
	Events    []Event `json:"events"`
	// Recipients are the message's recipients, each with what is known last.
	Recipients []Outcome `json:"recipients"`
}

// Outcome is what is known last about a message and one recipient.
type Outcome struct {
	To    string    `json:"to"`
	State string    `json:"state"` // "in the mailbox", "queued", "relayed", …
	Time  time.Time `json:"time"`
}

// Stories is the answer to a question about mail.
type Stories struct {
	Messages []Story `json:"messages"` // the newest last
	// Others are events that match and belong to no message: refusals and logins.
	Others  []Event `json:"others"`
	More    bool    `json:"more"`    // older ones were left out
	Damaged int64   `json:"damaged"` // octets that could not be read
}

// maxHits is the number of events that FindStories looks at to find messages.
const maxHits = 5000

// FindStories returns the messages that the query names, at most limit, with all their events; and
// at most limit other events.
func FindStories(
	ctx context.Context, fsys durable.FS, q Query, limit int,
) (found Stories, err error) {
	q.Limit = maxHits
	hits, err := Search(ctx, fsys, q)
	if err != nil {
		return found, err
	}
	found = Stories{Messages: []Story{}, Others: []Event{}, More: hits.More, Damaged: hits.Damaged}
	var ids []string
	for _, e := range slices.Backward(hits.Events) {
		switch {
		case e.ID != "" && !slices.Contains(ids, e.ID):
			if len(ids) == limit {
				found.More = true
				continue
			}
			ids = append(ids, e.ID)
		case e.ID == "" && !e.ofConnection():
			if len(found.Others) == limit {
				found.More = true
				continue
			}
			found.Others = append(found.Others, e)
		}
	}
	slices.Reverse(found.Others)
	if len(ids) == 0 {
		return found, nil
	}
	all, err := Search(ctx, fsys, Query{IDs: ids})
	found.Damaged += all.Damaged
	found.Messages = tell(all.Events, ids)
	return found, err
}

// ofConnection reports whether the event tells nothing but that a client was there.
func (e *Event) ofConnection() bool {
	return e.Kind == Connected || e.Kind == Secured || e.Kind == Disconnected
}

// tell sorts events by their messages. An event of a report is told with the report and with the
// message that it is about.
func tell(events []Event, ids []string) []Story {
	stories := make([]Story, len(ids))
	for i, id := range ids {
		s := &stories[i]
		s.ID = id
		for _, e := range events {
			if e.ID == id || e.Parent == id && (e.Kind == Reported || e.Kind == Answered) {
				s.Events = append(s.Events, e)
			}
		}
		s.conclude()
	}
	slices.SortStableFunc(stories, func(a, b Story) int { return a.began().Compare(b.began()) })
	return stories
}

func (s *Story) began() time.Time {
	if len(s.Events) == 0 {
		return time.Time{}
	}
	return s.Events[0].Time
}

// outcomes are the states of a recipient after an event.
var outcomes = map[Kind]string{
	Delivered: "in the mailbox", OverQuota: "refused: the mailbox is full", Queued: "queued",
	Deferred: "waits for the next attempt", Relayed: "relayed", Failed: "not delivered",
	Fetched: "fetched", Deleted: "fetched and deleted", Expired: "expired",
	Discarded: "discarded by a rule", Archived: "in the archive", Restored: "in the mailbox",
}

// conclude fills in the fields that come from the events.
func (s *Story) conclude() {
	s.Recipients = []Outcome{}
	for _, e := range s.Events {
		if e.ID != s.ID {
			continue
		}
		s.MessageID, s.Subject = cmp.Or(s.MessageID, e.MessageID), cmp.Or(s.Subject, e.Subject)
		s.From = cmp.Or(s.From, e.From)
		switch e.Kind {
		case Removed, Badmail, Held, Released:
			s.conclusionForAll(e)
		default:
			s.conclusion(e, e.To, outcomes[e.Kind])
		}
	}
}

// conclusion stores the state of a recipient.
func (s *Story) conclusion(e Event, to, state string) {
	if to == "" || state == "" {
		return
	}
	is := func(o Outcome) bool { return strings.EqualFold(o.To, to) }
	i := slices.IndexFunc(s.Recipients, is)
	switch {
	case i < 0:
		s.Recipients = append(s.Recipients, Outcome{To: to})
		i = len(s.Recipients) - 1
	case e.Kind == Deleted && s.Recipients[i].State != outcomes[Fetched]:
		state = "deleted without being fetched"
	}
	s.Recipients[i].State, s.Recipients[i].Time = state, e.Time
}

// conclusionForAll stores a state that concerns every recipient that is queued.
func (s *Story) conclusionForAll(e Event) {
	state := e.Kind.String()
	if e.Kind == Released {
		state = outcomes[Queued]
	}
	for i, o := range s.Recipients {
		switch o.State {
		case outcomes[Queued], outcomes[Deferred], outcomes[Failed], "held", "badmail":
			s.Recipients[i].State, s.Recipients[i].Time = state, e.Time
		}
	}
}

// Words tells the event in a sentence.
func (e *Event) Words() string {
	switch e.Kind {
	case Connected:
		return "connected" + e.source()
	case Secured:
		return "began TLS" + e.source() + bracket(e.Text)
	case LoggedIn:
		return e.User + " logged in" + e.source() + bracket(e.Text)
	case LoginFailed:
		return "login failed" + with(" as ", e.User) + e.source() + with(": ", e.Rule) + bracket(e.Text)
	case Refused:
		return "refused" + with(" for ", e.To) + e.source() + with(": ", e.Reply) + bracket(e.Text)
	case Disconnected:
		return "disconnected" + e.source() + bracket(e.Text)
	case Listed:
		return fmt.Sprintf("%s opened the mailbox%s: %s, %s", e.User, e.source(),
			count(e.Count, "message"), octets(e.Size))
	case Accepted:
		return e.acceptedWords()
	}
	return e.deliveryWords()
}

func (e *Event) acceptedWords() string {
	if e.Service == "report" || e.Service == "answer" {
		return fmt.Sprintf("made by this server: %s for %s", octets(e.Size),
			count(e.Count, "recipient"))
	}
	by := ""
	if e.User != "" {
		by = ", sent by " + e.User
	}
	return fmt.Sprintf("accepted%s%s: %s for %s%s%s", e.source(), by, octets(e.Size),
		count(e.Count, "recipient"), with(", permitted by ", e.Rule), with(", written with ", e.Text))
}

// deliveryWords tells what happened to an accepted message.
func (e *Event) deliveryWords() string {
	switch e.Kind {
	case Expanded:
		return e.To + " stands for " + e.Target
	case Delivered:
		return "delivered to the mailbox " + e.To
	case OverQuota:
		return "not delivered to " + e.To + ": the mailbox is full"
	case Queued:
		return "queued for " + e.To
	case Deferred:
		return fmt.Sprintf("attempt %d for %s%s failed%s; next attempt %s", e.Count, e.To,
			with(" at ", e.Host), with(": ", e.Reply), e.Next.Local().Format(time.DateTime))
	case Relayed:
		return "handed to " + e.Host + " for " + e.To + with(": ", e.Reply) + with("; route ", e.Route)
	case Failed:
		return "cannot be delivered to " + e.To + with(" at ", e.Host) + with(": ", e.Reply)
	case Reported:
		return fmt.Sprintf("delivery report (%s) about %s sent to %s as %s", e.Text, e.Parent, e.To,
			e.ID)
	case Ruled:
		return fmt.Sprintf("%s of %s: %s", e.Rule, e.To, e.Text)
	case Discarded:
		return fmt.Sprintf("discarded by %s of %s", e.Rule, e.To)
	case Archived:
		return "copied to the archive " + e.To
	case Answered:
		return fmt.Sprintf("%s about %s sent to %s as %s", e.Text, e.Parent, e.To, e.ID)
	case Restored:
		return fmt.Sprintf("%s restored to the mailbox %s as %s", cmp.Or(e.Parent, "a deleted message"), e.To, e.ID)
	case Badmail:
		return "put into badmail" + with(": ", e.Text)
	case Held:
		return "held by an administrator"
	case Released:
		return "released by an administrator"
	case Fetched:
		return "fetched by " + e.User + e.source() + bracket(e.Text)
	case Deleted:
		return "deleted by " + e.User + e.source() + bracket(e.Text)
	case Expired:
		return "deleted" + with(" for ", e.To) + with(": ", e.Text)
	case Exported:
		return fmt.Sprintf("%s copied from %s%s", count(e.Count, "message"), e.To, with(" to ", e.Text))
	case Imported:
		return fmt.Sprintf("%s put into %s%s", count(e.Count, "message"), e.To, with(" from ", e.Text))
	case Removed:
		return "removed by an administrator" + with(" from ", e.To) + bracket(e.Text)
	}
	return "an event of a newer release"
}

// source tells where a client is.
func (e *Event) source() string {
	text := ""
	if e.Remote.IsValid() {
		text = " from " + e.Remote.String() + bracket(e.Host)
	}
	return text + with(" over ", e.Service)
}

func with(word, text string) string {
	if text == "" {
		return ""
	}
	return word + text
}

func bracket(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

func count(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// octets writes a size with at most one decimal.
func octets(n int64) string {
	size, unit := float64(n), 0
	for size >= 999.95 && unit < 3 {
		size, unit = size/1000, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %cB", size, "KMG"[unit-1])
}
