package delivery

import (
	"encoding/json"
	"fmt"
	"strings"

	"pillarbox/smtp/badmail"
	"pillarbox/smtp/queue"
)

// putAside keeps a message for the administrator.
func (d *Dispatcher) putAside(n queue.DSNRequest, original opener, why string) error {
	envelope := *n.Item
	envelope.To = n.Recipients
	text, err := json.MarshalIndent(envelope, "", "  ")
	if err != nil {
		return err
	}
	return d.Badmail.Put(n.Item.ID, badmail.Message{
		Original: original, Size: n.Item.Size, Envelope: append(text, '\n'), Reason: reasonText(n, why),
	})
}

// reasonText says why a message is kept.
func reasonText(n queue.DSNRequest, why string) string {
	var text strings.Builder
	for _, r := range n.Recipients {
		fmt.Fprintf(&text, "%s: %s", r.Address, n.Action)
		if r.Last != nil {
			fmt.Fprintf(&text, " at %s: %s", r.Last.Time.Format("2006-01-02 15:04:05 -0700"), r.Last.Reply.Error())
			if r.Last.MTA != "" {
				fmt.Fprintf(&text, " (said %s)", r.Last.MTA)
			}
		}
		text.WriteString("\n")
	}
	fmt.Fprintf(&text, "No report was sent: %s.\n", why)
	return text.String()
}
