package delivery

import (
	"fmt"
	"io"
	"time"

	"pillarbox/smtp"
	"pillarbox/smtp/queue"
)

// Inject takes a message that comes by no SMTP session: from the pickup folder, from a mailbox elsewhere. from says in its
// Received field where it comes from. message is CRLF text, header first. It returns the message's ID when it is durable
// wherever it goes; recipients that do not exist are reported to its sender.
func (d *Dispatcher) Inject(env *smtp.Envelope, source queue.Source, from string, message io.Reader) (id string, err error) {
	in := d.Store.Create()
	defer in.Abort()
	cfg := d.config.Load()
	fmt.Fprintf(in, "%sReceived: %s\r\n\tby %s id %s; %s\r\n", smtp.ReturnPath(env.From), from, cfg.Hostname, in.ID(), time.Now().Format(smtp.DateLayout))
	if _, err := io.Copy(in, message); err != nil {
		return "", err
	}
	_, err = d.deliver(in, &Message{Envelope: env, Source: source}, "")
	if err != nil {
		return "", err
	}
	d.Log.Info("message taken", "id", in.ID(), "from", env.From.String(), "by", source.Service, "size", in.Size())
	return in.ID(), nil
}
