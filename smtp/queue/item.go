package queue

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
	"pillarbox/smtp/dsn"
)

// version is the version of the format of states.
const version = 1

// ErrCorrupt means that the state of a message was read but is invalid.
var ErrCorrupt = errors.New("the state of the message is corrupt")

// Item is a message in the queue: its envelope, and the progress for each recipient. Its JSON form
// is the state file beside the message.
type Item struct {
	ID      string `json:"-"`
	Version int    `json:"version"`

	Arrived  time.Time `json:"arrived"`
	Size     int64     `json:"size"` // octets
	Source   Source    `json:"source"`
	Held     bool      `json:"held,omitempty"`    // admin-held: an administrator stopped it
	Released time.Time `json:"released,omitzero"` // end of the last hold; expiry counts from here
	// Uncounted is the time since Arrived or Released that does not count for expiry: the clock was
	// set forward, or the machine slept.
	Uncounted time.Duration `json:"uncounted,omitempty"`
	Parent    string        `json:"report_on,omitempty"` // a report: the message it is about

	From addr.Address `json:"from,omitzero"`
	// Sender is the rewritten sender for the next server (SRS); zero: From.
	Sender addr.Address `json:"sender,omitzero"`
	EnvID  string       `json:"envid,omitempty"`
	Ret    string       `json:"ret,omitempty"`
	Body8  bool         `json:"body8,omitempty"`
	UTF8   bool         `json:"utf8,omitempty"`
	To     []Recipient  `json:"to"`

	read []byte // the state as read, if it has members that only a newer release knows
}

// Source says where a message came from.
type Source struct {
	Service string       `json:"service,omitempty"`
	Remote  netip.Addr   `json:"remote,omitzero"`
	Helo    string       `json:"helo,omitempty"`
	User    addr.Address `json:"user,omitzero"`    // mailbox that was logged in
	Local   bool         `json:"inside,omitempty"` // sent by a user or device of this server

	// Standing says how the sender was verified. Old versions did not store it; use StandingOf.
	Standing smtp.Standing `json:"standing,omitempty"`
}

// StandingOf returns the sender's standing, also for messages that an old version accepted. hosted
// says whether this server hosts the sender's domain.
func (s *Source) StandingOf(hosted bool) smtp.Standing {
	switch {
	case s.Standing != smtp.StandingUnknown:
		return s.Standing
	case !s.User.IsZero():
		return smtp.StandingLogin
	case s.Local && hosted:
		return smtp.StandingLocal
	}
	return smtp.StandingNone
}

// Recipient is one remote recipient, and the progress of its delivery.
type Recipient struct {
	Address   addr.Address `json:"address"`
	Notify    []string     `json:"notify,omitempty"`
	ORcptType string       `json:"orcpt_type,omitempty"`
	ORcpt     string       `json:"orcpt,omitempty"`

	Done       string     `json:"done,omitempty"`     // a done value; "": still pending
	Attempts   int        `json:"attempts,omitempty"` // those that lengthen the wait for the next
	ByHand     int        `json:"by_hand,omitempty"`  // others: an administrator asked for them
	Next       time.Time  `json:"next,omitzero"`
	Last       *Last      `json:"last,omitempty"` // last attempt
	DelaySent  bool       `json:"told,omitempty"` // a report of delay was made
	PendingDSN dsn.Action `json:"owed,omitempty"` // report that must still be made
}

// Tries returns the number of all attempts.
func (r *Recipient) Tries() int { return r.Attempts + r.ByHand }

// Values of Recipient.Done.
const (
	doneDelivered = "delivered"
	doneFailed    = "failed"
)

// Last is the last attempt for a recipient, and its result.
type Last struct {
	Time  time.Time  `json:"time"`
	Reply smtp.Reply `json:"reply"`
	MTA   string     `json:"mta,omitempty"`
}

// NewItem makes the item of a message that is being accepted for remote recipients.
func NewItem(
	id string, env *smtp.Envelope, to []smtp.Recipient, source Source, size int64, now time.Time,
) *Item {
	item := &Item{
		ID: id, Version: version, Arrived: now.Round(0), Size: size, Source: source,
		From: env.From, Sender: env.Sender, EnvID: env.EnvID, Ret: env.Ret, Body8: env.Body8,
		UTF8: env.UTF8,
		To:   make([]Recipient, len(to)),
	}
	for i, r := range to {
		item.To[i] = Recipient{
			Address: r.Address, Notify: r.Notify, ORcptType: r.ORcptType, ORcpt: r.ORcpt,
		}
	}
	return item
}

// Encode returns the item's state. Members that a newer release wrote are kept.
func (it *Item) Encode() []byte {
	text, err := json.Marshal(it)
	if err == nil && it.read != nil {
		text, err = it.withUnknown(text)
	}
	if err != nil {
		panic(err) // no member can fail to marshal
	}
	return append(text, '\n')
}

// Decode reads a state. The error is ErrCorrupt or a *NewerError.
func Decode(id string, state []byte) (*Item, error) {
	it := &Item{ID: id}
	if !decodeKnown(state, it) || it.Version > version {
		if v := versionOf(state); v > version {
			return nil, &NewerError{id, v}
		}
		*it = Item{ID: id, read: state}
		if err := json.Unmarshal(state, it); err != nil {
			return nil, fmt.Errorf("%s: %w: %w", id, ErrCorrupt, err)
		}
	}
	switch {
	case it.Version != version:
		return nil, fmt.Errorf("%s: %w: version %d", id, ErrCorrupt, it.Version)
	case len(it.To) == 0 || it.Arrived.IsZero():
		return nil, fmt.Errorf("%s: %w: no recipients, or no time of arrival", id, ErrCorrupt)
	}
	for _, r := range it.To {
		if r.Address.IsZero() {
			return nil, fmt.Errorf("%s: %w: a recipient without address", id, ErrCorrupt)
		}
	}
	return it, nil
}

// envelope is the envelope of an attempt for the recipients with these indexes.
func (it *Item) envelope(which []int) smtp.Envelope {
	env := smtp.Envelope{
		From: it.From, Sender: it.Sender, EnvID: it.EnvID, Ret: it.Ret, Body8: it.Body8,
		UTF8: it.UTF8, Size: it.Size,
	}
	for _, i := range which {
		env.To = append(env.To, it.To[i].RCPT())
	}
	return env
}

// Envelope returns the envelope of the whole message, with all its recipients.
func (it *Item) Envelope() smtp.Envelope {
	env := it.envelope(nil)
	for i := range it.To {
		env.To = append(env.To, it.To[i].RCPT())
	}
	return env
}

// RCPT returns the recipient as the RCPT command named it.
func (r *Recipient) RCPT() smtp.Recipient {
	return smtp.Recipient{
		Address: r.Address, Notify: r.Notify, ORcptType: r.ORcptType, ORcpt: r.ORcpt,
	}
}

// pending reports whether the message must still be delivered to the recipient.
func (r *Recipient) pending() bool { return r.Done == "" }

// finished reports whether no delivery and no report is pending, so that the message can leave.
func (it *Item) finished() bool {
	for i := range it.To {
		if it.To[i].pending() || it.To[i].PendingDSN != "" {
			return false
		}
	}
	return true
}

// Release restarts the time until the message expires.
func (it *Item) Release(now time.Time) { it.Released, it.Uncounted = now.Round(0), 0 }

// began is when the message arrived or was last released.
func (it *Item) began() time.Time {
	if it.Released.After(it.Arrived) {
		return it.Released
	}
	return it.Arrived
}

// since is the time from which expiry counts.
func (it *Item) since() time.Time { return it.began().Add(it.Uncounted) }
