// Package delivery brings mail that was accepted to where it goes: into mailboxes here, and into the queue for other
// servers, both at once; and it makes the reports that senders are owed, which are mail themselves.
package delivery

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/smtp"
	"pillarbox/smtp/badmail"
	"pillarbox/smtp/dsn"
	"pillarbox/smtp/queue"
	"pillarbox/smtp/rate"
)

// Config is what a Dispatcher can be told anew while it runs.
type Config struct {
	Hostname       string
	Language       dsn.Language
	From           addr.Address // of reports; zero: MAILER-DAEMON at Hostname
	CopyTo         addr.Address // gets reports of failures too; zero: nobody does
	MaxReturn      int64        // octets of a message up to which it goes back whole
	Success        bool         // reports of success are made where they are asked for
	NullSender     NullSender
	DeferOverQuota bool // a full mailbox refuses for now (452), not for good (552)
	Strangers      Strangers
	PerAddress     int // reports and notices to one address in an hour; 0: no limit
	PerHour        int // to all together; 0: no limit
	// Vouch finds the standing of a stranger whose message had none when it came. nil: all stay strangers.
	Vouch func(source *queue.Source, from addr.Address) smtp.Standing
}

// Strangers is which senders outside the office are sent reports.
type Strangers int

// The choices. The zero value is the one that no stranger can use against others.
const (
	NoStrangers       Strangers = iota
	VerifiedStrangers           // whose domain vouches for them, by SPF or DMARC
	AllStrangers                // also an address that may be forged
)

// NullSender is what becomes of mail that cannot be delivered and whose sender cannot be told: the mail has no sender, or
// a sender without a standing (Domino's RouterDSNForNULLReversePath).
type NullSender int

// The choices.
const (
	ToBadmail    NullSender = iota // kept in data/badmail
	ToPostmaster                   // reported to the postmaster
	Discard                        // logged, and gone
)

// Queue takes mail for other servers. *queue.Queue is the one in use.
type Queue interface{ Add(*queue.Item) }

// Parts are what a Dispatcher works with.
type Parts struct {
	Dir     *directory.Directory
	Store   *mailstore.Store
	Badmail *badmail.Store
	Log     *slog.Logger
}

// Dispatcher is safe for concurrent use.
type Dispatcher struct {
	Parts
	// Queue is set before the first message: it needs the dispatcher for its reports.
	Queue Queue

	config     atomic.Pointer[Config]
	told       *rate.Limiter // reports and notices by address
	suppressed atomic.Int64
}

// New makes a Dispatcher.
func New(cfg Config, parts Parts) *Dispatcher {
	d := &Dispatcher{Parts: parts, told: rate.New(limitedAddresses)}
	d.config.Store(&cfg)
	return d
}

// SetConfig takes effect for messages to come.
func (d *Dispatcher) SetConfig(cfg Config) { d.config.Store(&cfg) }

// Target is a recipient and where mail for it goes.
type Target struct {
	smtp.Recipient
	Boxes  []directory.Mailbox // here
	Remote []addr.Address      // elsewhere
	Full   []addr.Address      // mailboxes that were found without room already
}

// NewTarget is the target of a recipient that resolves to res.
func NewTarget(to smtp.Recipient, res directory.Resolution) Target {
	t := Target{Recipient: to, Boxes: res.Mailboxes, Remote: res.Forward}
	if res.Kind == directory.Remote {
		t.Remote = []addr.Address{to.Address}
	}
	return t
}

// Message is a message that is being dispatched.
type Message struct {
	Envelope *smtp.Envelope
	Targets  []Target
	Source   queue.Source
	// Header is the message's, to go back with reports about mailboxes here.
	Header []byte
}

// Commit makes the message durable wherever it goes, and tells the queue. Mailboxes that have no room for it are left out
// as long as there are others, or recipients elsewhere: full names them, and the sender gets the report that he is
// owed. Where nothing is left, the error is a *smtp.Reply.
func (d *Dispatcher) Commit(in *mailstore.Incoming, p *Message) (full []addr.Address, err error) {
	item := d.item(in, p)
	if item != nil {
		in.Spool(item.Encode())
	}
	boxes := p.boxes()
	dirs := make([]string, len(boxes))
	for i, box := range boxes {
		if box.New {
			if _, err := d.Dir.Make(box); err != nil {
				return nil, err
			}
			d.Log.Info("mailbox made at its first delivery", "mailbox", box.Address.String())
		}
		dirs[i] = box.Dir
	}
	for {
		_, err = in.Commit(dirs)
		over, ok := errors.AsType[*mailstore.OverQuotaError](err)
		if !ok {
			break
		}
		for _, box := range boxes {
			if slices.Contains(over.Dirs, box.Dir) {
				full = append(full, box.Address)
			}
		}
		if len(over.Dirs) == len(dirs) && item == nil {
			return full, d.config.Load().FullReply(full)
		}
		if d.mustSendAgain(p) {
			return full, sendAgainReply(full)
		}
		dirs = slices.DeleteFunc(dirs, func(dir string) bool { return slices.Contains(over.Dirs, dir) })
	}
	if err != nil {
		return nil, err
	}
	if item != nil {
		d.Queue.Add(item)
	}
	return d.reportHere(in.ID(), p, full), nil
}

// item is what the queue gets of the message; nil: nothing.
func (d *Dispatcher) item(in *mailstore.Incoming, p *Message) *queue.Item {
	var away []smtp.Recipient
	for i := range p.Targets {
		t := &p.Targets[i]
		for _, a := range t.Remote {
			if !slices.ContainsFunc(away, func(r smtp.Recipient) bool { return r.Address == a }) {
				away = append(away, t.forwarded(a))
			}
		}
	}
	if len(away) == 0 {
		return nil
	}
	return queue.NewItem(in.ID(), p.Envelope, away, p.Source, in.Size(), time.Now())
}

// forwarded is the recipient as the next server is to see it: who the sender wrote to, and what he wants to hear, go
// along (RFC 3461 §5.2.7). Of several ends only failures and delays are told; that it was expanded is told here.
func (t *Target) forwarded(a addr.Address) smtp.Recipient {
	r := t.Recipient
	if r.ORcpt == "" && a != r.Address {
		r.ORcptType, r.ORcpt = "RFC822", r.Address.String()
		if !r.Address.IsASCII() {
			r.ORcptType = "UTF-8"
		}
	}
	r.Address = a
	if t.expands() && dsn.Wanted(r.Notify, dsn.OnSuccess) {
		r.Notify = slices.DeleteFunc(slices.Clone(r.Notify), func(word string) bool { return word == string(dsn.OnSuccess) })
		if len(r.Notify) == 0 {
			r.Notify = []string{"NEVER"}
		}
	}
	return r
}

// expands reports whether mail for the recipient goes to several ends.
func (t *Target) expands() bool { return len(t.Boxes)+len(t.Remote)+len(t.Full) > 1 }

// boxes are the mailboxes that get the message, each once.
func (p *Message) boxes() []directory.Mailbox {
	if len(p.Targets) == 1 {
		return p.Targets[0].Boxes
	}
	var all []directory.Mailbox
	for i := range p.Targets {
		all = append(all, p.Targets[i].Boxes...)
	}
	slices.SortStableFunc(all, func(a, b directory.Mailbox) int { return cmp.Compare(a.Dir, b.Dir) })
	return slices.CompactFunc(all, func(a, b directory.Mailbox) bool { return a.Dir == b.Dir })
}

// mustSendAgain reports whether a message for several is refused for now because one mailbox has no room, which came out
// when all of it was there. A sender whom a report would reach gets that instead, and a client that did not say how long
// its message is would be refused in the same way each time. For all others the next try is the answer: its RCPT for
// the full mailbox is refused, and the rest get the message once.
func (d *Dispatcher) mustSendAgain(p *Message) bool {
	if p.Source.Service != smtp.MTA.String() || p.Envelope.Size == 0 || p.Envelope.From.IsZero() {
		return false
	}
	return !mayHear(d.config.Load().Strangers, p.Source.StandingOf(false))
}

func sendAgainReply(full []addr.Address) *smtp.Reply {
	return smtp.NewReply(452, [3]int{4, 2, 2}, "The mailbox %s has just become full; send the message again, to the others", full[0])
}

// FullReply refuses for want of room in these mailboxes: for good, so that the sender learns of it at once, or by
// setting for now (RFC 3463 §3.3, X.2.2).
func (c *Config) FullReply(full []addr.Address) *smtp.Reply {
	text := fmt.Sprintf("The mailbox %s is full", full[0])
	if len(full) > 1 {
		text = "The mailboxes of all recipients are full"
	}
	if c.DeferOverQuota {
		return smtp.NewReply(452, [3]int{4, 2, 2}, "%s, try again later", text)
	}
	return smtp.NewReply(552, [3]int{5, 2, 2}, "%s", text)
}

// FullReply is that of the configuration in force.
func (d *Dispatcher) FullReply(full []addr.Address) *smtp.Reply {
	return d.config.Load().FullReply(full)
}
