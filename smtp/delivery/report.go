package delivery

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/track"
	"pillarbox/smtp"
	"pillarbox/smtp/dsn"
	"pillarbox/smtp/queue"
)

// reportLocal makes the reports about local mailboxes, and returns all mailboxes that were full.
func (d *Dispatcher) reportLocal(id string, m *Message, full []addr.Address) []addr.Address {
	var failed, done, expanded []queue.Recipient
	for i := range m.Targets {
		t := &m.Targets[i]
		success := dsn.Wanted(t.Notify, dsn.OnSuccess)
		late := t.Full
		for _, box := range t.Boxes {
			switch {
			case slices.Contains(full, box.Address):
				late = append(late, box.Address)
			case success && !t.expands():
				reply := smtp.NewReply(250, [3]int{2, 1, 5}, "Delivered")
				done = append(done, t.result(box.Address, reply))
			}
		}
		if success && t.expands() {
			reply := smtp.NewReply(250, [3]int{2, 1, 5}, "Passed on to several recipients")
			expanded = append(expanded, t.result(t.Address, reply))
		}
		for _, a := range late {
			reply := smtp.NewReply(552, [3]int{5, 2, 2}, "The mailbox %s is full", a)
			failed = append(failed, t.result(a, reply))
		}
		for _, a := range t.Full {
			if !slices.Contains(full, a) {
				full = append(full, a)
			}
		}
	}
	if len(failed)+len(done)+len(expanded) == 0 {
		return full
	}
	item := queue.NewItem(id, m.Envelope, nil, m.Source, int64(len(m.Header)), time.Now())
	item.Ret = "HDRS" // the body is not in memory
	header := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(m.Header)), nil }
	d.tryReport(item, dsn.Delivered, done, header)
	d.tryReport(item, dsn.Expanded, expanded, header)
	failed = slices.DeleteFunc(failed, func(r queue.Recipient) bool {
		return !dsn.Wanted(r.Notify, dsn.OnFailure)
	})
	d.tryReport(item, dsn.Failed, failed, header)
	return full
}

// tryReport makes a report about local mailboxes. If that fails, it only logs the error: the message
// itself is delivered.
func (d *Dispatcher) tryReport(
	item *queue.Item, action dsn.Action, about []queue.Recipient, header opener,
) {
	if len(about) == 0 || item.From.IsZero() {
		return
	}
	cfg := d.config.Load()
	if !cfg.reports(action) {
		return
	}
	req := queue.DSNRequest{Item: item, Action: action, Recipients: about}
	why, err := d.refusal(cfg, item)
	switch {
	case err != nil:
	case why != "": // the reply to the message already named the full mailboxes
		d.suppress(req, item.From, why)
	default:
		err = d.send(cfg, req, item.From, header)
	}
	if err != nil {
		d.Log.Error("cannot make a report to the sender",
			"message_id", item.ID, "report", action, "error", err)
	}
}

// result returns the result for one mailbox or address of a recipient.
func (t *Target) result(end addr.Address, reply *smtp.Reply) queue.Recipient {
	r := queue.Recipient{Address: end, Notify: t.Notify, ORcptType: t.ORcptType, ORcpt: t.ORcpt}
	if r.ORcpt == "" && end != t.Address {
		r.ORcptType, r.ORcpt = "RFC822", t.Address.String()
	}
	r.Last = &queue.Last{Time: time.Now(), Reply: *reply}
	return r
}

// Report makes a report about a queued message, and returns nil when the report is durable. If the
// sender cannot get one, Config.NullSender decides.
func (d *Dispatcher) Report(req queue.DSNRequest) error {
	return d.report(req, func() (io.ReadCloser, error) {
		r, _, err := d.Store.Spool().Open(req.Item.ID)
		return r, err
	})
}

// opener opens the message that a report is about. The caller closes the reader.
type opener = func() (io.ReadCloser, error)

func (d *Dispatcher) report(req queue.DSNRequest, original opener) error {
	cfg := d.config.Load()
	if req.Item.From.IsZero() {
		return d.unreportable(cfg, req, original, noSender)
	}
	if !cfg.reports(req.Action) {
		return nil
	}
	why, err := d.refusal(cfg, req.Item)
	switch {
	case err != nil:
		return err
	case why != "":
		return d.reportSuppressed(cfg, req, original, why)
	}
	return d.send(cfg, req, req.Item.From, original)
}

// reports reports whether the configuration wants reports of this action.
func (c *Config) reports(action dsn.Action) bool {
	switch action {
	case dsn.Failed, dsn.Delayed:
		return true
	case dsn.Relayed:
		return c.Success && c.Relayed
	}
	return c.Success
}

// noSender is the reason why mail with the null reverse-path gets no report.
const noSender = "the message has no sender"

// unreportable handles a failed message that cannot be reported to its sender, by
// Config.NullSender.
func (d *Dispatcher) unreportable(
	cfg *Config, req queue.DSNRequest, original opener, why string,
) error {
	postmaster := d.Postmaster()
	switch {
	case cfg.NullSender == Discard, isAnswer(req.Item):
		d.Log.Warn("message dropped: it can be neither delivered nor reported",
			"message_id", req.Item.ID, "from", req.Item.From.String(), "reason", why)
		d.Track.Add(track.Event{Kind: track.Removed, ID: req.Item.ID, Text: why})
		return nil
	case cfg.NullSender == ToBadmail,
		req.Item.Parent != "", // it is a report itself, perhaps the postmaster's
		!d.take(key(postmaster), "remote"):
		return d.keepInBadmail(req, original, why)
	}
	return d.send(cfg, req, postmaster, original)
}

// Postmaster returns the address that gets reports and notices about the whole server.
func (d *Dispatcher) Postmaster() addr.Address {
	to := addr.Address{Local: "postmaster", Domain: d.Dir.DefaultDomain()}
	if all, err := d.Dir.Domains(); to.Domain == "" && err == nil && len(all) > 0 {
		to.Domain = all[0]
	}
	return to
}

// send makes a report and delivers it.
func (d *Dispatcher) send(cfg *Config, req queue.DSNRequest, to addr.Address, original opener) error {
	in := d.Store.Create()
	defer in.Abort()
	report := dsn.Report{
		ID: in.ID(), Language: cfg.Language, Hostname: cfg.Hostname, From: cfg.From, To: to,
		EnvID: req.Item.EnvID, Ret: req.Item.Ret, Arrived: req.Item.Arrived,
		ReceivedFrom: req.Item.Source.Helo,
		Now:          time.Now(), RetryUntil: req.RetryUntil, Recipients: recipientsOf(req),
		Original: original, OriginalSize: req.Item.Size, MaxReturn: cfg.MaxReturn,
	}
	env, err := report.Envelope()
	if errors.Is(err, dsn.ErrNoReport) {
		d.Log.Error("cannot make a report", "message_id", req.Item.ID, "error", err)
		return d.keepInBadmail(req, original, "no report can be made for this sender")
	} else if err != nil {
		return err
	}
	if !cfg.CopyTo.IsZero() && req.Action == dsn.Failed && cfg.CopyTo != to {
		env.To = append(env.To, smtp.Recipient{Address: cfg.CopyTo, Notify: []string{"NEVER"}})
	}
	fmt.Fprint(in, smtp.ReturnPath(env.From))
	if err := dsn.Compose(in, report); err != nil {
		return err
	}
	in.IgnoreQuota() // the reader must get the report even if its mailbox is full
	message := &Message{
		Envelope: &env, Source: queue.Source{Service: "report"}, Parent: req.Item.ID,
	}
	_, err = d.deliver(in, message)
	if err == nil {
		d.Track.Add(track.Event{
			Kind: track.Reported, ID: in.ID(), Parent: req.Item.ID, To: to.String(),
			Text: string(req.Action),
		})
		d.Log.Info("report made", "message_id", in.ID(), "about", req.Item.ID,
			"report", req.Action, "to", to.String())
	}
	return err
}

func recipientsOf(req queue.DSNRequest) []dsn.Recipient {
	all := make([]dsn.Recipient, len(req.Recipients))
	for i, r := range req.Recipients {
		all[i] = dsn.Recipient{
			Final: r.Address, ORcptType: r.ORcptType, ORcpt: r.ORcpt, Action: req.Action,
		}
		if r.Last != nil {
			all[i].Result = smtp.Result{Reply: r.Last.Reply, MTA: r.Last.MTA}
			all[i].LastAttempt = r.Last.Time
		}
	}
	return all
}

// deliver resolves the recipients of the envelope and commits the message. Unknown recipients are
// reported like failed ones.
func (d *Dispatcher) deliver(
	in *mailstore.Incoming, m *Message,
) (full []addr.Address, err error) {
	var unknown []queue.Recipient
	for _, to := range m.Envelope.To {
		res, err := d.Dir.Resolve(to.Address)
		if errors.Is(err, directory.ErrUnusable) {
			d.Log.Error("address is unusable until its directory entry is corrected",
				"to", to.Address.String(), "error", err)
			t := NewTarget(to, res)
			reply := smtp.NewReply(550, [3]int{5, 3, 5},
				"%s: its entry in the directory cannot be used", to.Address)
			unknown = append(unknown, t.result(to.Address, reply))
			continue
		} else if err != nil {
			return nil, err
		}
		t := NewTarget(to, res)
		if len(t.Boxes)+len(t.Remote) == 0 {
			reply := smtp.NewReply(550, [3]int{5, 1, 1},
				"%s: there is no such mailbox here", to.Address)
			unknown = append(unknown, t.result(to.Address, reply))
			continue
		}
		if refused, err := d.refusesGroup(to.Address, m.Parent); err != nil {
			return nil, err
		} else if refused {
			reply := smtp.NewReply(550, [3]int{5, 7, 1},
				"Message to the group %s rejected for policy reasons", to.Address)
			unknown = append(unknown, t.result(to.Address, reply))
			continue
		}
		m.Targets = append(m.Targets, t)
	}
	if len(unknown) > 0 {
		if err := d.reportUnknown(in, m, unknown); err != nil {
			return nil, err
		}
	}
	if len(m.Targets) == 0 {
		return nil, nil
	}
	return d.Commit(in, m)
}

// refusesGroup reports whether a message from outside a session must not go to the address, because
// it is a group. Reports and the postmaster's mail go everywhere.
func (d *Dispatcher) refusesGroup(to addr.Address, parent string) (bool, error) {
	if !d.config.Load().RefuseGroups || parent != "" || addr.IsPostmaster(to.Local) {
		return false, nil
	}
	_, _, err := d.Dir.GroupAt(to)
	if !errors.Is(err, directory.ErrNotFound) {
		return err == nil, err
	}
	_, list, err := d.Dir.ListAt(to)
	return list, err
}

// reportUnknown reports the unknown recipients to the message's sender.
func (d *Dispatcher) reportUnknown(
	in *mailstore.Incoming, m *Message, unknown []queue.Recipient,
) error {
	item := queue.NewItem(in.ID(), m.Envelope, nil, m.Source, in.Size(), time.Now())
	item.Parent = m.Parent
	unknown = slices.DeleteFunc(unknown, func(r queue.Recipient) bool {
		return !item.From.IsZero() && !dsn.Wanted(r.Notify, dsn.OnFailure)
	})
	if len(unknown) == 0 {
		return nil
	}
	req := queue.DSNRequest{Item: item, Action: dsn.Failed, Recipients: unknown}
	return d.report(req, in.Reader)
}
