package delivery

import (
	"fmt"
	"io"
	"time"

	"pillarbox/smtp"
	"pillarbox/smtp/queue"
)

// Inject delivers a message that did not come by SMTP: from the pickup folder, or from a remote
// POP3 mailbox. from is the "from" clause of its Received field. message is CRLF text that starts
// with the header. When Inject returns the message's ID, the message is durable for all recipients.
// Unknown recipients are reported to the sender.
func (d *Dispatcher) Inject(
	env *smtp.Envelope, source queue.Source, from string, message io.Reader,
) (id string, err error) {
	return d.InjectAs(env, source, from, message, func(string) error { return nil })
}

// InjectAs is Inject. It calls begun with the message's ID before it delivers the message, and does
// not deliver it if begun fails. A caller that stores the ID durably can tell after a crash, with
// mailstore.RecoverOptions.Accepted, whether the message was delivered.
func (d *Dispatcher) InjectAs(
	env *smtp.Envelope, source queue.Source, from string, message io.Reader,
	begun func(id string) error,
) (id string, err error) {
	in := d.Store.Create()
	defer in.Abort()
	cfg := d.config.Load()
	fmt.Fprintf(in, "%sReceived: %s\r\n\tby %s id %s; %s\r\n", smtp.ReturnPath(env.From), from,
		cfg.Hostname, in.ID(), time.Now().Format(smtp.DateLayout))
	var head headCopy
	if _, err := io.Copy(in, io.TeeReader(message, &head)); err != nil {
		return "", err
	}
	if err := begun(in.ID()); err != nil {
		return "", err
	}
	_, err = d.deliver(in, &Message{Envelope: env, Source: source, Header: head.octets})
	if err != nil {
		return "", err
	}
	d.Log.Info("message accepted", "message_id", in.ID(), "from", env.From.String(),
		"by", source.Service, "size", in.Size())
	return in.ID(), nil
}
