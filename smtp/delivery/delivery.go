// Package delivery takes accepted messages to their recipients. One commit puts a message into all
// local mailboxes and, for remote recipients, into the queue. The package also makes the delivery
// reports (DSN), which are messages themselves.
//
// Start with Dispatcher. The SMTP server calls Commit with a message that a client sent; pickup and
// the POP3 collector call Inject; the queue calls Report. After a nil error the message is durable
// for every recipient but full mailboxes, which the sender learns of. A message must never be lost
// without a report: if none can be sent, it goes to badmail, unless the configuration says Discard.
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
	"pillarbox/mailstore/absence"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/track"
	"pillarbox/smtp"
	"pillarbox/smtp/badmail"
	"pillarbox/smtp/dsn"
	"pillarbox/smtp/queue"
	"pillarbox/smtp/rate"
)

// Config is the part of a Dispatcher's settings that can change while it runs.
type Config struct {
	Hostname       string
	Language       dsn.Language
	From           addr.Address // sender of reports; zero: MAILER-DAEMON at Hostname
	CopyTo         addr.Address // gets a copy of reports of failure; zero: none
	MaxReturn      int64        // octets; larger messages are returned as their header only
	Success        bool         // make the reports of success that senders ask for
	Relayed        bool         // also that a server without DSN has taken the message
	NullSender     NullSender
	DeferOverQuota bool // if a mailbox is full, refuse with 452 instead of 552
	RefuseGroups   bool // report messages to groups as failed, if no session has refused them
	Strangers      Strangers
	PerAddress     int // reports and notices to one address in an hour; 0: no limit
	PerHour        int // to all addresses in an hour; 0: no limit
	// Vouch verifies a remote sender that was not verified when the message came. nil: none is
	// verified later.
	Vouch func(source *queue.Source, from addr.Address) smtp.Standing
	// MayLeave reports whether a rule may send mail on to other servers that a user here has sent, or
	// for the zero address somebody else. nil: it may.
	MayLeave func(user addr.Address) bool
	// ForwardsPerHour is the number of addresses on other servers to which rules send mail of one user
	// in an hour; 0: no limit.
	ForwardsPerHour int
	// Rewrite rewrites the sender of mail that is forwarded to other servers, into an address of a
	// hosted domain (SRS). nil: the sender stays.
	Rewrite func(from addr.Address, domain addr.Domain) (addr.Address, error)
}

// Strangers says which remote senders get reports (reports.strangers).
type Strangers int

// The values of Strangers. The zero value is the one that cannot be abused.
const (
	NoStrangers       Strangers = iota
	VerifiedStrangers           // SPF or DMARC verified the sender
	AllStrangers                // also addresses that may be forged
)

// NullSender says what happens to undeliverable mail that cannot be reported: it has no sender, or
// its sender is not verified (Domino's RouterDSNForNULLReversePath).
type NullSender int

// The values of NullSender.
const (
	ToBadmail    NullSender = iota // kept in data/badmail
	ToPostmaster                   // reported to the postmaster
	Discard                        // logged and deleted
)

// Queue accepts messages for other servers. In production it is *queue.Queue.
type Queue interface{ Add(*queue.Item) }

// Parts are the components that a Dispatcher works with.
type Parts struct {
	Dir     *directory.Directory
	Store   *mailstore.Store
	Badmail *badmail.Store
	Track   *track.Log // nil: no events
	// Answers remembers who got an absence notice or the answer of a rule; nil: none is sent.
	Answers *absence.Memory
	Log     *slog.Logger
}

// Dispatcher delivers messages and makes reports. It is safe for concurrent use.
type Dispatcher struct {
	Parts
	// Queue must be set before the first message. It is not in Parts because the queue needs the
	// Dispatcher for its reports.
	Queue Queue

	config     atomic.Pointer[Config]
	limiter    *rate.Limiter // counts reports and notices by address
	suppressed atomic.Int64
}

// New returns a Dispatcher without a Queue.
func New(cfg Config, parts Parts) *Dispatcher {
	d := &Dispatcher{Parts: parts, limiter: rate.New(limitedAddresses)}
	d.config.Store(&cfg)
	return d
}

// SetConfig takes effect for the next message.
func (d *Dispatcher) SetConfig(cfg Config) { d.config.Store(&cfg) }

// Target is a recipient with the places where its mail goes.
type Target struct {
	smtp.Recipient
	Boxes  []directory.Mailbox // local mailboxes
	Remote []addr.Address      // remote addresses
	Full   []addr.Address      // mailboxes already found full
	// Passed are local mailboxes on the way that store nothing, because they forward without a copy.
	Passed   []directory.Mailbox
	Archives []addr.Address // mailboxes that get a copy
}

// NewTarget returns the target of a recipient that the directory resolved to res.
func NewTarget(to smtp.Recipient, res directory.Resolution) Target {
	t := Target{
		Recipient: to, Boxes: res.Mailboxes, Remote: res.Forward, Passed: res.Passed,
		Archives: res.Archives,
	}
	if res.Kind == directory.Remote {
		t.Remote = []addr.Address{to.Address}
	}
	return t
}

// Message is a message that is being delivered.
type Message struct {
	Envelope *smtp.Envelope
	Targets  []Target
	Source   queue.Source
	// Header is the message's header. Reports about local mailboxes return it.
	Header []byte
	Rule   string // what permitted the message, for its events
	Device string // that sent the message without a login, for its events
	Parent string // the ID of the message that this one is a report about
	// Refusable means that the client waits for the reply, so that a rule can refuse the message.
	Refusable bool
}

// Commit makes the message durable for all recipients and adds it to the queue. Full mailboxes are
// left out while the message has other mailboxes or remote recipients. full names them, and the
// sender gets a report as requested. If no recipient remains, the error is a *smtp.Reply. A rule of a
// mailbox may refuse the message, with a *Refusal, or discard it: then nothing is stored, and there is
// no error.
func (d *Dispatcher) Commit(in *mailstore.Incoming, m *Message) (full []addr.Address, err error) {
	began := time.Now()
	settings, err := d.apply(in, m)
	if err != nil {
		return nil, err
	}
	item := d.item(in, m)
	if item != nil {
		in.Spool(item.Encode())
	}
	boxes := m.boxes()
	dirs := make([]string, len(boxes))
	for i, box := range boxes {
		if box.New {
			if _, err := d.Dir.Make(box); err != nil {
				return nil, err
			}
			d.Log.Info("mailbox created at its first delivery", "mailbox", box.Address.String())
		}
		dirs[i] = box.Dir
	}
	for settings.stores(dirs, item) {
		all, archives := addCopies(dirs, settings.archives)
		in.IgnoreQuotaOf(archives)
		_, err = in.Commit(all)
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
			return full, d.config.Load().FullReply(full, over)
		}
		if d.mustRetry(m) {
			return full, retryReply(full, over)
		}
		isFull := func(dir string) bool { return slices.Contains(over.Dirs, dir) }
		dirs = slices.DeleteFunc(dirs, isFull)
	}
	if err != nil {
		return nil, err
	}
	d.track(in, m, item, full, time.Since(began))
	d.trackApplied(in.ID(), m, settings, in.Size())
	if item != nil {
		d.Queue.Add(item)
	}
	full = d.reportLocal(in.ID(), m, full)
	d.sendAnswers(in.ID(), m, settings, full)
	return full, nil
}

// stores reports whether the message goes anywhere. Rules may have discarded it.
func (a *applied) stores(dirs []string, item *queue.Item) bool {
	return len(dirs)+len(a.archives) > 0 || item != nil || !a.ruled
}

// item returns the queue's item for the remote recipients; nil if there are none.
func (d *Dispatcher) item(in *mailstore.Incoming, m *Message) *queue.Item {
	var away []smtp.Recipient
	for i := range m.Targets {
		t := &m.Targets[i]
		for _, a := range t.Remote {
			if !slices.ContainsFunc(away, func(r smtp.Recipient) bool { return r.Address == a }) {
				away = append(away, t.forwarded(a))
			}
		}
	}
	if len(away) == 0 {
		return nil
	}
	env := *m.Envelope
	env.Sender = d.rewritten(in.ID(), m)
	return queue.NewItem(in.ID(), &env, away, m.Source, in.Size(), time.Now())
}

// rewritten returns the sender for the next server, if a remote sender's message is forwarded from
// here: SPF there would not find the sender's own servers. The zero address means no change. A
// sender that cannot be rewritten is no reason to lose the message.
func (d *Dispatcher) rewritten(id string, m *Message) addr.Address {
	rewrite, from := d.config.Load().Rewrite, m.Envelope.From
	i := slices.IndexFunc(m.Targets, d.forwards)
	if rewrite == nil || from.IsZero() || i < 0 || !d.isRemote(from) {
		return addr.Address{}
	}
	sender, err := rewrite(from, m.Targets[i].Address.Domain)
	if err != nil {
		d.Log.Warn("forwarded with its own sender, which may fail SPF", "message_id", id,
			"from", from.String(), "error", err)
	}
	return sender
}

// forwards reports whether an address here leads to one of another domain.
func (d *Dispatcher) forwards(t Target) bool {
	return slices.ContainsFunc(t.Remote,
		func(a addr.Address) bool { return a != t.Address && d.isRemote(a) })
}

func (d *Dispatcher) isRemote(a addr.Address) bool {
	hosted, err := d.Dir.Hosts(a.Domain)
	return !hosted && err == nil
}

// forwarded returns the recipient as the next server must see it, with the sender's original
// recipient and report requests (RFC 3461 §5.2.7). If the recipient expands to several addresses,
// the next servers report failures and delays only; this server reports the expansion.
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
		isSuccess := func(word string) bool { return word == string(dsn.OnSuccess) }
		r.Notify = slices.DeleteFunc(slices.Clone(r.Notify), isSuccess)
		if len(r.Notify) == 0 {
			r.Notify = []string{"NEVER"}
		}
	}
	return r
}

// expands reports whether the recipient stands for several mailboxes or addresses.
func (t *Target) expands() bool { return len(t.Boxes)+len(t.Remote)+len(t.Full) > 1 }

// boxes returns the mailboxes that get the message, each once.
func (m *Message) boxes() []directory.Mailbox {
	if len(m.Targets) == 1 {
		return m.Targets[0].Boxes
	}
	var all []directory.Mailbox
	for i := range m.Targets {
		all = append(all, m.Targets[i].Boxes...)
	}
	byDir := func(a, b directory.Mailbox) int { return cmp.Compare(a.Dir, b.Dir) }
	slices.SortStableFunc(all, byDir)
	return slices.CompactFunc(all, func(a, b directory.Mailbox) bool { return a.Dir == b.Dir })
}

// mustRetry reports whether Commit must refuse the whole message for now, because a mailbox turned
// out to be full after the data came. The client's next try gets the refusal at RCPT, and the
// others get the message once. This applies to port 25 with a declared SIZE: without SIZE, each try
// would end the same way. It does not apply to the null sender or to senders that get a report
// instead.
func (d *Dispatcher) mustRetry(m *Message) bool {
	if m.Source.Service != smtp.MTA.String() || m.Envelope.Size == 0 || m.Envelope.From.IsZero() {
		return false
	}
	return !mayGetReport(d.config.Load().Strangers, m.Source.StandingOf(false))
}

func retryReply(full []addr.Address, err error) *smtp.Reply {
	if room := roomText(err); room != "" {
		return smtp.NewReply(452, [3]int{4, 2, 2},
			"The mailbox %s %s; send the message again, to the others", full[0], room)
	}
	return smtp.NewReply(452, [3]int{4, 2, 2},
		"The mailbox %s has just become full; send the message again, to the others", full[0])
}

// roomText is what the quota's error says to the sender; "" if the mailbox is simply full.
func roomText(err error) string {
	if e, ok := errors.AsType[interface {
		error
		ForSender() string
	}](err); ok {
		return e.ForSender()
	}
	return ""
}

// FullReply returns the refusal for full mailboxes: 552, so that the sender learns it at once, or
// 452 with DeferOverQuota (RFC 3463 §3.3, X.2.2). err is the store's error for the first of them: a
// mailbox that lacks room for this message only is not called full.
func (c *Config) FullReply(full []addr.Address, err error) *smtp.Reply {
	text, room := fmt.Sprintf("The mailbox %s is full", full[0]), roomText(err)
	switch {
	case room != "" && len(full) > 1:
		text = fmt.Sprintf("No recipient's mailbox has the room: %s %s", full[0], room)
	case room != "":
		text = fmt.Sprintf("The mailbox %s %s", full[0], room)
	case len(full) > 1:
		text = "The mailboxes of all recipients are full"
	}
	if c.DeferOverQuota {
		return smtp.NewReply(452, [3]int{4, 2, 2}, "%s, try again later", text)
	}
	return smtp.NewReply(552, [3]int{5, 2, 2}, "%s", text)
}

// FullReply returns the refusal for full mailboxes under the current configuration.
func (d *Dispatcher) FullReply(full []addr.Address, err error) *smtp.Reply {
	return d.config.Load().FullReply(full, err)
}
