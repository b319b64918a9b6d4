package dispatch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"pillarbox/mailstore/durable"
	"pillarbox/smtp/queue"
)

// badmailDir holds what can neither be delivered nor be reported: of each message itself (.eml), its envelope (.env) and why
// (.txt).
const badmailDir = "badmail"

// putAside keeps a message for the administrator.
func (d *Dispatcher) putAside(n queue.Notice, original func() (io.ReadCloser, error)) error {
	if err := d.Files.MkdirAll(badmailDir, 0o700); err != nil {
		return err
	}
	var reason strings.Builder
	for _, r := range n.Recipients {
		fmt.Fprintf(&reason, "%s: %s", r.Address, n.Action)
		if r.Last != nil {
			fmt.Fprintf(&reason, " at %s: %s", r.Last.Time.Format("2006-01-02 15:04:05 -0700"), r.Last.Reply.Error())
			if r.Last.MTA != "" {
				fmt.Fprintf(&reason, " (said %s)", r.Last.MTA)
			}
		}
		reason.WriteString("\n")
	}
	reason.WriteString("The message has no sender that could be told (RFC 5321 section 4.5.5).\n")
	name, err := d.freeName(path.Join(badmailDir, n.Item.ID))
	if err != nil {
		return err
	}
	envelope := *n.Item
	envelope.To = n.Recipients
	text, err := json.MarshalIndent(envelope, "", "  ")
	if err != nil {
		return err
	}
	if err := d.keepOriginal(name+".eml", original); err != nil {
		return err
	}
	err = errors.Join(
		durable.WriteFile(d.Files, name+".env", append(text, '\n'), 0o600),
		durable.WriteFile(d.Files, name+".txt", []byte(reason.String()), 0o600))
	if err == nil {
		d.Log.Warn("mail without a sender cannot be delivered, and is kept in badmail", "id", n.Item.ID)
	}
	return err
}

// freeName is a name that nothing in badmail has: the recipients of one message may fail one after the other.
func (d *Dispatcher) freeName(name string) (string, error) {
	for n, free := 2, name; ; n++ {
		_, err := d.Files.Lstat(free + ".env")
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return free, nil
		case err != nil:
			return "", err
		}
		free = fmt.Sprintf("%s-%d", name, n)
	}
}

func (d *Dispatcher) keepOriginal(name string, original func() (io.ReadCloser, error)) error {
	r, err := original()
	if err != nil {
		return err
	}
	defer r.Close()
	return durable.WriteFrom(d.Files, name, r, 0o600)
}
