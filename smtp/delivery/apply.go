package delivery

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/absence"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/head"
	"pillarbox/mailstore/rules"
	"pillarbox/mailstore/track"
	"pillarbox/smtp"
	"pillarbox/smtp/dsn"
	"pillarbox/smtp/queue"
)

// This file lets the rules of mailboxes decide about a message before its commit.

// Refusal is the error of Commit for a message that a rule refuses. Nothing was stored.
type Refusal struct {
	Mailbox addr.Address
	Rule    int // its number in the mailbox's list, from 1 on
	Reply   *smtp.Reply
}

func (e *Refusal) Error() string { return e.Reply.Error() }

// Unwrap returns the reply.
func (e *Refusal) Unwrap() error { return e.Reply }

// maxForwards is the length of the longest chain of forwards by rules.
const maxForwards = 20

// applied is what the settings of the mailboxes make of one message.
type applied struct {
	head     head.Head
	boxes    []ruledBox          // the mailboxes that the message came for
	events   []track.Event       // what rules did
	archives []directory.Mailbox // get a copy
	ruled    bool                // a rule had a say, so that nothing may be left to store
}

// ruledBox is a mailbox that a message came for, and what its rules decided.
type ruledBox struct {
	directory.Mailbox
	target  *Target
	outcome rules.Outcome
}

// applies reports whether a mailbox has settings for which the header must be read.
func applies(box *directory.Mailbox, now time.Time) bool {
	return len(box.Account.Rules) > 0 || box.Account.Absence.StateAt(now) == absence.Active
}

// apply lets the rules decide, and changes the targets of the message. If it returns an error,
// nothing may be stored; a *Refusal is for the client.
func (d *Dispatcher) apply(in *mailstore.Incoming, m *Message) (*applied, error) {
	a := new(applied)
	var err error
	if a.archives, err = d.archivesOf(m); err != nil {
		return nil, err
	}
	if !m.hasSettings(time.Now()) {
		return a, nil
	}
	if err := d.readHead(in, m, a); err != nil {
		return nil, err
	}
	x := &expansion{d: d, m: m, applied: a, size: in.Size(), seen: make(map[string]*ending)}
	for i := range m.Targets {
		if err := x.target(&m.Targets[i]); err != nil {
			return nil, err
		}
	}
	if a.archives, err = d.addArchives(a.archives, x.passed); err != nil {
		return nil, err
	}
	if err := x.settleRefusals(in.ID()); err != nil {
		return nil, err
	}
	return a, x.label(in)
}

// hasSettings reports whether a mailbox of the message has rules or is absent.
func (m *Message) hasSettings(now time.Time) bool {
	has := func(box directory.Mailbox) bool { return applies(&box, now) }
	return slices.ContainsFunc(m.Targets, func(t Target) bool {
		return slices.ContainsFunc(t.Boxes, has) || slices.ContainsFunc(t.Passed, has)
	})
}

// readHead reads the header, also that of a message which this server has made.
func (d *Dispatcher) readHead(in *mailstore.Incoming, m *Message, a *applied) error {
	text := m.Header
	if text == nil {
		r, err := in.Reader()
		if err != nil {
			return err
		}
		var c headCopy
		_, err = io.Copy(&c, io.LimitReader(r, maxHead))
		if err = errors.Join(err, r.Close()); err != nil {
			return err
		}
		text = c.octets
	}
	a.head = head.Parse(text)
	return nil
}

// expansion follows the rules of mailboxes, each asked once for a message. Forwards by rules work
// like those of the directory: a chain that leads back to a mailbox in progress has no destination
// there, and a mailbox whose forwards have none stores the message. So no loop can lose it.
type expansion struct {
	*applied
	d        *Dispatcher
	m        *Message
	size     int64
	depth    int
	seen     map[string]*ending // by directory; in progress: not reached
	refusals []refusal
	passed   []addr.Address // the archives of the mailboxes and domains that rules forward to
}

// away returns those of addresses to which a rule may send the message. The right to send to other
// servers, and the limit of an hour, are those of the user who has sent it: else who may not send
// there could write to a mailbox with a rule instead.
func (x *expansion) away(all []addr.Address) []addr.Address {
	leaving := 0
	for _, a := range all {
		if x.d.isRemote(a) {
			leaving++
		}
	}
	if leaving == 0 || x.mayLeave(leaving) {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), x.d.isRemote)
}

func (x *expansion) mayLeave(n int) bool {
	cfg, user := x.d.config.Load(), x.m.Source.User
	if cfg.MayLeave != nil && !cfg.MayLeave(user) {
		return false
	}
	return user.IsZero() ||
		x.d.limiter.Take("forwards of "+key(user), n, cfg.ForwardsPerHour).OK
}

// ending is where the mail of a mailbox goes.
type ending struct {
	reached bool
	boxes   []directory.Mailbox
	remote  []addr.Address
}

func (e *ending) add(other *ending) {
	e.reached = e.reached || other.reached
	for _, box := range other.boxes {
		if !slices.ContainsFunc(e.boxes, func(b directory.Mailbox) bool { return b.Dir == box.Dir }) {
			e.boxes = append(e.boxes, box)
		}
	}
	e.addRemote(other.remote...)
}

func (e *ending) addRemote(all ...addr.Address) {
	for _, a := range all {
		if e.reached = true; !slices.Contains(e.remote, a) {
			e.remote = append(e.remote, a)
		}
	}
}

// refusal is a refusal that the reply to the message cannot tell.
type refusal struct {
	target *Target
	box    directory.Mailbox
	rule   int
	text   string
}

func (x *expansion) target(t *Target) error {
	for _, box := range t.Passed {
		x.boxes = append(x.boxes, ruledBox{Mailbox: box, target: t, outcome: rules.Outcome{Act: rules.Forward}})
	}
	end := new(ending)
	for _, box := range t.Boxes {
		one, err := x.mailbox(t, box)
		if err != nil {
			return err
		}
		end.add(one)
	}
	end.addRemote(t.Remote...)
	t.Boxes, t.Remote = end.boxes, end.remote
	return nil
}

// mailbox asks the rules of a mailbox.
func (x *expansion) mailbox(t *Target, box directory.Mailbox) (*ending, error) {
	if end, ok := x.seen[box.Dir]; ok {
		return end, nil
	}
	end := new(ending)
	x.seen[box.Dir] = end
	direct := slices.ContainsFunc(t.Boxes, func(b directory.Mailbox) bool { return b.Dir == box.Dir })
	out := rules.Decide(box.Account.Rules, &rules.Message{
		Sender: x.m.Envelope.From, To: t.Address, Head: x.head, Size: x.size,
	})
	if direct {
		x.boxes = append(x.boxes, ruledBox{Mailbox: box, target: t, outcome: out})
	}
	store := true
	switch out.Act {
	case rules.Discard:
		x.event(track.Discarded, box, out.Rule, "")
		store, end.reached = false, true
	case rules.Refuse:
		var err error
		if store, err = x.refuse(t, box, out, direct); err != nil {
			return nil, err
		}
		end.reached = true
	case rules.Forward:
		if err := x.forward(t, box, out, end); err != nil {
			return nil, err
		}
		store = out.KeepCopy || !end.reached
	}
	if store {
		end.add(&ending{reached: true, boxes: []directory.Mailbox{box}})
	}
	return end, nil
}

// forward adds where the targets of a rule lead.
func (x *expansion) forward(
	t *Target, box directory.Mailbox, out rules.Outcome, end *ending,
) error {
	if x.depth >= maxForwards {
		return nil
	}
	x.depth++
	defer func() { x.depth-- }()
	for _, to := range out.To {
		res, err := x.d.Dir.Resolve(to)
		if errors.Is(err, directory.ErrUnusable) {
			continue // the mailbox keeps the message
		} else if err != nil {
			return err
		}
		for _, next := range res.Mailboxes {
			one, err := x.mailbox(t, next)
			if err != nil {
				return err
			}
			end.add(one)
		}
		x.passed = append(x.passed, res.Archives...)
		remote := res.Forward
		if res.Kind == directory.Remote {
			remote = []addr.Address{to}
		}
		may := x.away(remote)
		end.addRemote(may...)
		if len(may) < len(remote) {
			x.event(track.Ruled, box, out.Rule, "does not forward it to "+join(remote)+
				": its sender may not send there, or has sent too much")
		}
	}
	text := "forwards it to " + join(out.To)
	if !end.reached {
		text = "cannot forward it to " + join(out.To) + ", so it is kept"
	}
	x.event(track.Ruled, box, out.Rule, text)
	return nil
}

// refuse refuses the message if the reply can tell it: the client waits, and the mailbox is the only
// recipient. Otherwise the sender gets a report if it may get one; a mailbox of a sender who may not
// keeps the message, and so does one that got it by another one's rule.
func (x *expansion) refuse(
	t *Target, box directory.Mailbox, out rules.Outcome, direct bool,
) (store bool, err error) {
	reply := smtp.NewReply(550, [3]int{5, 7, 1}, "%s", out.Text)
	switch {
	case direct && x.m.Refusable && len(x.m.Targets) == 1 && !t.expands():
		return false, &Refusal{Mailbox: box.Address, Rule: out.Rule, Reply: reply}
	case !direct || x.m.Parent != "" || x.m.Envelope.From.IsZero():
		x.event(track.Ruled, box, out.Rule, "cannot refuse it, so it is kept")
		return true, nil
	}
	x.refusals = append(x.refusals, refusal{target: t, box: box, rule: out.Rule, text: out.Text})
	return false, nil
}

// settleRefusals makes the reports of refusals that the reply cannot tell, before the message is
// stored: after a crash the sender may get a report twice, and never none. Where no report can be
// made, the mailbox keeps the message.
func (x *expansion) settleRefusals(id string) error {
	if len(x.refusals) == 0 {
		return nil
	}
	item := queue.NewItem(id, x.m.Envelope, nil, x.m.Source, int64(len(x.m.Header)), time.Now())
	item.Ret = "HDRS"
	cfg := x.d.config.Load()
	why, err := x.d.refusal(cfg, item)
	if err != nil {
		return err
	}
	var about []queue.Recipient
	for _, r := range x.refusals {
		if why == "" && dsn.Wanted(r.target.Notify, dsn.OnFailure) {
			reply := smtp.NewReply(550, [3]int{5, 7, 1}, "%s", r.text)
			about = append(about, r.target.result(r.box.Address, reply))
			x.event(track.Ruled, r.box, r.rule, "refuses it with a report to the sender")
			continue
		}
		x.event(track.Ruled, r.box, r.rule, "cannot refuse it, so it is kept")
		r.target.Boxes = append(slices.Clone(r.target.Boxes), r.box)
	}
	if len(about) == 0 {
		return nil
	}
	header := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(x.m.Header)), nil }
	req := queue.DSNRequest{Item: item, Action: dsn.Failed, Recipients: about}
	return x.d.send(cfg, req, item.From, header)
}

// label marks the message, if all copies of it get the same labels: they share one file. An archive
// gets the labels too.
func (x *expansion) label(in *mailstore.Incoming) error {
	var labels []rules.Label
	boxes, shared := x.m.boxes(), false
	for i, box := range boxes {
		own := x.labelsOf(box)
		if shared = shared || i > 0 && !slices.Equal(own, labels); len(own) > 0 {
			labels = own
		}
	}
	if len(labels) == 0 {
		return nil
	}
	shared = shared || slices.ContainsFunc(x.m.Targets, func(t Target) bool { return len(t.Remote) > 0 })
	text := "marks it"
	if shared {
		text = "cannot mark it, because others get the same message"
	}
	for _, box := range x.applied.boxes {
		for _, step := range box.outcome.Steps {
			if step.Applied && step.Do == rules.Mark {
				x.event(track.Ruled, box.Mailbox, step.Rule, text)
			}
		}
	}
	if shared {
		return nil
	}
	return in.Rewrite(func(w io.Writer, r io.Reader) error { return label(w, r, labels) })
}

func (x *expansion) labelsOf(box directory.Mailbox) []rules.Label {
	for _, b := range x.applied.boxes {
		if b.Dir == box.Dir {
			return b.outcome.Labels
		}
	}
	return nil
}

// event records what a rule of a mailbox did.
func (x *expansion) event(kind track.Kind, box directory.Mailbox, rule int, text string) {
	x.ruled = true
	x.events = append(x.events, track.Event{
		Kind: kind, To: box.Address.String(), Rule: fmt.Sprintf("rule %d", rule), Text: text,
	})
}

func join(all []addr.Address) string {
	var b bytes.Buffer
	for i, a := range all {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(a.String())
	}
	return b.String()
}
