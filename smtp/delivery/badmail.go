package delivery

import (
	"encoding/json"
	"fmt"
	"strings"

	"pillarbox/mailstore/track"
	"pillarbox/smtp/badmail"
	"pillarbox/smtp/queue"
)

// keepInBadmail stores a message in badmail, for the administrator.
func (d *Dispatcher) keepInBadmail(req queue.DSNRequest, original opener, why string) error {
	envelope := *req.Item
	envelope.To = req.Recipients
	text, err := json.MarshalIndent(envelope, "", "  ")
	if err != nil {
		return err
	}
	err = d.Badmail.Put(req.Item.ID, badmail.Message{
		Original: original, Size: req.Item.Size, Envelope: append(text, '\n'),
		Reason: reasonText(req, why),
	})
	if err == nil {
		d.Track.Add(track.Event{
			Kind: track.Badmail, ID: req.Item.ID, From: req.Item.From.String(), Text: why,
		})
	}
	return err
}

// reasonText returns the text for the administrator: what failed, and why no report was sent.
func reasonText(req queue.DSNRequest, why string) string {
	var text strings.Builder
	for _, r := range req.Recipients {
		fmt.Fprintf(&text, "%s: %s", r.Address, req.Action)
		if r.Last != nil {
			at := r.Last.Time.Format("2006-01-02 15:04:05 -0700")
			fmt.Fprintf(&text, " at %s: %s", at, r.Last.Reply.Error())
			if r.Last.MTA != "" {
				fmt.Fprintf(&text, " (said %s)", r.Last.MTA)
			}
		}
		text.WriteString("\n")
	}
	fmt.Fprintf(&text, "No report was sent: %s.\n", why)
	return text.String()
}
