package admin

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp/queue"
)

// QueueChoice chooses messages in the queue, each member as a person types it. What is given
// together must all be true; the zero value chooses all.
type QueueChoice struct {
	Words    []string // IDs, or parts of them: see QueueIDs
	Domain   string   // of recipients that still wait
	To, From string   // From may be <>
	Older    string   // "2h", "3d"
	Held     bool
	All      bool // for verbs that change something: no member is given on purpose
}

// errNoChoice is a choice of no message. A verb that changes messages does not take that for all.
func errNoChoice() error {
	return Hint(usage(errors.New("no message is chosen")), "name the messages, or say --all")
}

// empty reports whether a choice gives nothing, which means all messages.
func (c QueueChoice) empty() bool {
	return len(c.Words) == 0 && c.Domain == "" && c.To == "" && c.From == "" && c.Older == "" && !c.Held
}

// filter reads a choice.
func (o *Service) filter(c QueueChoice) (f queue.Filter, err error) {
	f.Held = c.Held
	if c.Domain != "" {
		if f.Domain, err = addr.ParseDomain(c.Domain); err != nil {
			return f, Hint(usage(fmt.Errorf("--domain %q: %w", c.Domain, err)), "write it like partner.example")
		}
	}
	if f.To, err = o.parseFlag("to", c.To); err != nil {
		return f, err
	}
	if f.Null = c.From == "<>"; !f.Null {
		if f.From, err = o.parseFlag("from", c.From); err != nil {
			return f, err
		}
	}
	if f.Older, err = ParseAge(c.Older); err == nil && len(c.Words) > 0 {
		f.IDs, err = o.QueueIDs(c.Words)
	}
	return f, err
}

// parseFlag reads the address that a flag has; "" is none.
func (o *Service) parseFlag(flag, text string) (addr.Address, error) {
	if text == "" {
		return addr.Address{}, nil
	}
	address, err := o.ParseUser(text)
	if err != nil {
		return address, Hint(usage(fmt.Errorf("--%s: %w", flag, err)), "write it like anna@partner.example")
	}
	return address, nil
}

// maxAge is older than any message in a queue.
const maxAge = 10 * 365 * 24 * time.Hour

// ParseAge reads a time as in "2h" and, beyond what Go knows, "3d". "" is 0.
func ParseAge(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	age, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n float64
		n, err = strconv.ParseFloat(days, 64)
		age = time.Duration(min(n, maxAge.Hours()) * float64(24*time.Hour))
	}
	if err != nil || age <= 0 || age > maxAge {
		return 0, Hint(usage(fmt.Errorf("--older %q is not a time", text)), "write it like 90m, 2h or 3d")
	}
	return age, nil
}

// QueueQuestion asks for messages in the queue.
type QueueQuestion struct {
	Choice QueueChoice
	Limit  int // of messages; 0: all
}

// QueueListing is messages in the queue, the oldest first.
type QueueListing struct {
	Running  bool            `json:"running"` // a server runs; otherwise this is what the files say
	Count    int             `json:"count"`   // beyond the limit too
	Messages []QueuedMessage `json:"messages"`
	Newer    []string        `json:"newer"` // IDs of messages of a newer release: they are not sent
	// Destinations cannot be reached, or hold mail for ETRN.
	Destinations []queue.Destination `json:"destinations"`
}

// QueueFound is a listing with the names of its destinations for people.
type QueueFound struct {
	Listing QueueListing
	Names   []string // parallel to Listing.Destinations
}

// ListQueue lists messages in the queue. The running server tells what they wait for; without one
// the files are read.
func (o *Service) ListQueue(q QueueQuestion) (found QueueFound, err error) {
	f, err := o.filter(q.Choice)
	if err != nil {
		return found, err
	}
	found.Listing, err = o.lookIntoQueue(f, q.Limit)
	for _, d := range found.Listing.Destinations {
		found.Names = append(found.Names, DestinationText(&o.Config().Routes, d.Key))
	}
	return found, err
}

// lookIntoQueue lists what a filter chooses. If it chooses, only the destinations of these
// messages are of interest.
func (o *Service) lookIntoQueue(f queue.Filter, limit int) (QueueListing, error) {
	l := QueueListing{
		Messages: []QueuedMessage{}, Destinations: []queue.Destination{}, Newer: []string{},
	}
	view := QueueView{Routes: &o.Config().Routes, Now: time.Now()}
	var items []*queue.Item
	var err error
	if r := o.Running; r != nil {
		l.Running = true
		items, l.Count, err = r.Queue.List(f, limit)
		l.Newer, view.Active = append(l.Newer, r.Queue.Newer()...), r.Queue.Active()
		for _, d := range r.Queue.Destinations() {
			if d.ETRNHeld || d.Failures > 0 || !d.NotBefore.IsZero() {
				view.Destinations = append(view.Destinations, d)
			}
		}
	} else {
		var out LeftOut
		items, l.Count, out, err = o.ReadQueue(f, limit, view.Now)
		l.Newer = append(l.Newer, out.Newer...)
		o.noteOffline(out, err)
	}
	if err != nil {
		return l, newerHint(err, f)
	}
	for _, it := range items {
		l.Messages = append(l.Messages, view.Look(it))
	}
	if !reflect.DeepEqual(f, queue.Filter{}) {
		view.Destinations = view.Concern(l.Messages)
	}
	l.Destinations = append(l.Destinations, view.Destinations...)
	return l, nil
}

func (o *Service) noteOffline(out LeftOut, err error) {
	if err != nil {
		return
	}
	o.note("the server is not running: no mail is sent until 'pillarbox serve' starts it")
	if out.Damaged > 0 {
		o.note("%d more cannot be parsed; the server moves them to quarantine when it starts", out.Damaged)
	}
}

// newerHint adds what to do about a message that was named and that a newer release wrote.
func newerHint(err error, f queue.Filter) error {
	if _, newer := errors.AsType[*queue.NewerError](err); !newer || len(f.IDs) == 0 {
		return err
	}
	return Hint(err, "start the newer release again: it sends the message")
}
