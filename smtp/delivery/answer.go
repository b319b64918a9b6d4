package delivery

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"pillarbox/mailstore/absence"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/rules"
	"pillarbox/mailstore/track"
	"pillarbox/smtp"
	"pillarbox/smtp/queue"
)

// This file sends absence notices and the answers of rules, after the message is durable. A crash may
// lose an answer; none is sent twice within its interval.

// answerService is the Source.Service of automatic answers.
const answerService = "answer"

// answerInterval is the time in which a sender gets one answer of a rule.
const answerInterval = absence.DefaultDays * 24 * time.Hour

// answer is an automatic answer that a mailbox may owe.
type answer struct {
	box           directory.Mailbox
	name          string // for the events
	subject, text string
	what          string    // tells it from other answers of the mailbox
	since         time.Time // a sender who got it since then gets none
}

// sendAnswers answers a message for all its mailboxes. Errors are logged only: the message itself is
// delivered. full are the mailboxes that did not get it.
func (d *Dispatcher) sendAnswers(id string, m *Message, a *applied, full []addr.Address) {
	if d.Answers == nil || m.Parent != "" || m.Envelope.From.IsZero() {
		return
	}
	now := time.Now()
	for i := range a.boxes {
		box := &a.boxes[i]
		if slices.Contains(full, box.Address) {
			continue
		}
		for _, one := range box.answers(now) {
			if err := d.answer(id, m, a, box.target, &one, now); err != nil {
				d.Log.Error("cannot send an automatic answer",
					"message_id", id, "mailbox", box.Address.String(), "error", err)
			}
		}
	}
}

// answers returns what a mailbox may owe to a sender.
func (b *ruledBox) answers(now time.Time) (all []answer) {
	if b.outcome.Act == rules.Discard || b.outcome.Act == rules.Refuse {
		return nil
	}
	if s := b.Account.Absence; s.StateAt(now) == absence.Active {
		since := now.Add(-s.Interval())
		if s.Set.After(since) {
			since = s.Set
		}
		all = append(all, answer{
			box: b.Mailbox, name: "absence notice", subject: s.Subject, text: s.Text, since: since,
		})
	}
	for _, r := range b.outcome.Answers {
		sum := sha256.Sum256([]byte(r.Subject + "\x00" + r.Text))
		all = append(all, answer{
			box: b.Mailbox, name: "answer of a rule", subject: r.Subject, text: r.Text,
			what: hex.EncodeToString(sum[:8]), since: now.Add(-answerInterval),
		})
	}
	return all
}

// answer sends one answer, unless there is a reason not to: see absence.Silent. A remote sender is
// answered if a delivery report may be sent there, so that nobody gets an answer to a message that a
// third party sent in his name.
func (d *Dispatcher) answer(
	id string, m *Message, a *applied, t *Target, one *answer, now time.Time,
) error {
	from := m.Envelope.From
	why := absence.Silent(&absence.Facts{
		Sender: from, Head: a.head, Own: d.ownAddresses(one.box), Plain: d.plain,
	})
	key := absence.Key(one.box.Address, from, one.what)
	if why == "" {
		if sent, err := d.Answers.Sent(key, one.since); err != nil {
			return err
		} else if sent {
			why = "the sender has got one"
		}
	}
	if why == "" {
		var err error
		item := queue.NewItem(id, m.Envelope, nil, m.Source, 0, now)
		if why, err = d.refusal(d.config.Load(), item); err != nil {
			return err
		} else if why != "" {
			d.suppressed.Add(1)
		}
	}
	if why != "" {
		d.Log.Debug("no automatic answer", "message_id", id, "mailbox", one.box.Address.String(),
			"to", from.String(), "reason", why)
		return nil
	}
	if may, err := d.Answers.Take(key, one.since, now); !may || err != nil {
		return err
	}
	return d.compose(id, m, a, one, now)
}

// compose writes an answer and delivers it.
func (d *Dispatcher) compose(id string, m *Message, a *applied, one *answer, now time.Time) error {
	in := d.Store.Create()
	defer in.Abort()
	to := m.Envelope.From
	notice := absence.Notice{
		From: one.box.Address, Name: d.fullName(one.box.Address), To: to,
		Subject: one.subject, Text: one.text, About: a.head, Date: now, ID: in.ID(),
		Hostname: d.config.Load().Hostname,
	}
	text := notice.Compose()
	fmt.Fprint(in, smtp.ReturnPath(addr.Address{}))
	if _, err := in.Write(text); err != nil {
		return err
	}
	answer := &Message{
		Envelope: &smtp.Envelope{
			To:   []smtp.Recipient{{Address: to, Notify: []string{"NEVER"}}},
			UTF8: !to.IsASCII() || !one.box.Address.IsASCII(),
		},
		Source: queue.Source{Service: answerService}, Header: headerOf(text), Parent: id,
	}
	if _, err := d.deliver(in, answer); err != nil {
		return err
	}
	d.Track.Add(track.Event{
		Kind: track.Answered, ID: in.ID(), Parent: id, From: one.box.Address.String(),
		To: to.String(), Text: one.name,
	})
	d.Log.Info("automatic answer sent", "message_id", in.ID(), "about", id,
		"mailbox", one.box.Address.String(), "to", to.String(), "answer", one.name)
	return nil
}

// headerOf returns the header of a message, with its empty line.
func headerOf(text []byte) []byte {
	before, _, _ := bytes.Cut(text, []byte("\r\n\r\n"))
	return append(slices.Clone(before), "\r\n\r\n"...)
}

// ownAddresses returns the addresses of a mailbox: its own and its aliases. What it may merely send as
// is not its own.
func (d *Dispatcher) ownAddresses(box directory.Mailbox) []addr.Address {
	all := []addr.Address{box.Address}
	others, err := d.Dir.OwnAddresses(box)
	if err != nil {
		d.Log.Debug("cannot look up the aliases of a mailbox",
			"mailbox", box.Address.String(), "error", err)
	}
	for _, a := range others {
		granted := func(g addr.Address) bool { return g.Fold() == a }
		if !slices.ContainsFunc(box.Account.SendAs, granted) {
			all = append(all, a)
		}
	}
	return all
}

func (d *Dispatcher) plain(a addr.Address) addr.Address {
	plain, err := d.Dir.Plain(a)
	if err != nil {
		return addr.Address{}
	}
	return plain
}

// fullName returns the name of a mailbox's user; "" if it has none.
func (d *Dispatcher) fullName(a addr.Address) string {
	domain, err := d.Dir.Domain(a.Domain)
	if err != nil {
		return ""
	}
	return domain.FullName(a)
}

// isAnswer reports whether a queued message is an automatic answer. Nobody misses one that cannot be
// delivered.
func isAnswer(it *queue.Item) bool { return it.Source.Service == answerService }
