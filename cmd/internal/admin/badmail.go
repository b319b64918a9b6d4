package admin

import (
	"errors"
	"io/fs"
	"strings"
	"time"

	"pillarbox/mailstore/track"
	"pillarbox/smtp/badmail"
	"pillarbox/smtp/queue"
)

// BadMessage is a message in badmail.
type BadMessage struct {
	badmail.Entry
	Envelope *queue.Item `json:"envelope"` // nil: it has none that can be understood
	Reason   string      `json:"reason"`
}

// ListBadmail lists what could neither be delivered nor reported, the oldest first.
func (o *Service) ListBadmail() ([]BadMessage, error) {
	entries, err := badmail.List(o.Root)
	all := make([]BadMessage, 0, len(entries))
	for _, e := range entries {
		all = append(all, o.badMessage(e))
	}
	return all, err
}

// badMessage reads the envelope and the reason of a message. If a file cannot be read, its field
// stays empty.
func (o *Service) badMessage(e badmail.Entry) BadMessage {
	m := BadMessage{Entry: e}
	var since time.Time
	if text, err := o.readSmall(badmail.Dir+"/"+e.ID+".env", &since); err == nil {
		m.Envelope, _ = queue.Decode(e.ID, text)
	}
	if text, err := o.readSmall(badmail.Dir+"/"+e.ID+".txt", &since); err == nil {
		m.Reason = strings.TrimSpace(string(text))
	}
	return m
}

// BadmailIDs finds the messages in badmail that words name, as QueueIDs does for the queue. older chooses those that have
// been there for at least so long, or all of them for 0, where no word is given.
func (o *Service) BadmailIDs(words []string, older time.Duration, now time.Time) ([]string, error) {
	entries, err := badmail.List(o.Root)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, e := range entries {
		if len(words) > 0 || now.Sub(e.Kept) >= older {
			all = append(all, e.ID)
		}
	}
	if len(words) == 0 {
		return all, nil
	}
	return chooseIDs(words, all, "in badmail", "badmail list")
}

// ShowBadmail looks at one message in badmail.
func (o *Service) ShowBadmail(word string) (BadMessage, error) {
	ids, err := o.BadmailIDs([]string{word}, 0, time.Time{})
	if err != nil {
		return BadMessage{}, err
	}
	entries, err := badmail.List(o.Root)
	for _, e := range entries {
		if e.ID == ids[0] {
			return o.badMessage(e), nil
		}
	}
	if err == nil {
		err = fs.ErrNotExist
	}
	return BadMessage{}, err
}

// RemoveBadmail deletes messages in badmail.
func (o *Service) RemoveBadmail(ids []string) error {
	remove := func(id string) error { return badmail.Remove(o.Root, id) }
	if o.Running != nil {
		remove = o.Running.Delivery.Badmail.Remove // it counts what is there
	}
	var errs []error
	var removed []string
	for _, id := range ids {
		if err := remove(id); err != nil {
			errs = append(errs, err)
		} else {
			removed = append(removed, id)
			o.addEvent(track.Event{Kind: track.Removed, ID: id, Text: "from badmail"})
		}
	}
	if len(removed) > 0 {
		o.Record("badmail", nil, map[string]any{"action": "remove", "ids": removed})
	}
	return errors.Join(errs...)
}
