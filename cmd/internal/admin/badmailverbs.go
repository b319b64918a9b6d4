package admin

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/quota"
	"pillarbox/smtp"
	"pillarbox/smtp/badmail"
	"pillarbox/smtp/delivery"
	"pillarbox/smtp/queue"
)

// listBadmail lists the messages that have been in badmail for at least a time, such as "3d".
func (o *Service) listBadmail(older string) ([]BadMessage, error) {
	age, err := ParseAge(older)
	if err != nil {
		return nil, err
	}
	all, err := o.ListBadmail()
	kept := make([]BadMessage, 0, len(all))
	for _, m := range all {
		if time.Since(m.Kept) >= age {
			kept = append(kept, m)
		}
	}
	return kept, err
}

// BadmailToSend chooses messages in badmail that are sent once more.
type BadmailToSend struct {
	Words []string // IDs, or parts of them
	All   bool     // all messages, without Words
	To    []string // addresses; none: the recipients of the envelopes
	Sure  bool
	// Confirmed are the IDs that a question was about: see QueueOrder.
	Confirmed []string
}

// BadmailSent is a message that was sent once more, under a new ID. With ErrConfirm, it is one that
// the question is about.
type BadmailSent struct {
	ID string `json:"id"`
	As string `json:"as"`
}

// sendBadmail sends messages once more and takes them out of badmail. Without a server it puts them
// where the next start finds them.
func (o *Service) sendBadmail(in BadmailToSend) ([]BadmailSent, error) {
	if len(in.Words) == 0 && !in.All {
		return nil, errNoChoice()
	}
	to, err := o.parseRecipients(in.To)
	if err != nil {
		return nil, err
	}
	ids, err := o.BadmailIDs(in.Words, 0, time.Now())
	if err != nil {
		return nil, err
	}
	if len(in.Words) == 0 && len(ids) > 1 {
		if err := confirm(in.Sure, "Send %s again?", quota.FormatMessages(int64(len(ids)))); err != nil {
			var asked []BadmailSent
			for _, id := range ids {
				asked = append(asked, BadmailSent{ID: id})
			}
			return asked, err
		}
	}
	ids = confirmedOf(ids, in.Confirmed)
	if o.Running != nil {
		return o.resendAll(o.Running.Delivery, ids, to)
	}
	var sent []BadmailSent
	err = o.alone(func() (err error) {
		opts, err := o.recoverOptions()
		if err == nil {
			err = o.Store.Recover(opts)
		}
		if err != nil {
			return err
		}
		log := slog.New(slog.DiscardHandler)
		desk := delivery.New(o.DeliveryConfig(o.Config(), nil),
			delivery.Parts{Dir: o.Dir, Store: o.Store, Badmail: badmail.New(o.Root, log, nil), Log: log})
		desk.Queue = atNextStart{}
		sent, err = o.resendAll(desk, ids, to)
		return errors.Join(err, o.Store.Close())
	})
	return sent, err
}

// atNextStart is the queue while no server runs: the next start finds what is in the spool.
type atNextStart struct{}

func (atNextStart) Add(*queue.Item) {}

// parseRecipients reads the addresses that --to has.
func (o *Service) parseRecipients(words []string) (all []addr.Address, err error) {
	for _, word := range words {
		to, err := o.parseFlag("to", word)
		if err != nil {
			return nil, err
		}
		all = append(all, to)
	}
	return all, nil
}

// resendAll stops at the first message that cannot be sent.
func (o *Service) resendAll(
	desk *delivery.Dispatcher, ids []string, to []addr.Address,
) (sent []BadmailSent, err error) {
	defer func() {
		if len(sent) > 0 {
			o.Record("badmail", nil, map[string]any{"action": "send", "messages": sent, "to": to})
		}
	}()
	sent = []BadmailSent{}
	for _, id := range ids {
		as, err := o.resend(desk, id, to)
		if err != nil {
			return sent, fmt.Errorf("%s: %w", id, err)
		}
		sent = append(sent, BadmailSent{id, as})
		if err := desk.Badmail.Remove(id); err != nil {
			return sent, fmt.Errorf("%s was sent, and cannot be removed from badmail: %w", id, err)
		}
	}
	return sent, nil
}

// resend delivers one message. It is durable for all recipients when resend returns.
func (o *Service) resend(
	desk *delivery.Dispatcher, id string, to []addr.Address,
) (as string, err error) {
	m, err := o.ShowBadmail(id)
	switch {
	case err != nil:
		return "", err
	case !m.Has(".eml"):
		return "", Hint(errors.New("the message itself is missing"),
			"'pillarbox admin badmail remove %s' removes the rest", id)
	}
	env, source := smtp.Envelope{Body8: true}, queue.Source{Service: "badmail"}
	if m.Envelope != nil {
		env, source = m.Envelope.Envelope(), m.Envelope.Source
	}
	if err := o.readdress(&env, to); err != nil {
		return "", err
	}
	f, err := o.Root.OpenFile(badmail.Dir+"/"+id+".eml", 0, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return desk.Inject(&env, source, "from badmail", withoutReturnPath(f))
}

// readdress gives an envelope the recipients to, if there are any, and refuses unknown ones.
func (o *Service) readdress(env *smtp.Envelope, to []addr.Address) error {
	if len(to) > 0 {
		env.To = nil
	}
	for _, a := range to {
		env.To = append(env.To, smtp.Recipient{Address: a})
		env.UTF8 = env.UTF8 || !a.IsASCII()
	}
	if len(env.To) == 0 {
		return Hint(errors.New("it has no envelope that says who is to get it"),
			"say it: --to x@partner.example")
	}
	for _, r := range env.To {
		res, err := o.Dir.Resolve(r.Address)
		switch {
		case err != nil:
			return err
		case res.Kind == directory.Unknown:
			return Hint(fmt.Errorf("there is no mailbox %s here", r.Address),
				"--to says who else is to get it")
		}
	}
	return nil
}

// withoutReturnPath leaves out the line on top of a stored message: the next delivery writes
// another one.
func withoutReturnPath(f io.Reader) io.Reader {
	const name = "return-path:"
	in := bufio.NewReader(f)
	if begin, _ := in.Peek(len(name)); bytes.EqualFold(begin, []byte(name)) {
		for more := true; more; {
			_, err := in.ReadSlice('\n')
			more = errors.Is(err, bufio.ErrBufferFull)
		}
	}
	return in
}

// BadmailToRemove chooses messages in badmail that are deleted.
type BadmailToRemove struct {
	Words []string // IDs, or parts of them
	Older string   // without Words: all that have been there for so long
	All   bool     // all messages, without Words
	Sure  bool
	// Confirmed are the IDs that a question was about: see QueueOrder.
	Confirmed []string
}

// Removed are the IDs of messages that were deleted or, with ErrConfirm, that the question is
// about.
type Removed struct {
	Removed []string `json:"removed"`
}

func (o *Service) removeBadmail(in BadmailToRemove) (Removed, error) {
	if len(in.Words) == 0 && in.Older == "" && !in.All {
		return Removed{}, errNoChoice()
	}
	age, err := ParseAge(in.Older)
	if err != nil {
		return Removed{}, err
	}
	ids, err := o.BadmailIDs(in.Words, age, time.Now())
	if err != nil {
		return Removed{}, err
	}
	ids = confirmedOf(ids, in.Confirmed)
	return removeChosen(ids, in.Words, in.Sure, "badmail", o.RemoveBadmail)
}

// confirmedOf returns those of ids that a question was about; all of them if none was asked.
func confirmedOf(ids, confirmed []string) []string {
	if len(confirmed) == 0 {
		return ids
	}
	return slices.DeleteFunc(ids, func(id string) bool { return !slices.Contains(confirmed, id) })
}

// removeChosen deletes messages. It asks first, unless one message was named.
func removeChosen(
	ids, named []string, sure bool, where string, remove func([]string) error,
) (Removed, error) {
	if len(ids) > 1 || len(ids) == 1 && len(named) == 0 {
		many := quota.FormatMessages(int64(len(ids)))
		if err := confirm(sure, "Delete %s in %s?", many, where); err != nil {
			return Removed{ids}, err
		}
	}
	if len(ids) > 0 {
		if err := remove(ids); err != nil {
			return Removed{}, err
		}
	}
	return Removed{orEmpty(ids)}, nil
}
