package admin

import (
	"pillarbox/mailstore"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/track"
)

// addEvent adds an event of a verb. A command that works without the server, or beside it, writes
// the event itself. An event that cannot be written fails no verb.
func (o *Service) addEvent(e track.Event) {
	if o.Running != nil || o.Events != nil {
		o.Events.Add(e)
		return
	}
	if !o.Config().Events.Enabled {
		return
	}
	if err := track.Append(o.Root, e); err != nil && o.log != nil {
		o.log.Warn("cannot write an event of mail", "event", e.Kind.String(), "error", err)
	}
}

// expired returns a function that adds the event of a message that retention deletes.
func (o *Service) expired(box directory.Mailbox) func(mailstore.Candidate) {
	return func(m mailstore.Candidate) {
		o.addEvent(track.Event{
			Kind: track.Expired, ID: m.UID, To: box.Address.String(), Size: m.Size, Text: "retention",
		})
	}
}
