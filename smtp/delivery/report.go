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
	"pillarbox/smtp"
	"pillarbox/smtp/dsn"
	"pillarbox/smtp/queue"
)

// reportHere tells the sender what he is owed about the mailboxes here, and returns all that were full.
func (d *Dispatcher) reportHere(id string, p *Parcel, full []addr.Address) []addr.Address {
	var failed, done, expanded []queue.Recipient
	for i := range p.Targets {
		t := &p.Targets[i]
		success := dsn.Wanted(t.Notify, dsn.OnSuccess)
		late := t.Full
		for _, box := range t.Boxes {
			switch {
			case slices.Contains(full, box.Address):
				late = append(late, box.Address)
			case success && !t.expands():
				done = append(done, t.result(box.Address, smtp.NewReply(250, [3]int{2, 1, 5}, "Delivered")))
			}
		}
		if success && t.expands() {
			expanded = append(expanded, t.result(t.Address, smtp.NewReply(250, [3]int{2, 1, 5}, "Passed on to several recipients")))
		}
		for _, a := range late {
			failed = append(failed, t.result(a, smtp.NewReply(552, [3]int{5, 2, 2}, "The mailbox %s is full", a)))
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
	item := queue.NewItem(id, p.Envelope, nil, p.Source, int64(len(p.Header)), time.Now())
	item.Ret = "HDRS" // all that is at hand
	header := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(p.Header)), nil }
	d.tell(item, dsn.Delivered, done, header)
	d.tell(item, dsn.Expanded, expanded, header)
	failed = slices.DeleteFunc(failed, func(r queue.Recipient) bool { return !dsn.Wanted(r.Notify, dsn.OnFailure) })
	d.tell(item, dsn.Failed, failed, header)
	return full
}

// tell makes a report about mailboxes here; that it cannot be made is no reason to refuse the message.
func (d *Dispatcher) tell(item *queue.Item, action dsn.Action, about []queue.Recipient, header opener) {
	if len(about) == 0 || item.From.IsZero() {
		return
	}
	cfg := d.config.Load()
	if !cfg.reports(action) {
		return
	}
	n := queue.Notice{Item: item, Action: action, Recipients: about}
	why, err := d.refusal(cfg, item)
	switch {
	case err != nil:
	case why != "": // the client has heard what failed in the reply to its message
		d.suppress(n, item.From, why)
	default:
		err = d.send(cfg, n, item.From, header)
	}
	if err != nil {
		d.Log.Error("a report to the sender cannot be made", "id", item.ID, "report", action, "error", err)
	}
}

// result is what became of the message for one end of a recipient.
func (t *Target) result(end addr.Address, reply *smtp.Reply) queue.Recipient {
	r := queue.Recipient{Address: end, Notify: t.Notify, ORcptType: t.ORcptType, ORcpt: t.ORcpt}
	if r.ORcpt == "" && end != t.Address {
		r.ORcptType, r.ORcpt = "RFC822", t.Address.String()
	}
	r.Last = &queue.Last{Time: time.Now(), Reply: *reply}
	return r
}

// Report makes a report about a message in the queue, and returns when it is durable. Where nobody can be told, the
// message goes where the configuration says.
func (d *Dispatcher) Report(n queue.Notice) error {
	return d.report(n, func() (io.ReadCloser, error) {
		r, _, err := d.Store.Spool().Open(n.Item.ID)
		return r, err
	})
}

// opener opens the message that a report is about.
type opener = func() (io.ReadCloser, error)

func (d *Dispatcher) report(n queue.Notice, original opener) error {
	cfg := d.config.Load()
	if n.Item.From.IsZero() {
		return d.unreportable(cfg, n, original, noSender)
	}
	if !cfg.reports(n.Action) {
		return nil
	}
	why, err := d.refusal(cfg, n.Item)
	switch {
	case err != nil:
		return err
	case why != "":
		return d.untold(cfg, n, original, why)
	}
	return d.send(cfg, n, n.Item.From, original)
}

// reports reports whether there are such reports at all.
func (c *Config) reports(action dsn.Action) bool {
	return c.Success || action == dsn.Failed || action == dsn.Delayed
}

// noSender is why mail cannot be reported that has the null reverse-path.
const noSender = "the message has no sender"

// unreportable deals with mail that failed and whose sender cannot be told, as the configuration says.
func (d *Dispatcher) unreportable(cfg *Config, n queue.Notice, original opener, why string) error {
	postmaster := d.Postmaster()
	switch {
	case cfg.NullSender == Nowhere:
		d.Log.Warn("mail cannot be delivered, nor its sender told; it is dropped", "id", n.Item.ID, "from", n.Item.From.String(), "reason", why)
		return nil
	case cfg.NullSender == ToBadmail,
		n.Item.Parent != "", // it is a report itself, and the postmaster's perhaps
		!d.take(key(postmaster), "strangers"):
		return d.putAside(n, original, why)
	}
	return d.send(cfg, n, postmaster, original)
}

// Postmaster is who reads what concerns the whole server.
func (d *Dispatcher) Postmaster() addr.Address {
	to := addr.Address{Local: "postmaster", Domain: d.Dir.DefaultDomain()}
	if all, err := d.Dir.Domains(); to.Domain == "" && err == nil && len(all) > 0 {
		to.Domain = all[0]
	}
	return to
}

// send puts a report where mail for its reader goes.
func (d *Dispatcher) send(cfg *Config, n queue.Notice, to addr.Address, original opener) error {
	in := d.Store.Create()
	defer in.Abort()
	report := dsn.Report{
		ID: in.ID(), Language: cfg.Language, Hostname: cfg.Hostname, From: cfg.From, To: to,
		EnvID: n.Item.EnvID, Ret: n.Item.Ret, Arrived: n.Item.Arrived, ReceivedFrom: n.Item.Source.Helo,
		Now: time.Now(), RetryUntil: n.RetryUntil, Recipients: recipientsOf(n),
		Original: original, OriginalSize: n.Item.Size, MaxReturn: cfg.MaxReturn,
	}
	env, err := report.Envelope()
	if errors.Is(err, dsn.ErrNoReport) {
		d.Log.Error("no report can be made", "id", n.Item.ID, "error", err)
		return d.putAside(n, original, "no report can be made for this sender")
	} else if err != nil {
		return err
	}
	if !cfg.CopyTo.IsZero() && n.Action == dsn.Failed && cfg.CopyTo != to {
		env.To = append(env.To, smtp.Recipient{Address: cfg.CopyTo, Notify: []string{"NEVER"}})
	}
	fmt.Fprint(in, smtp.ReturnPath(env.From))
	if err := dsn.Compose(in, report); err != nil {
		return err
	}
	in.IgnoreQuota() // whoever is told that something failed must not miss it for being full
	_, err = d.deliver(in, &Parcel{Envelope: &env, Source: queue.Source{Service: "report"}}, n.Item.ID)
	if err == nil {
		d.Log.Info("report made", "id", in.ID(), "about", n.Item.ID, "report", n.Action, "to", to.String())
	}
	return err
}

func recipientsOf(n queue.Notice) []dsn.Recipient {
	all := make([]dsn.Recipient, len(n.Recipients))
	for i, r := range n.Recipients {
		all[i] = dsn.Recipient{Final: r.Address, ORcptType: r.ORcptType, ORcpt: r.ORcpt, Action: n.Action}
		if r.Last != nil {
			all[i].Result = smtp.Result{Reply: r.Last.Reply, MTA: r.Last.MTA}
			all[i].LastAttempt = r.Last.Time
		}
	}
	return all
}

// deliver resolves the recipients of the envelope and commits. Those that do not exist are reported like mail that cannot be
// delivered; parent is the message that a report is about.
func (d *Dispatcher) deliver(in *mailstore.Incoming, p *Parcel, parent string) (full []addr.Address, err error) {
	var unknown []queue.Recipient
	for _, to := range p.Envelope.To {
		res, err := d.Dir.Resolve(to.Address)
		if errors.Is(err, directory.ErrUnusable) {
			d.Log.Error("an address cannot be used until the directory is changed", "to", to.Address.String(), "error", err)
			t := NewTarget(to, res)
			unknown = append(unknown, t.result(to.Address, smtp.NewReply(550, [3]int{5, 3, 5}, "%s: its entry in the directory cannot be used", to.Address)))
			continue
		} else if err != nil {
			return nil, err
		}
		t := NewTarget(to, res)
		if len(t.Boxes)+len(t.Away) == 0 {
			unknown = append(unknown, t.result(to.Address, smtp.NewReply(550, [3]int{5, 1, 1}, "%s: there is no such mailbox here", to.Address)))
			continue
		}
		p.Targets = append(p.Targets, t)
	}
	if len(unknown) > 0 {
		if err := d.reportUnknown(in, p, unknown, parent); err != nil {
			return nil, err
		}
	}
	if len(p.Targets) == 0 {
		return nil, nil
	}
	return d.Commit(in, p)
}

// reportUnknown tells the sender of a message which recipients do not exist.
func (d *Dispatcher) reportUnknown(in *mailstore.Incoming, p *Parcel, unknown []queue.Recipient, parent string) error {
	item := queue.NewItem(in.ID(), p.Envelope, nil, p.Source, in.Size(), time.Now())
	item.Parent = parent
	unknown = slices.DeleteFunc(unknown, func(r queue.Recipient) bool {
		return !item.From.IsZero() && !dsn.Wanted(r.Notify, dsn.OnFailure)
	})
	if len(unknown) == 0 {
		return nil
	}
	return d.report(queue.Notice{Item: item, Action: dsn.Failed, Recipients: unknown}, in.Reader)
}
