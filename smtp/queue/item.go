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

// version is that of the form in which items are written.
const version = 1

// ErrCorrupt says that the file of a message's state cannot be understood.
var ErrCorrupt = errors.New("the state of the message is corrupt")

// Item is a message in the queue: its envelope, and what became of it so far. It is what stands in the file of its state.
type Item struct {
	ID      string `json:"-"`
	Version int    `json:"version"`

	Arrived  time.Time `json:"arrived"`
	Size     int64     `json:"size"` // octets
	Source   Source    `json:"source"`
	Held     bool      `json:"held,omitempty"`    // by an administrator
	Released time.Time `json:"released,omitzero"` // when that ended: the time to give it up begins anew
	// Uncounted is by how much the clock was set forward since then, or how long the machine slept: it does not bring the
	// time nearer.
	Uncounted time.Duration `json:"uncounted,omitempty"`
	Parent    string        `json:"report_on,omitempty"` // of a report: the message that it is about

	From  addr.Address `json:"from,omitzero"`
	EnvID string       `json:"envid,omitempty"`
	Ret   string       `json:"ret,omitempty"`
	Body8 bool         `json:"body8,omitempty"`
	UTF8  bool         `json:"utf8,omitempty"`
	To    []Recipient  `json:"to"`

	read []byte // the state that was read, if a newer release wrote members into it that are not known here
}

// Source is where a message came from.
type Source struct {
	Service string       `json:"service,omitempty"`
	Remote  netip.Addr   `json:"remote,omitzero"`
	Helo    string       `json:"helo,omitempty"`
	User    addr.Address `json:"user,omitzero"`    // who had logged in
	Local   bool         `json:"inside,omitempty"` // it was written by one of us

	// Standing is what vouches for the sender. Versions that did not keep it wrote none: see StandingOf.
	Standing smtp.Standing `json:"standing,omitempty"`
}

// StandingOf is what vouches for the sender, also of a message that an earlier version took. hosted says that the
// sender's domain is one of ours.
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

// Recipient is one recipient elsewhere, and what became of the message for it.
type Recipient struct {
	Address   addr.Address `json:"address"`
	Notify    []string     `json:"notify,omitempty"`
	ORcptType string       `json:"orcpt_type,omitempty"`
	ORcpt     string       `json:"orcpt,omitempty"`

	Done       string     `json:"done,omitempty"` // one of the words below; "": it waits
	Attempts   int        `json:"attempts,omitempty"`
	Next       time.Time  `json:"next,omitzero"`
	Last       *Last      `json:"last,omitempty"` // attempt
	Told       bool       `json:"told,omitempty"` // the sender knows that it takes longer
	PendingDSN dsn.Action `json:"owed,omitempty"` // the report that is still to be made
}

// What a recipient that does not wait any more has come to.
const (
	doneDelivered = "delivered"
	doneFailed    = "failed"
)

// Last is an attempt and what came of it.
type Last struct {
	Time  time.Time  `json:"time"`
	Reply smtp.Reply `json:"reply"`
	MTA   string     `json:"mta,omitempty"`
}

// NewItem makes the item of a message that is being accepted for recipients elsewhere.
func NewItem(id string, env *smtp.Envelope, to []smtp.Recipient, source Source, size int64, now time.Time) *Item {
	item := &Item{
		ID: id, Version: version, Arrived: now.Round(0), Size: size, Source: source,
		From: env.From, EnvID: env.EnvID, Ret: env.Ret, Body8: env.Body8, UTF8: env.UTF8,
		To: make([]Recipient, len(to)),
	}
	for i, r := range to {
		item.To[i] = Recipient{Address: r.Address, Notify: r.Notify, ORcptType: r.ORcptType, ORcpt: r.ORcpt}
	}
	return item
}

// Encode writes the item as its state. It keeps what a newer release wrote there.
func (it *Item) Encode() []byte {
	text, err := json.Marshal(it)
	if err == nil && it.read != nil {
		text, err = it.withUnknown(text)
	}
	if err != nil {
		panic(err) // nothing in it can fail
	}
	return append(text, '\n')
}

// Decode reads what Encode wrote, here or in another release. The error is ErrCorrupt or a *NewerError.
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

// envelope is that of an attempt for some of the recipients.
func (it *Item) envelope(which []int) smtp.Envelope {
	env := smtp.Envelope{From: it.From, EnvID: it.EnvID, Ret: it.Ret, Body8: it.Body8, UTF8: it.UTF8, Size: it.Size}
	for _, i := range which {
		env.To = append(env.To, it.To[i].RCPT())
	}
	return env
}

// Envelope is that of the whole message, with all its recipients.
func (it *Item) Envelope() smtp.Envelope {
	env := it.envelope(nil)
	for i := range it.To {
		env.To = append(env.To, it.To[i].RCPT())
	}
	return env
}

// Wanted is the recipient as the sender gave it.
func (r *Recipient) RCPT() smtp.Recipient {
	return smtp.Recipient{Address: r.Address, Notify: r.Notify, ORcptType: r.ORcptType, ORcpt: r.ORcpt}
}

// waits reports whether the message is still to be brought to the recipient.
func (r *Recipient) waits() bool { return r.Done == "" }

// finished reports whether nothing is left to be done.
func (it *Item) finished() bool {
	for i := range it.To {
		if it.To[i].waits() || it.To[i].PendingDSN != "" {
			return false
		}
	}
	return true
}

// Release lets the time to give the message up begin anew.
func (it *Item) Release(now time.Time) { it.Released, it.Uncounted = now.Round(0), 0 }

// began is when the message arrived, or was released.
func (it *Item) began() time.Time {
	if it.Released.After(it.Arrived) {
		return it.Released
	}
	return it.Arrived
}

// since is from when the time counts after which it is given up.
func (it *Item) since() time.Time { return it.began().Add(it.Uncounted) }
