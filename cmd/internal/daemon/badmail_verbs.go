package daemon

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/durable"
	"pillarbox/smtp"
	"pillarbox/smtp/badmail"
	"pillarbox/smtp/delivery"
	"pillarbox/smtp/queue"
)

// BadmailOrder says which messages in badmail are to be sent once more, and to whom; to the recipients of their envelopes
// where To is empty.
type BadmailOrder struct {
	IDs []string       `json:"ids"`
	To  []addr.Address `json:"to,omitempty"`
}

// BadmailSent is a message that was sent once more, under a new ID.
type BadmailSent struct {
	ID string `json:"id"`
	As string `json:"as"`
}

// serveBadmail sends messages from badmail when the control socket is asked to.
func serveBadmail(mux *http.ServeMux, desk *delivery.Dispatcher, office *admin.Service) {
	mux.HandleFunc("POST /badmail/send", func(w http.ResponseWriter, r *http.Request) {
		asked(func(in BadmailOrder) ([]BadmailSent, error) {
			return sendBadmail(desk, office.By(requestActor(r)), in)
		})(w, r)
	})
}

// SendBadmail sends messages in badmail once more: the server of the data directory does, or, where none runs, they are put
// where the next one finds them.
func SendBadmail(ctx context.Context, o *admin.Service, order BadmailOrder) (sent []BadmailSent, err error) {
	err = ask(ctx, o.Config().Data, http.MethodPost, "/badmail/send", order, &sent)
	if !errors.Is(err, ErrNotRunning) {
		return sent, err
	}
	unlock, err := durable.TryLockAs(o.Root, dataLock, holdsAdmin)
	if errors.Is(err, durable.ErrLocked) {
		return nil, errors.New("a server is just starting or stopping; try again")
	} else if err != nil {
		return nil, err
	}
	defer unlock()
	opts, err := recoverOptions(o.Root)
	if err == nil {
		err = o.Store.Recover(opts)
	}
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.DiscardHandler)
	desk := delivery.New(deliveryConfig(o.Config(), nil), delivery.Parts{Dir: o.Dir, Store: o.Store, Badmail: badmail.New(o.Root, log, nil), Log: log})
	desk.Queue = atNextStart{}
	sent, err = sendBadmail(desk, o, order)
	return sent, errors.Join(err, o.Store.Close())
}

// atNextStart is the queue of a server that does not run: what is in the spool is found when it starts.
type atNextStart struct{}

func (atNextStart) Add(*queue.Item) {}

// sendBadmail stops at the first message that cannot be sent.
func sendBadmail(desk *delivery.Dispatcher, o *admin.Service, order BadmailOrder) (sent []BadmailSent, err error) {
	defer func() {
		if len(sent) > 0 {
			o.Record("badmail", nil, map[string]any{"action": "send", "messages": sent, "to": order.To})
		}
	}()
	sent = []BadmailSent{}
	for _, id := range order.IDs {
		as, err := resend(desk, o, id, order.To)
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

// resend brings one message on its way. It is durable wherever it goes when resend returns.
func resend(desk *delivery.Dispatcher, o *admin.Service, id string, to []addr.Address) (as string, err error) {
	m, err := o.ShowBadmail(id)
	switch {
	case err != nil:
		return "", err
	case !m.Has(".eml"):
		return "", admin.Hint(errors.New("the message itself is missing"), "'pillarbox admin badmail remove %s' removes the rest", id)
	}
	env, source := smtp.Envelope{Body8: true}, queue.Source{Service: "badmail"}
	if m.Envelope != nil {
		env, source = m.Envelope.Envelope(), m.Envelope.Source
	}
	if len(to) > 0 {
		env.To = nil
	}
	for _, a := range to {
		env.To = append(env.To, smtp.Recipient{Address: a})
		env.UTF8 = env.UTF8 || !a.IsASCII()
	}
	if len(env.To) == 0 {
		return "", admin.Hint(errors.New("it has no envelope that says who is to get it"), "say it: --to x@partner.example")
	}
	for _, r := range env.To {
		res, err := o.Dir.Resolve(r.Address)
		switch {
		case err != nil:
			return "", err
		case res.Kind == directory.Unknown:
			return "", admin.Hint(fmt.Errorf("there is no mailbox %s here", r.Address), "--to says who else is to get it")
		}
	}
	f, err := o.Root.OpenFile(badmail.Dir+"/"+id+".eml", 0, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return desk.Inject(&env, source, "from badmail", withoutReturnPath(f))
}

// withoutReturnPath leaves out the line that was put on top of a message when it came: it gets another one.
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

// QuarantineOrder says which messages are to be put back into the queue.
type QuarantineOrder struct {
	IDs  []string       `json:"ids"`
	With admin.NewState `json:"with,omitzero"`
}

// serveQuarantine puts messages back into the queue when the control socket is asked to.
func serveQuarantine(mux *http.ServeMux, q *queue.Queue, office *admin.Service) {
	mux.HandleFunc("POST /queue/quarantine/retry", func(w http.ResponseWriter, r *http.Request) {
		asked(func(in QuarantineOrder) (int, error) {
			if err := office.By(requestActor(r)).RestoreQuarantined(in.IDs, in.With, time.Now()); err != nil {
				return 0, err
			}
			for _, id := range in.IDs {
				q.Readmit(id)
			}
			return len(in.IDs), nil
		})(w, r)
	})
}

// RetryQuarantined puts messages from the quarantine back into the queue. A server that runs tries them at once; running
// says whether one does.
func RetryQuarantined(ctx context.Context, o *admin.Service, order QuarantineOrder) (running bool, err error) {
	err = ask(ctx, o.Config().Data, http.MethodPost, "/queue/quarantine/retry", order, new(int))
	if !errors.Is(err, ErrNotRunning) {
		return true, err
	}
	return false, o.RestoreQuarantined(order.IDs, order.With, time.Now())
}
